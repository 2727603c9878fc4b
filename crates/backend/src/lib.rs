//! lampyr-backend
