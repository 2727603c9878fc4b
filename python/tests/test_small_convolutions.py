"""Gradients of small convolutions, and pooling with indices, beside other ways to the same numbers."""

import math

import pytest

import lampyr as lp
from lampyr.nn import functional as F


@pytest.mark.parametrize(
    ("images", "channels", "outputs", "size", "kernel", "stride", "padding", "dilation"),
    [
        (3, 1, 6, (28, 28), (5, 5), 1, 2, 1),
        (9, 6, 16, (14, 14), (5, 5), 1, 0, 1),
        (2, 3, 5, (9, 20), (3, 3), 1, 1, 2),
        (17, 3, 3, (10, 11), (2, 3), (2, 1), (1, 0), 1),
        (4, 2, 7, (12, 33), (3, 3), 1, 3, 1),
        (1, 1, 1, (5, 16), (1, 1), 1, 0, 1),
        (2, 4, 33, (8, 16), (3, 3), 1, 1, 1),
    ],
)
def test_gradients_are_those_of_float64(images, channels, outputs, size, kernel, stride, padding, dilation):
    lp.manual_seed(0)
    x, w = lp.randn(images, channels, *size), lp.randn(outputs, channels, *kernel)
    seed = lp.randn_like(F.conv2d(x, w, None, stride, padding, dilation))

    def gradients(dtype):
        leaves = [t.detach().to(dtype).requires_grad_() for t in (x, w)]
        F.conv2d(*leaves, None, stride, padding, dilation).backward(seed.to(dtype))
        return [t.grad for t in leaves]

    for fine, coarse in zip(gradients(lp.float64), gradients(lp.float32), strict=True):
        error = (fine - coarse.to(lp.float64)).abs().max().item()
        assert error <= 1e-5 * fine.abs().max().item()


def test_gradients_of_no_images():
    w = lp.randn(6, 1, 5, 5, requires_grad=True)
    F.conv2d(lp.zeros(0, 1, 28, 28), w).sum().backward()
    assert w.grad.abs().sum().item() == 0.0


def largest(plane, kernel, stride, padding, dilation):
    """Values and indices of windows over a plane of Python numbers; the first of equals counts, NaN beats all."""
    height, width = len(plane), len(plane[0])
    reach = dilation * (kernel - 1) + 1
    made = []
    for top in range(-padding, height + padding - reach + 1, stride):
        for left in range(-padding, width + padding - reach + 1, stride):
            best = None
            for row in range(top, top + reach, dilation):
                for column in range(left, left + reach, dilation):
                    if not (0 <= row < height and 0 <= column < width):
                        continue
                    value = plane[row][column]
                    if best is None or value > best[0] or math.isnan(value) and not math.isnan(best[0]):
                        best = (value, row * width + column)
            made.append(best)
    return made


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding", "dilation"),
    [((6, 9), 2, 2, 0, 1), ((5, 150), 3, 2, 1, 1), ((4, 70), 3, 3, 1, 1), ((9, 9), 3, 1, 1, 2), ((3, 130), 2, 1, 1, 1)],
)
def test_pooling_finds_the_first_of_the_largest(size, kernel, stride, padding, dilation):
    lp.manual_seed(0)
    x = lp.randint(-3, 3, (1, 2, *size)).to(lp.float32)
    x[0, 0, 1, 2] = math.nan
    x[0, 1] = -math.inf
    values, indices = F.max_pool2d(x, kernel, stride, padding, dilation, return_indices=True)
    for plane in range(2):
        expected = largest(x[0, plane].tolist(), kernel, stride, padding, dilation)
        assert indices[0, plane].flatten().tolist() == [index for _, index in expected]
        assert str(values[0, plane].flatten().tolist()) == str([value for value, _ in expected])


def test_gelu_is_its_formula():
    x = lp.linspace(-8.0, 8.0, 5001)
    assert (F.gelu(x) == x * 0.5 * (lp.erf(x * math.sqrt(0.5)) + 1.0)).all()
    assert F.gelu(lp.tensor([math.inf, -20.0])).tolist() == [math.inf, 0.0]
