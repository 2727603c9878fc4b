"""Index operations with hostile positions on memory whose ends valgrind knows. To run:

LAMPYR_SIMD=scalar PYTHONMALLOC=malloc valgrind --undef-value-errors=no --error-exitcode=9 \\
    python conformance/tensor/hostile.py
"""

import array
import itertools

import lampyr as lp

HOSTILE = [0, -1, 2, 3, -3, -4, 127, -128, 2**31 - 1, 2**31, -(2**31), 2**62, 2**63 - 1, -(2**63)]


def attempt(change: object) -> bool:
    try:
        change()  # type: ignore[operator]
    except (IndexError, RuntimeError, OverflowError):
        return False
    return True


def main() -> None:
    x = lp.from_numpy(array.array("f", range(12))).reshape(3, 4)
    views = [x, x.T, x[1:], x[:, ::2], x[:1].expand(3, 4)]
    passed = 0
    for t, i, j in itertools.product(views, HOSTILE, HOSTILE):
        at = lp.tensor([i, j])
        passed += attempt(lambda t=t, at=at: t[at].sum().item())
        passed += attempt(lambda t=t, at=at: t[:, at].sum().item())
        passed += attempt(lambda t=t, at=at: t[at, at].sum().item())
        passed += attempt(lambda t=t, i=i, j=j: t[i, j].item())
        passed += attempt(lambda t=t, i=i, j=j: t[i:j].sum().item())
        passed += attempt(lambda t=t, at=at: t.__setitem__(at, 1.0))
        passed += attempt(lambda t=t, at=at: t.__setitem__((at, at), 1.0))
    for dtype, i in itertools.product(["int8", "int16", "int32", "uint16", "uint32", "uint64"], [3, 100, -4, 127]):
        passed += attempt(lambda i=i, dtype=dtype: x[lp.tensor([i]).to(getattr(lp, dtype))].sum().item())
    print(f"{passed} of the indices lie inside")


if __name__ == "__main__":
    main()
