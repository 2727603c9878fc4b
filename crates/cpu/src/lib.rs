//! lampyr-cpu
