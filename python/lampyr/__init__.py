"""Lampyr: tensors, automatic differentiation and compiled models."""

from lampyr import _lampyr, autograd, errors
from lampyr._lampyr import (
    Tensor,
    __version__,
    arange,
    asarray,
    batch_norm,
    bfloat16,
    bool,
    call_op,
    cat,
    conv2d,
    device,
    double,
    dtype,
    empty,
    empty_cache,
    eye,
    float,
    float16,
    float32,
    float64,
    from_dlpack,
    from_numpy,
    full,
    full_like,
    half,
    int,
    int8,
    int16,
    int32,
    int64,
    long,
    manual_seed,
    max_pool2d,
    memory_stats,
    ones,
    ones_like,
    ops,
    promote_types,
    rand,
    randn,
    register_op,
    result_type,
    set_memory_limit,
    short,
    stack,
    tensor,
    uint8,
    uint16,
    uint32,
    uint64,
    where,
    zeros,
    zeros_like,
)
from lampyr.autograd import enable_grad, grad, is_grad_enabled, no_grad, set_grad_enabled
from lampyr.errors import (
    AutogradError,
    DeviceError,
    DTypeError,
    FormatError,
    GraphError,
    InternalError,
    InvalidValueError,
    IoError,
    LampyrError,
    NotFoundError,
    OutOfMemoryError,
    OutOfRangeError,
    ShapeError,
    UnsupportedError,
    UserError,
)

# A method of a class is a function of its first argument.
abs = Tensor.abs
add = Tensor.add
amax = Tensor.amax
amin = Tensor.amin
argmax = Tensor.argmax
argmin = Tensor.argmin
broadcast_to = Tensor.broadcast_to
clone = Tensor.clone
div = Tensor.div
dropout = Tensor.dropout
eq = Tensor.eq
erf = Tensor.erf
exp = Tensor.exp
flatten = Tensor.flatten
gather = Tensor.gather
ge = Tensor.ge
gelu = Tensor.gelu
gt = Tensor.gt
le = Tensor.le
log = Tensor.log
log_softmax = Tensor.log_softmax
logical_not = Tensor.logical_not
lt = Tensor.lt
matmul = Tensor.matmul
max = Tensor.max
mean = Tensor.mean
min = Tensor.min
mul = Tensor.mul
ne = Tensor.ne
neg = Tensor.neg
nonzero = Tensor.nonzero
permute = Tensor.permute
pow = Tensor.pow
relu = Tensor.relu
reshape = Tensor.reshape
softmax = Tensor.softmax
sqrt = Tensor.sqrt
squeeze = Tensor.squeeze
sub = Tensor.sub
sum = Tensor.sum
t = Tensor.t
tanh = Tensor.tanh
topk = Tensor.topk
transpose = Tensor.transpose
unsqueeze = Tensor.unsqueeze

__all__ = [name for name in dir() if not name.startswith("_")] + ["__version__"]
