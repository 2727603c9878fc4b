"""Compares Lampyr with torch over torch's own database of operators. Run as ``python -m conformance.parity``."""
