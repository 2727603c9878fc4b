"""Writes ``names.tsv``: the names of the public surface, with torch's signatures where torch has the name.

Usage: make.py LIST

``LIST`` is a table (namespace, name, kind) of the names to provide. Needs torch.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from pathlib import Path
from typing import Any

import torch
import torch.func
import torch.utils.checkpoint
import torch.utils.data

HERE = Path(__file__).resolve().parent
ROOT = "lucid"
# Internals of the list's source, not names for users; `data` and `hooks` repeat other namespaces.
LEFT_OUT = {"__lucid_function__", "__new_from_impl__", "impl", "test"}
RENAMED = {"LucidError": "LampyrError", "errors(README P1)": "errors"}
TORCH_NAMESPACES = {
    "autograd": ("autograd", "autograd.functional", "utils.checkpoint", "utils.hooks"),
    "autograd.FunctionCtx": ("autograd.function.FunctionCtx",),
    "nn": ("nn", "nn.modules.module", "utils.hooks"),
    "nn.hooks": ("nn.modules.module", "utils.hooks"),
    "optim": ("optim", "optim.lr_scheduler"),
    "optim.Optimizer": ("optim.Optimizer",),
}
CORE = re.compile(r"(Tensor|nn\.functional|autograd|func|dtypes|backends|errors|finfo|iinfo|device)($|\.)")
LATER_TOP = set(
    "save load save_sharded load_sharded save_safetensors load_safetensors linalg fft signal special utils amp "
    "profiler einops metal distributions StateDict".split()
)
TRAINING = {
    "nn": set(
        "Module Parameter RemovableHandle functional Sequential ModuleList ModuleDict ParameterList ParameterDict "
        "Linear Identity Conv1d Conv2d Embedding BatchNorm1d BatchNorm2d LayerNorm Dropout Flatten Unflatten "
        "ReLU LeakyReLU ELU CELU SELU GELU SiLU Mish Softplus Hardswish Hardsigmoid Sigmoid Tanh Softmax Softmax2d "
        "RReLU LogSoftmax ReLU6 PReLU Threshold Hardtanh LogSigmoid Softsign Softmin GLU Hardshrink "
        "Tanhshrink Softshrink "
        "MaxPool1d MaxPool2d AvgPool1d AvgPool2d AdaptiveAvgPool1d AdaptiveAvgPool2d "
        "AdaptiveMaxPool1d AdaptiveMaxPool2d MSELoss L1Loss CrossEntropyLoss NLLLoss BCELoss BCEWithLogitsLoss "
        "HuberLoss SmoothL1Loss KLDivLoss "
        "LSTM MultiheadAttention TransformerEncoderLayer TransformerEncoder".split()
    ),
    "optim": set("Optimizer SGD Adam AdamW StepLR CosineAnnealingLR".split()),
    "optim.lr_scheduler": {"StepLR", "CosineAnnealingLR"},
}


def part(namespace: str, name: str) -> str:
    """`core`, `training` (the modules and optimisers that training examples need) or `later`."""
    if namespace == "":
        return "later" if name in LATER_TOP else "core"
    if namespace == "autograd" and name == "profiler" or namespace.startswith("autograd.profiler"):
        return "later"
    if CORE.match(namespace):
        return "core"
    if name in TRAINING.get(namespace, ()):
        return "training"
    if namespace in ("nn.Module", "optim.Optimizer"):
        return "training"
    return "later"


def counterpart(namespace: str, name: str) -> Any:
    for path in TORCH_NAMESPACES.get(namespace, (namespace,)):
        owner: Any = torch
        for step in filter(None, path.split(".")):
            owner = getattr(owner, step, None)
        if owner is not None and hasattr(owner, name):
            return getattr(owner, name)
    return None


def bare(parameters: list[inspect.Parameter]) -> str:
    """A signature without types; defaults that are not plain become `...`."""
    plain = (int, float, str, bool, type(None), tuple)

    def clean(p: inspect.Parameter) -> inspect.Parameter:
        default = p.default
        if default is not p.empty and not isinstance(default, plain):
            default = ...
        return p.replace(annotation=p.empty, default=default)

    return str(inspect.Signature([clean(p) for p in parameters])).replace("Ellipsis", "...")


def documented(name: str, text: str) -> list[ast.arguments]:
    """The signatures in a docstring: `add(input, other, *, alpha=1, out=None) -> Tensor`."""
    found = []
    pattern = re.compile(rf"^(\.\. \w+:: )?(?:[\w.]*\.)?{re.escape(name)}\((.*)\)\s*(->.*)?$")
    for number, line in enumerate(text.strip().splitlines()):
        match = pattern.match(line.strip())
        # A line inside the text without an arrow is an example.
        if match is None or not (match.group(1) or match.group(3) or number == 0):
            continue
        inside = match.group(2).replace("\\*", "*").replace("...", "None")
        inside = re.sub(r"\s*\([^()]*\)(?=\s*(,|$))", "", inside)
        # Docstrings put a second star behind `*size`.
        inside = re.sub(r"(\*\w+), \*,", r"\1,", inside)
        try:
            arguments = ast.parse(f"def f({inside}): pass").body[0].args  # type: ignore[attr-defined]
        except SyntaxError:
            continue
        for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs):
            argument.annotation = None
        found.append(arguments)
    return found


def native(name: str) -> list[Any]:
    """The overloads of the native function of that name that Python can call."""
    wanted = []
    for schema in torch._C._jit_get_schemas_for_operator(f"aten::{name}"):
        first = str(schema.arguments[0].type) if schema.arguments else ""
        if "out" not in schema.overload_name and "Dimname" not in str(schema) and "Tensor" in first:
            wanted.append(schema)
    return wanted


def label(argument: Any) -> str:
    return "input" if argument.name == "self" else argument.name


def from_schemas(schemas: list[Any], method: bool) -> list[str]:
    found = []
    for schema in schemas:
        names, starred = [], False
        if method and "self" not in [a.name for a in schema.arguments]:
            continue
        for argument in schema.arguments:
            if method and argument.name == "self":
                continue
            if argument.kwarg_only and not starred:
                names.append("*")
                starred = True
            names.append(label(argument) + (f"={argument.default_value!r}" if argument.has_default_value() else ""))
        found.append(f"({', '.join(names)})")
    return list(dict.fromkeys(found))


def builtin(value: Any, name: str, method: bool) -> list[str]:
    """The docstring's signatures, where the native overloads have the same names; else theirs."""
    found, schemas = documented(name, value.__doc__ or ""), native(name)
    if not found or not schemas:
        return [f"({ast.unparse(a)})" for a in found] or from_schemas(schemas, method)
    known = {label(a) for schema in schemas for a in schema.arguments}
    needed = min(sum(not a.has_default_value() for a in schema.arguments) for schema in schemas) - method
    positional = {label(a) for schema in schemas for a in schema.arguments if not a.kwarg_only}
    for arguments in found:
        names = {a.arg for a in (*arguments.args, *arguments.kwonlyargs)}
        short = len(arguments.args) < needed and arguments.vararg is None
        if names - known - {"out", "generator", "layout", "pin_memory", "requires_grad", "memory_format"} or short:
            return from_schemas(schemas, method)
        late = [a for a in arguments.args if a.arg in known - positional]
        for a in late:
            arguments.defaults.pop(len(arguments.defaults) - len(arguments.args) + arguments.args.index(a))
            arguments.args.remove(a)
            arguments.kwonlyargs.append(a)
            arguments.kw_defaults.append(ast.Constant(None))
    return [f"({ast.unparse(a)})" for a in found]


def signatures(value: Any, name: str, method: bool) -> list[str]:
    if not callable(value) or name.startswith("__") or value is torch.device:
        return []
    try:
        parameters = list(inspect.signature(value).parameters.values())
    except (TypeError, ValueError):
        return builtin(value, name, method)
    parameters = [p for p in parameters if p.name not in ("_stacklevel", "orig_func")]
    if method and parameters and parameters[0].name == "self":
        parameters = parameters[1:]
    if parameters and all(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters):
        found = builtin(value, name, method)
        if found:
            return found
    return [bare(parameters)]


def main() -> None:
    rows = []
    for line in Path(sys.argv[1]).read_text().splitlines()[1:]:
        namespace, name, kind = line.split("\t")[:3]
        namespace = namespace.removeprefix(ROOT).removeprefix(".") if namespace != ROOT else ""
        namespace, name = RENAMED.get(namespace, namespace), RENAMED.get(name, name)
        if name in LEFT_OUT:
            continue
        value = counterpart(namespace, name)
        method = inspect.isclass(counterpart("", namespace) if "." not in namespace and namespace else None) or (
            namespace in ("nn.Module", "optim.Optimizer", "autograd.FunctionCtx", "autograd.Function")
        )
        where = ".".join(filter(None, ("lampyr", namespace)))
        texts = signatures(value, name, method) if value is not None else []
        rows.append("\t".join((where, name, kind, part(namespace, name), " | ".join(texts))).rstrip())
    head = "namespace\tname\tkind\tpart\ttorch"
    (HERE / "names.tsv").write_text("\n".join([head, *dict.fromkeys(rows)]) + "\n")


if __name__ == "__main__":
    main()
