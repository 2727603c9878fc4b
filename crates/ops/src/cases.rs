//! Generators of the cases that every elementwise op has.

use lampyr_base::DType;
use lampyr_ir::Op;
use lampyr_ir::case::{Case, CaseInput, Fill, View};

/// All dtypes, layouts, broadcasts, empty, 0-d, special values and a large tensor, for an op of `arity` equal-typed
/// inputs. `smooth`: gradients are compared for floats.
pub fn elementwise<T: Op + Clone>(op: &T, arity: usize, dtypes: &[DType], smooth: bool, range: (f64, f64)) -> Vec<Case> {
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
        for (name, view) in
            [("transposed", View::Transposed), ("strided", View::Strided), ("reversed", View::Reversed), ("expanded", View::Broadcast)]
        {
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
