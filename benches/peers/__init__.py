"""Lampyr beside torch, ONNX Runtime and OpenVINO; see `__main__`."""
