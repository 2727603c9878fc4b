"""Optimisers, and schedules of their learning rates."""

from lampyr.optim import lr_scheduler
from lampyr.optim.adam import Adam, AdamW
from lampyr.optim.optimizer import Optimizer
from lampyr.optim.sgd import SGD

__all__ = ["SGD", "Adam", "AdamW", "Optimizer", "lr_scheduler"]
