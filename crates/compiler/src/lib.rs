//! lampyr-compiler
