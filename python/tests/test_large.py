"""More elements than 32 bits count; run with `-m slow`. Takes about 7 GB."""

import pytest

import lampyr as lp

N = 2**31 + 8


@pytest.mark.slow
def test_more_than_32_bits_of_elements():
    x = lp.zeros(N, dtype=lp.int8)
    x[-3:] = 1
    x[2**31] = 2
    assert x.numel() == N and x[2**31].item() == 2 and x[N - 1].item() == 1
    assert x[2**31 - 2 :].tolist() == [0, 0, 2, 0, 0, 0, 0, 1, 1, 1]
    assert x[lp.tensor([2**31, -1, 0])].tolist() == [2, 1, 0]
    x += 1
    assert x[:: 2**29].tolist() == [1, 1, 1, 1, 3] and x.view(2, -1)[1, -1].item() == 2
    with pytest.raises(IndexError):
        x[N]
