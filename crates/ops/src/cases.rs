//! Generators of the cases that every elementwise op has.

use lampyr_base::DType;
use lampyr_ir::Op;
use lampyr_ir::case::{Case, CaseInput, Fill, View};

/// All dtypes, layouts, broadcasts, empty, 0-d, special values and a large tensor, for an op of `arity` equal-typed
/// inputs. `smooth`: gradients are compared for floats.
pub fn elementwise<T: Op + Clone>(
    op: &T,
    arity: usize,
    dtypes: &[DType],
    smooth: bool,
    range: (f64, f64),
) -> Vec<Case> {
    let input = |d: DType, shape: &[usize], k: usize| {
        let x = CaseInput::new(d, shape);
        if d.is_float() { x.fill(Fill::Uniform(range.0, range.1, 7 + k as u64 + shape.len() as u64)) } else { x }
    };
    let all = |d: DType, shape: &[usize]| (0..arity).map(|k| input(d, shape, k)).collect::<Vec<_>>();
    let mut cases = Vec::new();
    for &d in dtypes {
        let grad = smooth && matches!(d, DType::F32 | DType::F64);
        let case = |name: &str, inputs| {
            let c = Case::new(format!("{name}-{d}"), op, inputs);
            if grad { c.with_gradient() } else { c }
        };
        cases.push(case("plain", all(d, &[2, 3, 4])).symbol(0, 0, "n"));
        cases.push(case("scalar", all(d, &[])));
        cases.push(case("empty", all(d, &[2, 0, 3])));
        for (name, view) in VIEWS {
            cases.push(case(name, all(d, &[3, 5]).into_iter().map(|x| x.view(view)).collect()));
        }
        cases.push(Case::new(
            format!("special-{d}"),
            op,
            (0..arity).map(|k| input(d, &[4, 12], k).fill(Fill::Special(3 + k as u64))).collect(),
        ));
        if arity > 1 {
            let shapes: [&[usize]; 3] = [&[4, 1, 3], &[2, 1], &[1]];
            cases.push(case("broadcast", (0..arity).map(|k| input(d, shapes[k % 3], k)).collect()));
        }
    }
    for d in [DType::F32, DType::I64].into_iter().filter(|d| dtypes.contains(d)) {
        cases.push(Case::new(format!("large-{d}"), op, all(d, &[37, 1021])));
    }
    cases
}

/// The cases of a binary op with other numbers in the second input: for functions with a kink where operands are equal.
pub fn apart(mut cases: Vec<Case>) -> Vec<Case> {
    for case in &mut cases {
        if let Some(CaseInput { fill: Fill::Uniform(_, _, seed), .. }) = case.inputs.get_mut(1) {
            *seed += 1000;
        }
    }
    cases
}

/// All dtypes, axes, layouts, sizes and special values for a reduction made by `make(axes, keepdims)`.
pub fn reduce<T: Op + Clone>(make: impl Fn(Vec<i64>, bool) -> T, dtypes: &[DType], empty: bool) -> Vec<Case> {
    let input = |d: DType, shape: &[usize]| {
        let x = CaseInput::new(d, shape);
        if d.is_float() { x.fill(Fill::Distinct(-2.0, 2.0, 5 + shape.len() as u64)) } else { x }
    };
    let mut cases = Vec::new();
    for &d in dtypes {
        let mut add = |name: &str, axes: &[i64], keepdims: bool, x: CaseInput| {
            let case = Case::new(format!("{name}-{d}"), &make(axes.to_vec(), keepdims), vec![x]);
            cases.push(if matches!(d, DType::F32 | DType::F64) { case.with_gradient() } else { case });
        };
        add("last", &[-1], false, input(d, &[2, 3, 5]));
        add("first", &[0], true, input(d, &[3, 4]));
        add("middle", &[1], false, input(d, &[2, 3, 4]));
        add("outer", &[0, 2], false, input(d, &[2, 3, 4]));
        add("all", &[], false, input(d, &[3, 4]));
        add("all-kept", &[], true, input(d, &[2, 1, 3]));
        add("scalar", &[], false, input(d, &[]));
        for (name, view) in VIEWS {
            add(name, &[-1], true, input(d, &[3, 5]).view(view));
        }
        let special = CaseInput::new(d, &[4, 12]).fill(Fill::Special(9));
        cases.push(Case::new(format!("special-{d}"), &make(vec![1], false), vec![special]));
        cases.push(Case::new(format!("no-result-{d}"), &make(vec![1], false), vec![input(d, &[0, 3])]));
        if empty {
            cases.push(Case::new(format!("empty-{d}"), &make(vec![0], false), vec![input(d, &[0, 3])]));
        }
    }
    for (name, shape, axes) in [("rows", [61, 997], 1), ("columns", [997, 61], 0), ("long", [1, 60013], 1)] {
        let x = CaseInput::new(DType::F32, &shape);
        cases.push(Case::new(format!("large-{name}"), &make(vec![axes], false), vec![x]).tolerance(1e-4, 1e-4));
    }
    for (name, axis) in [("kept", 0), ("folded", 1)] {
        let case = Case::new(format!("symbolic-{name}"), &make(vec![1], false), vec![input(DType::F32, &[3, 4])]);
        cases.push(case.symbol(0, axis, "n").with_gradient());
    }
    cases
}

/// Every way in which an input of rank 2 or more lies in memory other than row-major.
pub const VIEWS: [(&str, View); 4] = [
    ("transposed", View::Transposed),
    ("strided", View::Strided),
    ("reversed", View::Reversed),
    ("expanded", View::Broadcast),
];

/// All float types, axes, layouts, sizes and special values for an op along one axis made by `make(axis)`.
pub fn rows<T: Op + Clone>(make: impl Fn(i64) -> T) -> Vec<Case> {
    let mut cases = Vec::new();
    for &d in DType::FLOATS {
        let mut add = |name: &str, axis: i64, x: CaseInput| {
            let case = Case::new(format!("{name}-{d}"), &make(axis), vec![x]);
            cases.push(if matches!(d, DType::F32 | DType::F64) { case.with_gradient() } else { case });
        };
        add("last", -1, CaseInput::new(d, &[2, 3, 5]));
        add("first", 0, CaseInput::new(d, &[4, 3]));
        add("middle", 1, CaseInput::new(d, &[2, 3, 4]));
        add("single", 0, CaseInput::new(d, &[1]));
        add("empty", -1, CaseInput::new(d, &[2, 0]));
        add("no-rows", -1, CaseInput::new(d, &[0, 3]));
        for (name, view) in VIEWS {
            add(name, -1, CaseInput::new(d, &[3, 5]).view(view));
        }
        let special = CaseInput::new(d, &[4, 12]).fill(Fill::Special(9));
        cases.push(Case::new(format!("special-{d}"), &make(-1), vec![special]));
        let far = CaseInput::new(d, &[2, 3]).values(&[300.0, 299.0, 298.0, -300.0, f64::NEG_INFINITY, -301.0]);
        cases.push(Case::new(format!("far-{d}"), &make(1), vec![far]));
    }
    for (name, shape, axis) in [("rows", [61, 997], 1), ("columns", [997, 61], 0)] {
        cases.push(Case::new(format!("large-{name}"), &make(axis), vec![CaseInput::new(DType::F32, &shape)]));
    }
    let symbolic = Case::new("symbolic", &make(1), vec![CaseInput::new(DType::F32, &[3, 4])]);
    cases.push(symbolic.symbol(0, 0, "n").symbol(0, 1, "m").with_gradient());
    cases
}

/// Types, ranks, layouts and sizes for batch normalisation made by `make(training, unbiased)`.
pub fn batch_norm<T: Op + Clone>(make: impl Fn(bool, bool) -> T) -> Vec<Case> {
    let inputs = |d: DType, vectors: DType, shape: &[usize], view: View| {
        let vector =
            |low: f64, high: f64, seed: u64| CaseInput::new(vectors, &shape[1..2]).fill(Fill::Uniform(low, high, seed));
        let x = CaseInput::new(d, shape).view(view);
        vec![x, vector(0.5, 1.5, 1), vector(-1.0, 1.0, 2), vector(-0.5, 0.5, 3), vector(0.5, 2.0, 4)]
    };
    let mut cases = Vec::new();
    for (mode, training, unbiased) in [("inference", false, true), ("torch", true, true), ("onnx", true, false)] {
        let op = make(training, unbiased);
        let mut add = |name: String, inputs: Vec<CaseInput>| {
            let smooth = inputs.iter().all(|x| matches!(x.dtype, DType::F32 | DType::F64));
            let case = Case::new(format!("{mode}-{name}"), &op, inputs);
            cases.push(if smooth { case.with_gradient() } else { case });
        };
        for &d in DType::FLOATS {
            add(format!("images-{d}"), inputs(d, d, &[2, 3, 4, 5], View::Contiguous));
            add(format!("rows-{d}"), inputs(d, d, &[5, 3], View::Contiguous));
            for (name, view) in VIEWS {
                add(format!("{name}-{d}"), inputs(d, d, &[4, 3, 5], view));
            }
        }
        for d in [DType::F16, DType::BF16] {
            add(format!("mixed-{d}"), inputs(d, DType::F32, &[2, 3, 4], View::Contiguous));
        }
        add("channels-of-one".to_string(), inputs(DType::F32, DType::F32, &[4, 1, 2], View::Contiguous));
        let none =
            Case::new(format!("{mode}-empty"), &op, inputs(DType::F32, DType::F32, &[0, 3, 2], View::Contiguous));
        cases.push(none);
        let large = inputs(DType::F32, DType::F32, &[4, 16, 29, 31], View::Contiguous);
        cases.push(Case::new(format!("{mode}-large"), &op, large).tolerance(1e-4, 1e-4));
        let symbolic = inputs(DType::F32, DType::F32, &[4, 3, 5], View::Contiguous);
        let symbolic = Case::new(format!("{mode}-symbolic"), &op, symbolic);
        cases.push(symbolic.symbol(0, 0, "n").symbol(0, 2, "w").with_gradient());
    }
    cases
}
