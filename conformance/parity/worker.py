"""Runs one operator in a process of its own and says what came out, sample by sample."""

from __future__ import annotations

import copy
import functools
import json
import types
import warnings
from collections.abc import Callable, Iterator
from typing import Any, TextIO

import torch

import lampyr
from conformance.parity import database, pool
from conformance.parity.check import (
    LAMPYR,
    TORCH,
    Differs,
    Outcome,
    Refused,
    Tolerance,
    compare,
    compare_derivatives,
    evaluate,
)
from conformance.parity.convert import Unrepresentable, storage_copy, tensors, to_lampyr, to_torch
from conformance.parity.translate import Missing, attribute, translate

ORDERS = {torch.float32: 1, torch.float64: 2}
# Variants are the same computation behind another name: a few samples of each dtype tell.
VARIANT_SAMPLES = 8
SECOND_DERIVATIVE_LIMIT = 4096

Check = Callable[[], None]


def say(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


def attempt(check: Check) -> str | None:
    """`ok`, or what is wrong; `None` when the check does not apply."""
    try:
        check()
    except Unrepresentable as error:
        return f"skip {error}"
    except Differs as error:
        return f"differs {error}"
    except Refused as error:
        return f"refused {error}"
    except Missing as error:
        return f"refused there is no {error}"
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        return f"broken {say(error)}"
    return "ok"


def copied(value: Any, double: bool = False, memo: dict[int, torch.Tensor] | None = None) -> Any:
    """A value whose tensors are leaves with memory of their own, as float64 on demand."""
    memo = {} if memo is None else memo
    if isinstance(value, torch.Tensor):
        if id(value) not in memo:
            tensor = storage_copy(value) if value.layout == torch.strided else value.detach().clone()
            if double and tensor.is_floating_point():
                tensor = tensor.double()
            memo[id(value)] = tensor.requires_grad_(value.requires_grad)
        return memo[id(value)]
    if isinstance(value, dict):
        return {key: copied(item, double, memo) for key, item in value.items()}
    if isinstance(value, list | tuple):
        items = [copied(item, double, memo) for item in value]
        return items if isinstance(value, list) else tuple(items) if type(value) is tuple else type(value)(items)
    if double and isinstance(value, torch.dtype) and value.is_floating_point:
        return torch.float64
    return value


def ours_of(function: Callable[..., Any], arguments: Any, order: int) -> Outcome:
    """Lampyr's outcome; `Refused` when it raises."""
    given = to_lampyr(arguments)
    try:
        return evaluate(LAMPYR, function, given, order)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        raise Refused(say(error)) from error


def counterpart(op: Any) -> Any:
    """Lampyr's function of an operator: that of torch's own name, else that of the database's."""
    try:
        return translate(op.op)
    except Missing:
        return attribute(op.name)


class Sample:
    """One sample input and what torch makes of it."""

    def __init__(self, op: Any, dtype: torch.dtype, index: int, sample: Any) -> None:
        self.op, self.dtype, self.index, self.sample = op, dtype, index, sample
        self.arguments = ((sample.input, *sample.args), dict(sample.kwargs))
        self.tolerance = database.tolerance(op, dtype)
        self.random = op.name in database.RANDOM or "dropout" in op.name or "rrelu" in op.name
        self.values = not (self.random or "empty" in op.name)
        self.order = 0
        if op.supports_autograd and self.values and dtype in op.supported_backward_dtypes("cpu"):
            self.order = ORDERS.get(dtype, 0)
            sizes = sum(t.numel() for t in tensors(self.arguments, torch.Tensor))
            if self.order == 2 and (not op.supports_gradgrad or sizes > SECOND_DERIVATIVE_LIMIT):
                self.order = 1

    def torch_outcome(self, function: Callable[..., Any], double: bool = False, seed: int = 42) -> Outcome:
        arguments = copied(self.arguments, double)
        for order in range(self.order, -1, -1):
            try:
                torch.manual_seed(seed)
                return evaluate(TORCH, function, arguments, order, self.dtype if double else None)
            except Exception:
                if order == 0:
                    raise
        raise AssertionError

    def checks(self) -> Iterator[tuple[str, Check]]:
        """The checks of this sample by variant. Raises what torch raises."""
        theirs = self.torch_outcome(self.op.op)
        # Windows at random places are often the same.
        seeds = range(7, 27 if "fractional" in self.op.name else 8)
        if self.op.name.startswith("nn.functional") and any(
            differ(theirs.value, self.torch_outcome(unseeded(self.op.op), seed=seed).value) for seed in seeds
        ):
            # It draws random numbers.
            self.values, self.order, theirs.derivatives = False, 0, []
        state: dict[str, Any] = {}

        def function() -> None:
            state["ours"] = ours_of(counterpart(self.op), self.arguments, 0)
            self.same(theirs, to_torch(state["ours"].value), lambda exact: exact.value)

        yield "function", function
        for level in range(1, len(theirs.derivatives) + 1):
            yield ("gradient", "second")[level - 1], lambda level=level: self.derivative(theirs, level)
        if self.index < VARIANT_SAMPLES:
            yield from self.variants(theirs)

    def same(self, theirs: Outcome, ours: Any, part: Callable[[Outcome], Any]) -> None:
        """Compares; where rounding differs, the float64 result decides who is closer to the truth."""
        wanted = part(theirs)
        try:
            compare(wanted, ours, self.tolerance, values=self.values)
        except Differs:
            if not self.dtype.is_floating_point or self.dtype == torch.float64 or not self.values:
                raise
            try:
                exact = part(self.torch_outcome(self.op.op, double=True))
                closer = no_worse(exact, wanted, ours)
            except Exception:
                closer = False
            if not closer:
                raise

    def derivative(self, theirs: Outcome, level: int) -> None:
        ours = ours_of(counterpart(self.op), self.arguments, level)
        try:
            compare_derivatives(theirs, ours, level, self.tolerance)
        except Differs:
            if self.dtype == torch.float64 or len(ours.derivatives) < level:
                raise
            exact = self.torch_outcome(self.op.op, double=True).derivatives[level - 1]
            if not no_worse(exact, theirs.derivatives[level - 1], [to_torch(g) for g in ours.derivatives[level - 1]]):
                raise

    def variants(self, theirs: Outcome) -> Iterator[tuple[str, Check]]:
        method, inplace = self.op.method_variant, self.op.inplace_variant
        tensor = isinstance(self.sample.input, torch.Tensor)
        if tensor and method is not None and method is not self.op.op:
            yield "method", lambda: self.plain(method, theirs.value)
        if tensor and inplace is not None and not self.sample.broadcasts_input:
            try:
                changed = evaluate(TORCH, on_copy(inplace), copied(self.arguments), 0)
            except Exception:
                changed = None
            if changed is not None:
                yield "in-place", lambda: self.inplace(inplace, changed.value)
        if self.op.supports_out and "out" not in self.arguments[1]:
            outs = theirs.value if isinstance(theirs.value, list | tuple) else [theirs.value]
            if outs and all(isinstance(out, torch.Tensor) for out in outs) and self.writes(theirs.value):
                yield "out", lambda: self.out(theirs.value)

    def plain(self, function: Callable[..., Any], wanted: Any) -> None:
        ours = ours_of(translate(function), self.arguments, 0)
        self.same(Outcome(wanted, []), to_torch(ours.value), lambda outcome: outcome.value)

    def inplace(self, function: Callable[..., Any], wanted: Any) -> None:
        mine = on_copy(translate(function))
        ours = ours_of(mine, self.arguments, 0)
        if not mine.same():
            raise Differs("the in-place method returned another tensor")
        self.same(Outcome(wanted, []), to_torch(ours.value), lambda outcome: outcome.value)

    def refuses(self, function: Callable[..., Any]) -> None:
        try:
            value = ours_of(on_copy(translate(function)), self.arguments, 0).value
        except Refused:
            return
        raise Differs(f"no error but {value.dtype}")

    def writes(self, wanted: Any) -> bool:
        """Whether torch takes `out` with these arguments."""
        positional, named = without_gradients(copied(self.arguments))
        single = isinstance(wanted, torch.Tensor)
        outs = torch.zeros_like(wanted) if single else tuple(torch.zeros_like(t) for t in wanted)
        try:
            with torch.no_grad():
                self.op.op(*positional, **named, out=outs)
        except Exception:
            return False
        return True

    def out(self, wanted: Any) -> None:
        arguments = without_gradients(copied(self.arguments))
        single = isinstance(wanted, torch.Tensor)
        outs = to_lampyr([torch.zeros_like(t.detach()) for t in ([wanted] if single else wanted)])
        named = {"out": outs[0] if single else tuple(outs)}

        def function(*positional: Any, **keywords: Any) -> Any:
            return counterpart(self.op)(*positional, **keywords, **named)

        ours_of(function, arguments, 0)
        written = to_torch(outs[0] if single else outs)
        self.same(Outcome(wanted, []), written, lambda outcome: outcome.value)


def unseeded(function: Any) -> Any:
    """A function of torch's tests without the seed that they set."""
    if not isinstance(function, types.FunctionType) or "wrapper_set_seed" not in function.__globals__:
        return function
    scope = {**function.__globals__, "wrapper_set_seed": lambda f, *arguments, **named: f(*arguments, **named)}
    return types.FunctionType(function.__code__, scope, function.__name__, function.__defaults__, function.__closure__)


def differ(one: Any, other: Any) -> bool:
    try:
        compare(one, other, Tolerance(0.0, 0.0))
    except Differs:
        return True
    return False


class on_copy:  # noqa: N801
    """An in-place method on a copy of its first argument."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function, self.target, self.result = function, None, None

    def __call__(self, first: Any, *rest: Any, **named: Any) -> Any:
        self.target = first.clone()
        self.result = self.function(self.target, *rest, **named)
        return self.result

    def same(self) -> bool:
        return self.result is self.target or self.result.data_ptr() == self.target.data_ptr()


def without_gradients(value: Any) -> Any:
    for tensor in tensors(value, torch.Tensor):
        tensor.requires_grad_(False)
    return value


def no_worse(exact: Any, theirs: Any, ours: Any) -> bool:
    """Whether every result of ours is as near to the float64 result as torch's, up to a factor of two."""
    pairs = [tensors(value, torch.Tensor) for value in (exact, theirs, ours)]
    if len({len(items) for items in pairs}) != 1:
        return False
    for a, b, c in zip(*pairs, strict=True):
        if b.dtype != c.dtype or b.shape != c.shape or a.shape != b.shape:
            return False
        if not b.is_floating_point():
            if not torch.equal(b, c):
                return False
            continue
        a = a.detach().double()
        limit = torch.finfo(b.dtype).eps
        off, their_off = (c.detach().double() - a).abs(), (b.detach().double() - a).abs()
        matched = (c == b) | (c.isnan() & b.isnan()) | (off <= 2 * their_off + limit * a.abs())
        if not bool(matched.detach().all()):
            return False
    return True


def mixed_checks(op: Any, sample: Any) -> Iterator[tuple[str, Check]]:
    """Promotion: the dtype of the result, and what an in-place method refuses."""
    given = Sample(op, torch.int64, 0, sample)
    theirs = given.torch_outcome(op.op)
    yield "function", lambda: given.plain(op.op, theirs.value)
    if op.inplace_variant is None or not sample.input.dim():
        return
    try:
        changed = evaluate(TORCH, on_copy(op.inplace_variant), copied(given.arguments), 0)
    except Exception:
        yield "in-place", lambda: given.refuses(op.inplace_variant)
    else:
        yield "in-place", lambda: given.inplace(op.inplace_variant, changed.value)


def error_check(op: Any, case: Any) -> tuple[str, Check] | None:
    """The check that Lampyr raises what torch raises; `None` where torch does not raise."""
    sample = case.sample_input
    arguments = ((sample.input, *sample.args), dict(sample.kwargs))
    try:
        op.op(*copy.deepcopy(arguments[0]), **copy.deepcopy(arguments[1]))
    except Exception as error:
        kinds = (case.error_type, type(error))
    else:
        return None

    def check() -> None:
        function, given = counterpart(op), to_lampyr(arguments)
        try:
            value = function(*given[0], **given[1])
        except BaseException as error:
            if not isinstance(error, Exception):
                raise
            if any(isinstance(error, kind) for kind in kinds):
                return
            wanted = kinds[0].__name__ if isinstance(kinds[0], type) else kinds[0]
            raise Differs(f"{say(error)} is no {wanted}") from error
        raise Differs(f"no error but {type(value).__name__}; torch: {case.error_regex}")

    return "error", check


def run(op: Any, dtypes: list[str], limit: int | None, skip: pool.Skip, stream: TextIO) -> None:
    """Writes a line before and after each sample, so that the parent knows where a process died."""
    warnings.simplefilter("ignore")
    lampyr.set_num_threads(1)

    def write(**row: Any) -> None:
        stream.write(json.dumps(row) + "\n")
        stream.flush()

    def one(dtype: str, index: int, checks: Callable[[], Iterator[tuple[str, Check]]]) -> None:
        if (dtype, index) in skip:
            return
        write(begin=[dtype, index])
        try:
            results = {name: attempt(check) for name, check in checks()}
        except Exception as error:
            write(dtype=dtype, index=index, skip=say(error))
            return
        write(dtype=dtype, index=index, checks=results)

    for name in dtypes:
        dtype = database.DTYPES[name]
        if not op.supports_dtype(dtype, "cpu"):
            continue
        for index, sample in enumerate(database.samples(op, dtype, limit)):
            one(name, index, Sample(op, dtype, index, sample).checks)
    if limit is None or limit > 3:
        for index, sample in enumerate(database.mixed(op)):
            one("mixed", index, functools.partial(mixed_checks, op, sample))
        for index, case in enumerate(database.errors(op)):
            one("error", index, lambda case=case: iter(filter(None, [error_check(op, case)])))
