//! lampyr-conformance
