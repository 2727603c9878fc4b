//! Passes that need to know only op classes: dead code, common subexpressions, folding.
