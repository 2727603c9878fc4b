"""The public names: those that docs/surface.md counts stay, with the arguments they take."""

import importlib.util
import sys
import types
from pathlib import Path

import pytest

import lampyr as lp

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def count():
    spec = importlib.util.spec_from_file_location("surface_count", ROOT / "conformance/surface/count.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_the_surface_does_not_shrink(count):
    before = count.committed((ROOT / "docs/surface.md").read_text())
    now = count.count(count.counted(lp))
    assert len(before) > 20
    assert set(before) <= set(now)
    assert count.shrunk(now, before) == [], "names were lost; `cargo xtask surface --verbose` tells which"


def namespace(text):
    scope = {}
    exec(text, scope)
    module = types.ModuleType("lampyr")
    vars(module).update(scope)
    return module


def row(count, torch, name="f"):
    return count.Row("lampyr", name, "core", torch)


@pytest.mark.parametrize(
    ("torch", "ours", "accepts"),
    [
        ("(input, dim=None, *, out=None)", "def f(input, dim=None, *, out=None): ...", True),
        ("(input, dim=None, *, out=None)", "def f(input, dim=None): ...", False),
        ("(input, dim=None)", "def f(self, dim=None): ...", False),
        ("(input, dim=None)", "def f(input, axis=None): ...", False),
        ("(input, dim=None)", "def f(input, *, dim=None): ...", False),
        ("(input, dim=None)", "def f(input, dim=None, more=1): ...", True),
        ("(input, dim=None)", "def f(input, more, dim=None): ...", False),
        ("(input) | (input, dim)", "def f(input): ...", False),
        ("(*size)", "def f(size): ...", False),
        ("(*size, out=None)", "def f(*size, out=None): ...", True),
        ("(input)", "def f(*args, **kwargs): ...", False),
        ("(input)", "def f(*args, **kwargs):\n    'f(input) -> Tensor'", True),
        ("(input, dim)", "def f(*args, **kwargs):\n    'f(input: Tensor, dim: int = 0) -> Tensor'", True),
        ("", "f = 3", True),
    ],
)
def test_signatures_that_torch_code_may_call(count, torch, ours, accepts):
    found = row(count, torch)
    count.check(found, namespace(ours))
    assert (found.found, found.accepts) == (True, accepts), found.why


def test_a_lost_name_and_a_lost_parameter_are_seen(count):
    rows = [row(count, "(input)", "f"), row(count, "(input, dim)", "g")]
    for r in rows:
        count.check(r, namespace("def f(input): ...\ndef g(input, dim): ..."))
    before = count.committed(count.page(rows))
    assert before == {"core lampyr": (2, 2, 2)}
    for less in ("def f(input): ...", "def f(input): ...\ndef g(input): ..."):
        for r in rows:
            r.found = r.accepts = False
            count.check(r, namespace(less))
        assert len(count.shrunk(count.count(rows), before)) == 1
