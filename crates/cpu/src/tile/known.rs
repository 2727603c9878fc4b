use lampyr_base::DType;
use lampyr_ir::Op;
use lampyr_ir::scalar::{Binary, Compute, Instr, ScalarExpr};
use lampyr_kernels::simd::activation::Activation;
use lampyr_ops::build::{Gelu, HardSigmoid, HardSwish, LeakyRelu, Sigmoid, Silu, Tanh};
use smallvec::SmallVec;

/// An expression over `f32` that kernels compute in registers: input 0 within bounds, plus an operand, then a function.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Known {
    /// Bounds of input 0 before anything is added.
    pub inner: Option<(f32, f32)>,
    /// Input that is added first.
    pub residual: Option<u8>,
    /// What the sum goes through.
    pub function: Option<Activation>,
}

const UNBOUNDED: (f32, f32) = (f32::NEG_INFINITY, f32::INFINITY);

/// What a step of a simple expression is.
#[derive(Clone, Copy)]
enum Value {
    /// Input 0, plus an operand after bounds, within bounds.
    Result(Option<(u8, (f32, f32))>, (f32, f32)),
    Operand(u8),
    Constant(f32),
}

impl Known {
    /// What `expr` is, when it is of this form.
    pub(crate) fn of(expr: &ScalarExpr) -> Option<Known> {
        if expr.inputs.iter().any(|&d| d != DType::F32) {
            return None;
        }
        bounded_sum(expr).or_else(|| function(expr))
    }
}

/// An expression that adds and bounds at most.
fn bounded_sum(expr: &ScalarExpr) -> Option<Known> {
    let mut values: SmallVec<[Value; 8]> = SmallVec::new();
    for step in &expr.steps {
        let of = |i: u16| values.get(usize::from(i)).copied();
        let value = match step.instr {
            _ if step.ty != Compute::F32 => return None,
            Instr::Input(0) => Value::Result(None, UNBOUNDED),
            Instr::Input(i) => Value::Operand(i),
            Instr::Const(bits) if f64::from_bits(bits).is_nan() => return None,
            Instr::Const(bits) => Value::Constant(f64::from_bits(bits) as f32),
            Instr::Binary(f, x, y) => match (f, of(x)?, of(y)?) {
                (Binary::Add, Value::Result(None, inner), Value::Operand(i))
                | (Binary::Add, Value::Operand(i), Value::Result(None, inner)) => {
                    Value::Result(Some((i, inner)), UNBOUNDED)
                }
                (Binary::Max, Value::Result(r, (low, high)), Value::Constant(c))
                | (Binary::Max, Value::Constant(c), Value::Result(r, (low, high)))
                    if c <= high =>
                {
                    Value::Result(r, (low.max(c), high))
                }
                (Binary::Min, Value::Result(r, (low, high)), Value::Constant(c))
                | (Binary::Min, Value::Constant(c), Value::Result(r, (low, high)))
                    if c >= low =>
                {
                    Value::Result(r, (low, high.min(c)))
                }
                _ => return None,
            },
            _ => return None,
        };
        values.push(value);
    }
    let &[(r, DType::F32)] = expr.outputs.as_slice() else { return None };
    let Value::Result(residual, bounds) = *values.get(usize::from(r))? else { return None };
    let function = (bounds != UNBOUNDED).then_some(Activation::Bounds(bounds.0, bounds.1));
    let inner = residual.map(|(_, inner)| inner).filter(|&inner| inner != UNBOUNDED);
    Some(Known { inner, residual: residual.map(|(i, _)| i), function })
}

/// Most steps of an expression that is looked at.
const MOST_STEPS: usize = 32;

/// A function of input 0, or of its sum with an operand.
fn function(expr: &ScalarExpr) -> Option<Known> {
    let &[(result, DType::F32)] = expr.outputs.as_slice() else { return None };
    if expr.steps.len() > MOST_STEPS {
        return None;
    }
    let input = |r: u16| match expr.steps.get(usize::from(r))?.instr {
        Instr::Input(i) => Some(i),
        _ => None,
    };
    let sum = expr.steps.iter().enumerate().find_map(|(at, step)| match step.instr {
        Instr::Binary(Binary::Add, x, y) => match (input(x)?, input(y)?) {
            (0, i) | (i, 0) if i != 0 => Some((at as u16, i)),
            _ => None,
        },
        _ => None,
    });
    let argument = |r: u16| match sum {
        Some((at, _)) => r == at,
        None => input(r) == Some(0),
    };
    let same = |op: &dyn Op| {
        let Some(form) = op.scalar(&[DType::F32]) else { return false };
        form.outputs.first().is_some_and(|&(r, _)| equal(expr, result, &form, r, &argument))
    };
    let constants = expr.steps.iter().filter_map(|s| match s.instr {
        Instr::Const(bits) if s.ty == Compute::F32 => Some(f64::from_bits(bits)),
        _ => None,
    });
    let constants: SmallVec<[f64; 4]> = constants.take(4).collect();
    let known = |function| Some(Known { inner: None, residual: sum.map(|(_, i)| i), function: Some(function) });
    let plain: [(&dyn Op, Activation); 6] = [
        (&Silu, Activation::Silu),
        (&Gelu { approximate: "none".into() }, Activation::Gelu),
        (&Gelu { approximate: "tanh".into() }, Activation::GeluTanh),
        (&Sigmoid, Activation::Sigmoid),
        (&Tanh, Activation::Tanh),
        (&HardSwish, Activation::HardSwish(1.0 / 6.0, 0.5)),
    ];
    if let Some(&(_, function)) = plain.iter().find(|(op, _)| same(*op)) {
        return known(function);
    }
    for &alpha in &constants {
        if same(&LeakyRelu { alpha }) {
            return known(Activation::LeakyRelu(alpha as f32));
        }
        if let Some(&beta) = constants.iter().find(|&&beta| same(&HardSigmoid { alpha, beta })) {
            return known(Activation::HardSigmoid(alpha as f32, beta as f32));
        }
    }
    None
}

/// Whether register `x` of `a` computes what register `y` of `b` does, whose input is what `argument` tells.
fn equal(a: &ScalarExpr, x: u16, b: &ScalarExpr, y: u16, argument: &impl Fn(u16) -> bool) -> bool {
    let (Some(s), Some(t)) = (a.steps.get(usize::from(x)), b.steps.get(usize::from(y))) else { return false };
    if let Instr::Input(_) = t.instr {
        return argument(x);
    }
    let both = |p: u16, q: u16| equal(a, p, b, q, argument);
    s.ty == t.ty
        && match (s.instr, t.instr) {
            (Instr::Const(p), Instr::Const(q)) => p == q,
            (Instr::Unary(f, p), Instr::Unary(g, q)) => f == g && both(p, q),
            (Instr::Binary(f, p, q), Instr::Binary(g, r, s)) => {
                let commutes = matches!(f, Binary::Add | Binary::Mul | Binary::Max | Binary::Min);
                f == g && (both(p, r) && both(q, s) || commutes && both(p, s) && both(q, r))
            }
            (Instr::Compare(f, p, q), Instr::Compare(g, r, s)) => f == g && both(p, r) && both(q, s),
            (Instr::Select(c, p, q), Instr::Select(d, r, s)) => both(c, d) && both(p, r) && both(q, s),
            _ => false,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_sum(form: &ScalarExpr) -> ScalarExpr {
        let mut e = ScalarExpr::new(&[DType::F32; 2]);
        let (x, r) = (e.load(0), e.load(1));
        let sum = e.binary(Binary::Add, r, x);
        let shift = sum;
        for step in &form.steps[1..] {
            let at = |r: u16| r + shift;
            e.push(
                match step.instr {
                    Instr::Unary(f, x) => Instr::Unary(f, at(x)),
                    Instr::Binary(f, x, y) => Instr::Binary(f, at(x), at(y)),
                    other => other,
                },
                step.ty,
            );
        }
        e.store(form.outputs[0].0 + shift, DType::F32)
    }

    #[test]
    fn functions_are_known_with_and_without_a_sum() {
        let ops: [(&dyn Op, Activation); 5] = [
            (&Silu, Activation::Silu),
            (&Gelu { approximate: "none".into() }, Activation::Gelu),
            (&Gelu { approximate: "tanh".into() }, Activation::GeluTanh),
            (&HardSwish, Activation::HardSwish(1.0 / 6.0, 0.5)),
            (&HardSigmoid { alpha: 0.25, beta: 0.5 }, Activation::HardSigmoid(0.25, 0.5)),
        ];
        for (op, function) in ops {
            let form = op.scalar(&[DType::F32]).expect("has one");
            let function = Some(function);
            assert_eq!(Known::of(&form), Some(Known { inner: None, residual: None, function }), "{op:?}");
            assert_eq!(Known::of(&with_sum(&form)), Some(Known { inner: None, residual: Some(1), function }), "{op:?}");
        }
        let leaky = LeakyRelu { alpha: 0.1 };
        let form = leaky.scalar(&[DType::F32]).expect("has one");
        assert_eq!(Known::of(&form).and_then(|k| k.function), Some(Activation::LeakyRelu(0.1)));
    }

    #[test]
    fn bounds_are_known_and_other_expressions_are_not() {
        let mut e = ScalarExpr::new(&[DType::F32; 2]);
        let (x, r) = (e.load(0), e.load(1));
        let (sum, zero) = (e.binary(Binary::Add, x, r), e.constant(0.0, Compute::F32));
        let y = e.binary(Binary::Max, sum, zero);
        let function = Some(Activation::Bounds(0.0, f32::INFINITY));
        assert_eq!(
            Known::of(&e.clone().store(y, DType::F32)),
            Some(Known { inner: None, residual: Some(1), function })
        );
        let again = e.binary(Binary::Add, y, r);
        let inner = Some((0.0, f32::INFINITY));
        let known = Known { inner, residual: Some(1), function: None };
        let mut bounded = ScalarExpr::new(&[DType::F32; 2]);
        let (x, r) = (bounded.load(0), bounded.load(1));
        let zero = bounded.constant(0.0, Compute::F32);
        let above = bounded.binary(Binary::Max, x, zero);
        let sum = bounded.binary(Binary::Add, r, above);
        assert_eq!(Known::of(&bounded.store(sum, DType::F32)), Some(known));
        assert_eq!(Known::of(&e.clone().store(again, DType::F32)), None);
        let twice = e.binary(Binary::Mul, y, y);
        assert_eq!(Known::of(&e.store(twice, DType::F32)), None);
        let double = Silu.scalar(&[DType::F64]).expect("has one");
        assert_eq!(Known::of(&double), None);
    }
}
