"""Lampyr: tensors, automatic differentiation and compiled models."""

import importlib as _importlib
from types import ModuleType as _ModuleType

from lampyr import autograd, errors, onnx
from lampyr._lampyr import (
    CompiledGraph,
    Explanation,
    Graph,
    GraphValue,
    Model,
    ModelMemory,
    OpInfo,
    Port,
    Tensor,
    UserOp,
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
    get_num_threads,
    half,
    int,
    int8,
    int16,
    int32,
    int64,
    load_onnx,
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
    set_num_threads,
    short,
    stack,
    start_trace,
    stop_trace,
    take_warnings,
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

_LAZY = {"nn", "optim"}
"""Sub-packages that are imported when they are first named."""


def __getattr__(name: str) -> _ModuleType:
    if name in _LAZY:
        return _importlib.import_module(f"lampyr.{name}")
    raise AttributeError(f"module 'lampyr' has no attribute {name!r}")


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

__all__ = [
    "GraphValue",
    "Graph",
    "CompiledGraph",
    "AutogradError",
    "DTypeError",
    "DeviceError",
    "Explanation",
    "FormatError",
    "GraphError",
    "InternalError",
    "InvalidValueError",
    "IoError",
    "LampyrError",
    "Model",
    "ModelMemory",
    "NotFoundError",
    "OpInfo",
    "OutOfMemoryError",
    "OutOfRangeError",
    "Port",
    "ShapeError",
    "Tensor",
    "UnsupportedError",
    "UserError",
    "UserOp",
    "__version__",
    "abs",
    "add",
    "amax",
    "amin",
    "arange",
    "argmax",
    "argmin",
    "asarray",
    "autograd",
    "batch_norm",
    "bfloat16",
    "bool",
    "broadcast_to",
    "call_op",
    "cat",
    "clone",
    "conv2d",
    "device",
    "div",
    "double",
    "dropout",
    "dtype",
    "empty",
    "empty_cache",
    "enable_grad",
    "eq",
    "erf",
    "errors",
    "exp",
    "eye",
    "flatten",
    "float",
    "float16",
    "float32",
    "float64",
    "from_dlpack",
    "from_numpy",
    "full",
    "full_like",
    "gather",
    "ge",
    "gelu",
    "get_num_threads",
    "grad",
    "gt",
    "half",
    "int",
    "int16",
    "int32",
    "int64",
    "int8",
    "is_grad_enabled",
    "le",
    "load_onnx",
    "log",
    "log_softmax",
    "logical_not",
    "long",
    "lt",
    "manual_seed",
    "matmul",
    "max",
    "max_pool2d",
    "mean",
    "memory_stats",
    "min",
    "mul",
    "ne",
    "neg",
    "no_grad",
    "nonzero",
    "ones",
    "ones_like",
    "onnx",
    "ops",
    "permute",
    "pow",
    "promote_types",
    "rand",
    "randn",
    "register_op",
    "relu",
    "reshape",
    "result_type",
    "set_grad_enabled",
    "set_memory_limit",
    "set_num_threads",
    "short",
    "softmax",
    "sqrt",
    "squeeze",
    "stack",
    "start_trace",
    "stop_trace",
    "sub",
    "sum",
    "t",
    "take_warnings",
    "tanh",
    "tensor",
    "topk",
    "transpose",
    "uint16",
    "uint32",
    "uint64",
    "uint8",
    "unsqueeze",
    "where",
    "zeros",
    "zeros_like",
]
