"""ONNX models: reading them, and finding out beforehand whether they can run here."""

from lampyr._lampyr import Check, Problem
from lampyr._lampyr import check_onnx as check
from lampyr._lampyr import load_onnx as load

__all__ = ["Check", "Problem", "check", "load"]
