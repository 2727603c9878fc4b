import pytest

import lampyr as lp

BASES = {
    lp.ShapeError: ValueError,
    lp.DTypeError: TypeError,
    lp.InvalidValueError: ValueError,
    lp.OutOfRangeError: IndexError,
    lp.NotFoundError: KeyError,
    lp.UnsupportedError: NotImplementedError,
    lp.OutOfMemoryError: MemoryError,
    lp.FormatError: ValueError,
    lp.GraphError: RuntimeError,
    lp.AutogradError: RuntimeError,
    lp.DeviceError: RuntimeError,
    lp.IoError: OSError,
    lp.UserError: RuntimeError,
    lp.InternalError: RuntimeError,
}


@pytest.mark.parametrize("error", BASES, ids=lambda e: e.__name__)
def test_hierarchy(error):
    assert issubclass(error, lp.LampyrError) and issubclass(error, BASES[error])
    made = error("a message", op="add", inputs=["float32[2]"])
    assert str(made) == "a message" and made.op == "add" and made.inputs == ("float32[2]",)
    assert made.help is None and made.node is None and made.expected is None


def test_context_of_ops():
    with pytest.raises(lp.ShapeError) as caught:
        lp.ones(2, 3) + lp.ones(4)
    error = caught.value
    assert error.op == "add" and error.inputs == ("float32[2, 3]", "float32[4]")
    assert "[2, 3]" in str(error) and "[4]" in str(error) and error.expected in str(error)
    with pytest.raises(lp.ShapeError) as caught:
        lp.ones(2, 3) @ lp.ones(4, 5)
    assert caught.value.op == "matmul"


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: lp.tensor([[1, 2], [3]]), lp.ShapeError),
        (lambda: lp.tensor([1, [2]]), lp.ShapeError),
        (lambda: lp.tensor("a"), lp.DTypeError),
        (lambda: lp.tensor(2**70), lp.InvalidValueError),
        (lambda: lp.zeros(-1), lp.ShapeError),
        (lambda: lp.zeros(2**40, 2**40), lp.ShapeError),
        (lambda: lp.zeros(2, dtype="float99"), lp.DTypeError),
        (lambda: lp.zeros(2, device="tpu:7"), lp.DeviceError),
        (lambda: lp.zeros(2, 3).reshape(5), lp.ShapeError),
        (lambda: lp.zeros(2, 3).reshape(-1, -1), lp.ShapeError),
        (lambda: lp.zeros(2, 3).T.view(6), lp.ShapeError),
        (lambda: lp.zeros(2, 3).permute(0, 0), lp.InvalidValueError),
        (lambda: lp.zeros(2, 3).sum(5), lp.OutOfRangeError),
        (lambda: lp.zeros(2).expand(3), lp.ShapeError),
        (lambda: lp.arange(0, 5, 0), lp.InvalidValueError),
        (lambda: lp.cat([]), lp.InvalidValueError),
        (lambda: lp.cat([lp.zeros(2, 2), lp.zeros(3, 3)]), lp.ShapeError),
        (lambda: lp.zeros(2).topk(3), lp.LampyrError),
        (lambda: lp.conv2d(lp.zeros(2, 2), lp.zeros(2, 2, 1, 1)), lp.ShapeError),
        (lambda: lp.conv2d(lp.zeros(1, 3, 4, 4), lp.zeros(2, 2, 1, 1)), lp.ShapeError),
        (lambda: lp.conv2d(lp.zeros(1, 2, 4, 4), lp.zeros(2, 2, 1, 1), stride=0), lp.InvalidValueError),
        (lambda: lp.max_pool2d(lp.zeros(1, 1, 4, 4), (1, 2, 3)), lp.InvalidValueError),
        (lambda: lp.dropout(lp.ones(2), 2.0), lp.InvalidValueError),
        (lambda: lp.ones(2).int() ** -1, lp.InvalidValueError),
        (lambda: lp.load_onnx(b"not a model"), lp.FormatError),
        (lambda: lp.load_onnx("/no/such/file.onnx"), lp.IoError),
        (lambda: lp.load_onnx(3), lp.DTypeError),
    ],
)
def test_classes(call, error):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value)
