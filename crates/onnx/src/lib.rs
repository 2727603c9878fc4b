//! lampyr-onnx
