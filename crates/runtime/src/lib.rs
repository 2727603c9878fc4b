//! lampyr-runtime
