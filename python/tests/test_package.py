import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

import lampyr as lp

BLOCKED = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("numpy", "torch"):
            raise ImportError(name)
sys.meta_path.insert(0, Block())
import lampyr as lp
x = lp.ones(2, 2, requires_grad=True)
(x @ x).sum().backward()
assert x.grad.tolist() == [[4.0, 4.0], [4.0, 4.0]]
assert memoryview(lp.arange(3)).tolist() == [0, 1, 2]
assert lp.from_dlpack(lp.ones(2)).tolist() == [1, 1]
print(lp.tensor([1, 2]))
assert "numpy" not in sys.modules
"""


def test_import_without_numpy():
    made = subprocess.run([sys.executable, "-c", BLOCKED], capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    assert made.stdout.strip() == "tensor([1, 2])"


def test_import_time_is_printed():
    def wall(code):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        return time.perf_counter() - start

    bare = min(wall("pass") for _ in range(5))
    full = min(wall("import lampyr") for _ in range(5))
    print(f"import lampyr: {1e3 * (full - bare):.1f} ms")


TYPED = """
import lampyr as lp

def loss(x: lp.Tensor, w: lp.Tensor) -> lp.Tensor:
    y = lp.relu(lp.conv2d(x, w, stride=(1, 1), padding=1))
    return ((y - 1.0) ** 2).mean() + 2 * y.amax()

w: lp.Tensor = lp.randn(2, 1, 3, 3, requires_grad=True)
with lp.no_grad():
    w -= 0.1
value: float | int | bool = loss(lp.zeros(1, 1, 8, 8), w).item()
shape: tuple[int, ...] = w[0, ..., None].shape
(g,) = lp.grad(loss(lp.zeros(1, 1, 8, 8), w), [w], allow_unused=True)
model: lp.Model = lp.load_onnx("model.onnx").compile(fuse=True)
names: list[str] = [port.name for port in model.inputs]
arena: int = model.memory().arena_bytes
try:
    lp.ones(2) + lp.ones(3)
except lp.ShapeError as error:
    op: str | None = error.op

@lp.no_grad()
def twice(x: lp.Tensor) -> lp.Tensor:
    return x * 2

reveal: lp.Tensor = twice(w)
"""


ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = [ROOT / "examples/digits/train.py", ROOT / "examples/chars/train.py"]


def type_paths():
    """Where checkers look for lampyr when it is not installed but imported from the tree."""
    home = Path(lp.__file__).resolve().parents[1]
    return [ROOT / "examples"] + ([] if "site-packages" in home.parts else [home])


def mypy(tmp_path, *arguments):
    made = subprocess.run(
        [sys.executable, "-m", "mypy", "--cache-dir", str(tmp_path / "cache"), *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PATH": "", "MYPYPATH": ":".join(map(str, type_paths()))},
        check=False,
    )
    return made.returncode, made.stdout + made.stderr


def test_a_typed_example_passes_mypy(tmp_path):
    example = tmp_path / "example.py"
    example.write_text(TYPED)
    code, text = mypy(tmp_path, "--strict", "--follow-imports=silent", example)
    assert code == 0, text
    example.write_text(TYPED + "wrong: int = lp.relu(w)\n")
    code, text = mypy(tmp_path, "--strict", "--follow-imports=silent", example)
    assert code == 1 and "expression has type" in text, text


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda p: p.parent.name)
def test_the_examples_pass_mypy(tmp_path, example):
    options = ["--ignore-missing-imports", "--follow-imports=silent", "--check-untyped-defs"]
    code, text = mypy(tmp_path, *options, example)
    assert code == 0, text


def test_the_examples_pass_pyright(tmp_path):
    pytest.importorskip("basedpyright")
    typed = tmp_path / "typed.py"
    typed.write_text(TYPED)
    wrong = tmp_path / "wrong.py"
    wrong.write_text("import lampyr as lp\nwrong: int = lp.relu(lp.ones(2))\n")
    settings = {
        "include": [str(typed), str(wrong), *(str(e.parent) for e in EXAMPLES)],
        "extraPaths": [str(p) for p in type_paths()],
        "typeCheckingMode": "standard",
        "reportMissingImports": False,
        "reportMissingModuleSource": False,
    }
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))
    command = [sys.executable, "-m", "basedpyright", "--outputjson", "--pythonpath", sys.executable]
    command += ["-p", str(tmp_path / "pyrightconfig.json")]
    made = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    found = [d for d in json.loads(made.stdout)["generalDiagnostics"] if d["severity"] == "error"]
    assert [Path(d["file"]).name for d in found] == ["wrong.py"], found


def test_names_of_the_lazy_modules_are_those_they_have():
    from lampyr import histograms, types

    assert set(types.__all__) == {name for name, home in lp._ELSEWHERE.items() if home == "types"}
    assert all(callable(getattr(histograms, name)) for name, home in lp._ELSEWHERE.items() if home == "histograms")


def test_the_stub_knows_what_the_module_has():
    stub = (Path(lp.__file__).parent / "_lampyr.pyi").read_text()
    missing = [name for name in dir(lp._lampyr) if not name.startswith("__") and f"{name}" not in stub]
    assert missing == []
    stub += (Path(lp.__file__).parent / "_methods.pyi").read_text()
    missing = [name for name in dir(lp.Tensor) if not name.startswith("_") and f"def {name}(" not in stub]
    assert missing == []


def test_public_names():
    assert all(hasattr(lp, name) for name in lp.__all__)
    assert lp.__version__.count(".") == 2
