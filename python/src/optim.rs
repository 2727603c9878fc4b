//! Steps of optimisers over lists of parameters, each in one pass over its memory.

use lampyr::ops::build::{AdamStep, SgdStep};
use lampyr::runtime::{check_update, update};
use lampyr::{Device, Error, Tensor, no_grad};
use pyo3::prelude::*;

use crate::error::{Result, run};
use crate::tensor::PyTensor;

type Tensors<'py> = Vec<Bound<'py, PyTensor>>;

fn list(tensors: &Tensors<'_>) -> Vec<Tensor> {
    tensors.iter().map(|t| t.get().t().clone()).collect()
}

/// A parameter with everything that its step reads; the targets of the outputs.
struct Work<T> {
    op: T,
    inputs: Vec<Tensor>,
    targets: &'static [usize],
}

/// Every step is checked before the first is made.
fn all<T: lampyr::ir::Op>(py: Python<'_>, work: Vec<Work<T>>) -> Result<()> {
    let elements: usize = work.iter().filter_map(|w| w.inputs.first()).map(Tensor::len).sum();
    run(py, elements as f64 * 2.0, || {
        no_grad(|| {
            let inputs: Vec<Vec<&Tensor>> = work.iter().map(|w| w.inputs.iter().collect()).collect();
            for (w, inputs) in work.iter().zip(&inputs) {
                check_update(&w.op, inputs, w.targets)?;
            }
            work.iter().zip(&inputs).try_for_each(|(w, inputs)| update(&w.op, inputs, w.targets))
        })
    })
}

fn number(value: f64, like: &Tensor) -> lampyr::Result<Tensor> {
    Tensor::full(&[], value, like.dtype(), Device::CPU)
}

fn take<'a>(list: &'a [Tensor], i: usize, name: &str) -> Result<&'a Tensor> {
    Ok(list.get(i).ok_or_else(|| Error::value(format!("{name} has {} tensors", list.len())))?)
}

/// Learning rate, correction and decay, the dtype, and these as tensors.
type Constants = ((f64, f64, f64), lampyr::DType, [Tensor; 3]);

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
    let [params, grads, means, squares, largest] = [&params, &grads, &means, &squares, &largest].map(list);
    let op = AdamStep { beta1: betas.0, beta2: betas.1, eps, weight_decay, amsgrad, maximize };
    let mut work = Vec::with_capacity(params.len());
    let mut made: Vec<Constants> = Vec::new();
    for (i, (p, &(rate, root, keep))) in params.iter().zip(&numbers).enumerate() {
        let known = made.iter().find(|(n, d, _)| *n == (rate, root, keep) && *d == p.dtype());
        let scalars = match known {
            Some((_, _, scalars)) => scalars.clone(),
            None => {
                let scalars = [number(rate, p)?, number(root, p)?, number(keep, p)?];
                made.push(((rate, root, keep), p.dtype(), scalars.clone()));
                scalars
            }
        };
        let mut inputs = vec![
            p.clone(),
            take(&grads, i, "grads")?.clone(),
            take(&means, i, "means")?.clone(),
            take(&squares, i, "squares")?.clone(),
        ];
        if amsgrad {
            inputs.push(take(&largest, i, "largest")?.clone());
        }
        inputs.extend(scalars);
        let targets: &[usize] = if amsgrad { &[0, 2, 3, 4] } else { &[0, 2, 3] };
        work.push(Work { op: op.clone(), inputs, targets });
    }
    all(py, work)
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
    let [params, grads, buffers] = [&params, &grads, &buffers].map(list);
    let mut work = Vec::with_capacity(params.len());
    let mut rates: Vec<Tensor> = Vec::new();
    for (i, p) in params.iter().enumerate() {
        let rate = match rates.iter().find(|r| r.dtype() == p.dtype()) {
            Some(rate) => rate.clone(),
            None => {
                let rate = number(lr, p)?;
                rates.push(rate.clone());
                rate
            }
        };
        let mut inputs = vec![p.clone(), take(&grads, i, "grads")?.clone()];
        if momentum != 0.0 {
            inputs.push(take(&buffers, i, "buffers")?.clone());
        }
        inputs.push(rate);
        let first = first.get(i).copied().unwrap_or(false);
        let targets: &[usize] = if momentum != 0.0 { &[0, 2] } else { &[0] };
        work.push(Work {
            op: SgdStep { momentum, dampening, weight_decay, nesterov, maximize, first },
            inputs,
            targets,
        });
    }
    all(py, work)
}
