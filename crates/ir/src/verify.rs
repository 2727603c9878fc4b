//! Rules every graph obeys, as a table; run between compiler passes in tests.
