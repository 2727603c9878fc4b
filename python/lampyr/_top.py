"""The functions `lampyr.NAME`, made from the table of names."""

from lampyr._lampyr import _names

globals().update(_names["lampyr"])
__all__ = list(_names["lampyr"])
