"""Sizes are tuples that stay sizes."""

import copy
import pickle

import lampyr as lp


def test_sizes_of_tensors():
    x = lp.zeros(2, 3, 4)
    assert type(x.shape) is lp.Size and type(x.size()) is lp.Size
    assert x.shape == (2, 3, 4) and hash(x.shape) == hash((2, 3, 4))
    assert x.shape.numel() == 24 and x.shape[1:].numel() == 12 and lp.zeros(()).shape.numel() == 1
    assert x.shape[0] == 2 and x.shape[-1] == 4
    assert repr(x.shape) == "lampyr.Size([2, 3, 4])" and repr(lp.tensor(1.0).shape) == "lampyr.Size([])"


def test_what_is_made_of_sizes():
    size = lp.Size([2, 3])
    for made in (size + (4,), (4,) + size, size * 2, 2 * size, size[:1], copy.deepcopy(size)):
        assert type(made) is lp.Size
    assert size + (4,) == (2, 3, 4) and (4,) + size == (4, 2, 3) and size * 2 == (2, 3, 2, 3)
    again = pickle.loads(pickle.dumps(size))
    assert type(again) is lp.Size and again == size
    a, b = size
    assert (a, b) == (2, 3) and lp.zeros(size).shape == size and lp.zeros(*size).reshape(size[::-1]).shape == (3, 2)
