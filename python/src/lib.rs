//! lampyr-python
