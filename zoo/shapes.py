"""Shapes that Lampyr infers for every value of a model, beside those of `onnx.shape_inference`.

python -m zoo.shapes MODEL.onnx ...

Declared shapes of values and outputs are removed first, so that both infer from the inputs and weights alone.
"""

import dataclasses
import re
import sys
import tempfile
from pathlib import Path

import onnx

import lampyr

# Names that ONNX gives to sizes it knows nothing of.
UNKNOWN = re.compile(r"unk__\d+")

Size = int | str | None


@dataclasses.dataclass
class Shapes:
    """How both compare: numbers of values, and the ones of which ONNX knows more, or something else."""

    compared: int = 0
    sharper: int = 0
    worse: list[str] = dataclasses.field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.compared} values, {self.sharper} sharper, {len(self.worse)} less sharp"


def sizes(info: onnx.ValueInfoProto) -> list[Size] | None:
    """The sizes of a tensor; None for one of unknown rank."""
    if not info.type.tensor_type.HasField("shape"):
        return None
    found: list[Size] = []
    for dim in info.type.tensor_type.shape.dim:
        if dim.HasField("dim_value"):
            found.append(dim.dim_value)
        else:
            name = dim.dim_param
            found.append(name if name and not UNKNOWN.fullmatch(name) else None)
    return found


def infer_onnx(model: onnx.ModelProto) -> dict[str, tuple[str, list[Size] | None]]:
    """Types and sizes of all values by name, as ONNX infers them; removes what the file declares of them."""
    del model.graph.value_info[:]
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    values = [*inferred.graph.value_info, *inferred.graph.output]
    return {
        v.name: (onnx.helper.tensor_dtype_to_np_dtype(v.type.tensor_type.elem_type).name, sizes(v))
        for v in values
        if v.type.HasField("tensor_type")
    }


def infer_lampyr(model: onnx.ModelProto, names: list[str]) -> dict[str, tuple[str, list[Size]]]:
    """Types and sizes of the values called so, as Lampyr infers them; makes them outputs of `model`."""
    del model.graph.output[:]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        onnx.save(model, path)
        ports = lampyr.load_onnx(path).outputs
    return {port.name: (str(port.dtype).removeprefix("lampyr."), list(port.shape)) for port in ports}


def judge(theirs: list[Size] | None, ours: list[Size]) -> int:
    """1 where ours says more, 0 where both say the same, -1 where theirs says more or something else."""
    if theirs is None:
        return 1
    if len(theirs) != len(ours):
        return -1
    verdict = 0
    for a, b in zip(theirs, ours, strict=True):
        if a == b:
            continue
        if isinstance(a, int) or (isinstance(a, str) and not isinstance(b, int)):
            return -1
        verdict = 1
    return verdict


def compare(model: onnx.ModelProto) -> Shapes:
    """Compares the values of `model` outside of sub-graphs; changes it."""
    made = {name for node in model.graph.node for name in node.output if name}
    theirs = {name: found for name, found in infer_onnx(model).items() if name in made}
    ours = infer_lampyr(model, list(theirs))
    result = Shapes(compared=len(theirs))
    for name, (dtype, expected) in theirs.items():
        own_type, own = ours[name]
        verdict = judge(expected, own) if dtype == own_type else -1
        result.sharper += verdict > 0
        if verdict < 0:
            result.worse.append(f"{name}: {own_type}{own}, ONNX {dtype}{expected}")
    return result


def main() -> int:
    """Prints the comparison of the models named on the command line."""
    worse = False
    for path in map(Path, sys.argv[1:]):
        found = compare(onnx.load(path))
        worse |= bool(found.worse)
        print(f"{path.stem:32} {found}", *found.worse[:20], sep="\n    ", flush=True)
    return int(worse)


if __name__ == "__main__":
    sys.exit(main())
