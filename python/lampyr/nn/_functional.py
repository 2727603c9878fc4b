"""The functions `lampyr.nn.functional.NAME`, made from the table of names."""

from lampyr._lampyr import _names

globals().update(_names["lampyr.nn.functional"])
__all__ = list(_names["lampyr.nn.functional"])
