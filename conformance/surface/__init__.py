"""The names that Lampyr is to have, and how many of them are there."""
