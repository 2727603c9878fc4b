//! lampyr
