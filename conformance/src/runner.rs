//! Running one case: eagerly on a device, with gradients, and comparing results.

use lampyr_backend::backend;
use lampyr_base::{Device, Error, Result};
use lampyr_ir::case::{Case, SplitMix, Tolerance};
use lampyr_ir::{Builder, HostTensor, HostValue, Var};
use lampyr_runtime::{EagerBuilder, GradOptions, Tensor, Value, grad};

/// The inputs of a case on `device`, lying in memory as the case says.
pub fn inputs(case: &Case, device: Device) -> Result<Vec<Value>> {
    let backend = backend(device)?;
    let place = |input: &lampyr_ir::case::CaseInput, salt: u64| -> Result<Tensor> {
        let (base, layout) = input.storage(salt)?;
        let memory = backend.allocate(base.bytes().len())?;
        backend.upload(base.bytes(), &memory, 0)?;
        Tensor::from_memory(memory, 0, layout, input.dtype)
    };
    case.inputs
        .iter()
        .map(|input| match input.sequence {
            None => place(input, 0).map(Value::Tensor),
            Some(n) => {
                let items = (0..n as u64).map(|k| place(input, k)).collect::<Result<Vec<_>>>()?;
                Ok(Value::sequence(input.dtype, items))
            }
        })
        .collect()
}

/// A live value on the host.
pub fn to_host(value: &Value) -> Result<HostValue> {
    Ok(match value {
        Value::Tensor(t) => HostValue::Tensor(t.to_host()?),
        Value::Sequence(s) => HostValue::Sequence(s.items.iter().map(Tensor::to_host).collect::<Result<_>>()?),
        Value::Optional(v) => HostValue::Optional(v.value.as_ref().map(|v| to_host(v).map(Box::new)).transpose()?),
    })
}

/// The visible outputs of a case run eagerly.
pub fn eager(case: &Case, device: Device) -> Result<Vec<HostValue>> {
    let vars: Vec<Var> = inputs(case, device)?.iter().map(Value::var).collect();
    let made = EagerBuilder::on(device).apply(&*case.op, &vars)?;
    let visible = case.op.visible_outputs().unwrap_or(made.len());
    made.iter().take(visible).map(|v| to_host(&Value::from_var(v)?)).collect()
}

/// The definition: visible outputs by the plain reference.
pub fn reference(case: &Case) -> Result<Vec<HostValue>> {
    let mut made = case.op.reference(&case.values()?)?;
    made.truncate(case.op.visible_outputs().unwrap_or(made.len()));
    Ok(made)
}

/// Deterministic numbers in -1..1 that weight an output or a gradient.
pub fn weights(like: &HostTensor, seed: u64) -> Result<HostTensor> {
    let mut rng = SplitMix(seed);
    let values: Vec<f64> = (0..like.len()).map(|_| f64::from((2.0 * rng.unit() - 1.0) as f32)).collect();
    HostTensor::from_f64(like.dtype(), like.shape(), &values)
}

/// First and second gradients of a case.
#[derive(Clone, Debug, Default)]
pub struct Gradients {
    /// Gradient of the weighted sum of the outputs, per input.
    pub first: Vec<Option<HostTensor>>,
    /// Gradient of the weighted sum of the first gradients, per input.
    pub second: Vec<Option<HostTensor>>,
}

/// Gradients on the tape: `L = sum_k <w_k, y_k>`, then `S = sum_i <v_i, dL/dx_i>`, with `w_k` seeded by `100 + k` and
/// `v_i` by `200 + i`.
pub fn eager_gradients(case: &Case, device: Device) -> Result<Gradients> {
    let values = inputs(case, device)?;
    let mut tensors = Vec::new();
    for value in &values {
        let Value::Tensor(t) = value else {
            return Err(Error::internal("gradients of sequences are tested elsewhere"));
        };
        if t.dtype().is_float() {
            t.requires_grad_(true)?;
        }
        tensors.push(t.clone());
    }
    let vars: Vec<Var> = values.iter().map(Value::var).collect();
    let made = EagerBuilder::on(device).apply(&*case.op, &vars)?;
    let visible = case.op.visible_outputs().unwrap_or(made.len());
    let (mut outputs, mut seeds) = (Vec::new(), Vec::new());
    for (k, var) in made.iter().take(visible).enumerate() {
        let y = Tensor::from_var(var)?;
        if y.dtype().is_float() && y.requires_grad() {
            seeds.push(Some(Tensor::from_host(&weights(&y.to_host()?, 100 + k as u64)?, device)?));
            outputs.push(y);
        }
    }
    let floats: Vec<usize> = (0..tensors.len()).filter(|&i| tensors[i].dtype().is_float()).collect();
    let wrt: Vec<Tensor> = floats.iter().map(|&i| tensors[i].clone()).collect();
    let options = GradOptions { create_graph: true, retain_graph: true, allow_unused: true };
    let first = grad(&outputs, &wrt, &seeds, options)?;
    let (mut roots, mut root_seeds) = (Vec::new(), Vec::new());
    for (slot, g) in first.iter().enumerate() {
        if let Some(g) = g
            && g.requires_grad()
        {
            let seed = weights(&g.to_host()?, 200 + floats[slot] as u64)?;
            root_seeds.push(Some(Tensor::from_host(&seed, device)?));
            roots.push(g.clone());
        }
    }
    let second = match roots.is_empty() {
        true => vec![None; wrt.len()],
        false => grad(&roots, &wrt, &root_seeds, GradOptions { allow_unused: true, ..GradOptions::default() })?,
    };
    let spread = |list: Vec<Option<Tensor>>| -> Result<Vec<Option<HostTensor>>> {
        let mut all = vec![None; tensors.len()];
        for (slot, g) in list.into_iter().enumerate() {
            all[floats[slot]] = g.map(|g| g.to_host()).transpose()?;
        }
        Ok(all)
    };
    Ok(Gradients { first: spread(first)?, second: spread(second)? })
}

/// The largest disagreement beyond the tolerance, in words; `None` when the values agree.
pub fn difference(got: &HostTensor, want: &HostTensor, tolerance: Option<Tolerance>) -> Option<String> {
    if got.dtype() != want.dtype() || got.shape() != want.shape() {
        return Some(format!("got {}, expected {}", got.describe(), want.describe()));
    }
    if !want.dtype().is_float() {
        let (a, b) = (got.to_i64(), want.to_i64());
        let at = a.iter().zip(&b).position(|(x, y)| x != y)?;
        return Some(format!("element {at} is {}, expected {}", a[at], b[at]));
    }
    let tolerance = tolerance.unwrap_or_else(|| Tolerance::of(want.dtype()));
    let (a, b) = (got.to_f64(), want.to_f64());
    let mut worst: Option<(f64, usize)> = None;
    for (i, (x, y)) in a.iter().zip(&b).enumerate() {
        let equal = x == y || (x.is_nan() && y.is_nan());
        let error = if equal { 0.0 } else { (x - y).abs() - tolerance.relative * y.abs() };
        if !equal && (error.is_nan() || y.is_infinite() || error > tolerance.absolute) {
            let size = if error.is_nan() { f64::INFINITY } else { error };
            if worst.is_none_or(|(w, _)| size > w) {
                worst = Some((size, i));
            }
        }
    }
    worst.map(|(_, i)| format!("element {i} is {:e}, expected {:e} ({})", a[i], b[i], want.describe()))
}

/// [`difference`] for values of any kind.
pub fn value_difference(got: &HostValue, want: &HostValue, tolerance: Option<Tolerance>) -> Option<String> {
    match (got, want) {
        (HostValue::Tensor(a), HostValue::Tensor(b)) => difference(a, b, tolerance),
        (HostValue::Sequence(a), HostValue::Sequence(b)) => match a.len() == b.len() {
            false => Some(format!("a sequence of {}, expected {}", a.len(), b.len())),
            true => a.iter().zip(b).find_map(|(x, y)| difference(x, y, tolerance)),
        },
        _ if got == want => None,
        _ => Some("values of different kinds".to_string()),
    }
}

/// The tolerance of a case: its own, else the widest of its outputs' dtypes.
pub fn tolerance(case: &Case, outputs: &[HostValue]) -> Tolerance {
    case.tolerance.unwrap_or_else(|| {
        let all = outputs.iter().filter_map(|v| v.tensor().ok()).map(|t| Tolerance::of(t.dtype()));
        all.max_by(|a, b| a.absolute.total_cmp(&b.absolute)).unwrap_or(Tolerance::EXACT)
    })
}
