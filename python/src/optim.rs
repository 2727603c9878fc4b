//! Steps of optimisers over lists of parameters, each in one pass over its memory.

use lampyr::ops::build::{AdamStep, SgdStep};
use lampyr::optim::{AdamItem, Steps};
use lampyr::{Error, Tensor};
use pyo3::prelude::*;

use crate::error::{Result, run};
use crate::tensor::PyTensor;

type Tensors<'py> = Vec<Bound<'py, PyTensor>>;

fn take(list: &Tensors<'_>, i: usize, name: &str) -> Result<Tensor> {
    let found = list.get(i).map(|t| t.get().t().clone());
    Ok(found.ok_or_else(|| Error::value(format!("{name} has {} tensors", list.len())))?)
}

fn make(py: Python<'_>, steps: Steps) -> Result<()> {
    run(py, steps.elements() as f64 * 2.0, || steps.run())
}

/// One step of Adam or AdamW for every parameter. `numbers`, per parameter: the learning rate divided by
/// `1 - beta1^t`, `1 / sqrt(1 - beta2^t)`, and what the parameter is multiplied with before.
#[pyfunction]
#[pyo3(name = "_adam_step")]
#[allow(clippy::too_many_arguments)]
pub fn adam_step(
    py: Python<'_>,
    params: Tensors<'_>,
    grads: Tensors<'_>,
    means: Tensors<'_>,
    squares: Tensors<'_>,
    largest: Tensors<'_>,
    numbers: Vec<(f64, f64, f64)>,
    betas: (f64, f64),
    eps: f64,
    weight_decay: f64,
    amsgrad: bool,
    maximize: bool,
) -> Result<()> {
    let op = AdamStep { beta1: betas.0, beta2: betas.1, eps, weight_decay, amsgrad, maximize };
    let mut steps = Steps::default();
    for (i, (param, &(rate, root, keep))) in params.iter().zip(&numbers).enumerate() {
        let item = AdamItem {
            param: param.get().t().clone(),
            grad: take(&grads, i, "grads")?,
            mean: take(&means, i, "means")?,
            square: take(&squares, i, "squares")?,
            largest: amsgrad.then(|| take(&largest, i, "largest")).transpose()?,
            numbers: [rate, root, keep],
        };
        steps.adam(&op, item)?;
    }
    make(py, steps)
}

/// One step of gradient descent for every parameter; `first` says which buffers are still empty.
#[pyfunction]
#[pyo3(name = "_sgd_step")]
#[allow(clippy::too_many_arguments)]
pub fn sgd_step(
    py: Python<'_>,
    params: Tensors<'_>,
    grads: Tensors<'_>,
    buffers: Tensors<'_>,
    first: Vec<bool>,
    lr: f64,
    momentum: f64,
    dampening: f64,
    weight_decay: f64,
    nesterov: bool,
    maximize: bool,
) -> Result<()> {
    let mut steps = Steps::default();
    for (i, param) in params.iter().enumerate() {
        let first = first.get(i).copied().unwrap_or(false);
        let op = SgdStep { momentum, dampening, weight_decay, nesterov, maximize, first };
        let buffer = (momentum != 0.0).then(|| take(&buffers, i, "buffers")).transpose()?;
        steps.sgd(&op, param.get().t().clone(), take(&grads, i, "grads")?, buffer, lr)?;
    }
    make(py, steps)
}
