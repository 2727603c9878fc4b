use lampyr_base::{DType, Layout};
use lampyr_ir::scalar::{Compute, Lane, ScalarExpr};
use lampyr_ir::{Class, HostTensor, HostValue, Numbers};

use crate::support::{bound, close, every_case, symbolic_facts, text};

/// Scalar expressions compute, element by element, what the reference does.
#[test]
fn scalar_expressions_agree_with_the_reference() {
    every_case(|case| {
        let values = case.values().map_err(text)?;
        let op = bound(&case.op, &symbolic_facts(case, &values).1);
        let tensors: Vec<&HostTensor> = values.iter().filter_map(|v| v.tensor().ok()).collect();
        let dtypes: Vec<DType> = tensors.iter().map(|t| t.dtype()).collect();
        let Some(expr) = op.scalar(&dtypes) else {
            return match op.class() {
                Class::Elementwise => Err("elementwise without a scalar expression".to_string()),
                _ => Ok(false),
            };
        };
        if expr.inputs.as_slice() != dtypes {
            return Err(format!("the expression is for {:?}, not {dtypes:?}", expr.inputs));
        }
        let want = op.reference(&values).map_err(text)?;
        for (k, want) in want.iter().enumerate() {
            let want_tensor = want.tensor().map_err(text)?;
            let have = evaluate(&expr, &tensors, k, want_tensor.shape()).map_err(text)?;
            close(&HostValue::Tensor(have), want, case.tolerance)?;
        }
        Ok(true)
    });
}

fn evaluate(expr: &ScalarExpr, inputs: &[&HostTensor], k: usize, shape: &[usize]) -> lampyr_base::Result<HostTensor> {
    let columns = inputs
        .iter()
        .map(|t| {
            let all = lanes(t);
            let layout = Layout::contiguous(t.shape()).broadcast_to(shape)?;
            Ok(layout.indices().map(|i| all[i]).collect::<Vec<Lane>>())
        })
        .collect::<lampyr_base::Result<Vec<_>>>()?;
    let n: usize = shape.iter().product();
    let results: Vec<Lane> = (0..n).map(|i| expr.eval(&columns.iter().map(|c| c[i]).collect::<Vec<_>>())[k]).collect();
    let dtype = expr.outputs[k].1;
    let float = |l: &Lane| match *l {
        Lane::F32(x) => f64::from(x),
        Lane::F64(x) => x,
        Lane::I32(_) | Lane::I64(_) | Lane::U64(_) => f64::NAN,
    };
    let whole = |l: &Lane| match *l {
        Lane::I32(x) => i64::from(x),
        Lane::I64(x) => x,
        Lane::U64(x) => x as i64,
        Lane::F32(_) | Lane::F64(_) => i64::MIN,
    };
    let numbers = match dtype.is_float() {
        true => Numbers::F(results.iter().map(float).collect()),
        false => Numbers::I(results.iter().map(whole).collect()),
    };
    HostTensor::from_numbers(dtype, shape, &numbers)
}

fn lanes(t: &HostTensor) -> Vec<Lane> {
    match (t.numbers(), Compute::of(t.dtype())) {
        (Numbers::F(v), Compute::F64) => v.into_iter().map(Lane::F64).collect(),
        (Numbers::F(v), _) => v.into_iter().map(|x| Lane::F32(x as f32)).collect(),
        (Numbers::I(v), Compute::I32) => v.into_iter().map(|x| Lane::I32(x as i32)).collect(),
        (Numbers::I(v), _) => v.into_iter().map(Lane::I64).collect(),
        (Numbers::U(v), Compute::I32) => v.into_iter().map(|x| Lane::I32(x as i32)).collect(),
        (Numbers::U(v), Compute::I64) => v.into_iter().map(|x| Lane::I64(x as i64)).collect(),
        (Numbers::U(v), _) => v.into_iter().map(Lane::U64).collect(),
    }
}
