//! Matrix products and what layers are made of.

use lampyr::Tensor;
use lampyr::functional::{self as f, BatchNorm, Window};
use pyo3::prelude::*;

use super::PyTensor;
use crate::argument::{pair, required};
use crate::error::{Result, run};

type Ob<'py> = Bound<'py, PyAny>;

pub fn product(py: Python<'_>, x: &Tensor, y: &Tensor) -> Result<Tensor> {
    let columns = y.shape().last().copied().unwrap_or(1);
    run(py, (x.len() * columns) as f64 / 8.0, || f::matmul(x, y))
}

#[pymethods]
impl PyTensor {
    /// In training, sets elements to zero with probability `p` and scales the others.
    #[pyo3(signature = (p = 0.5, training = true))]
    fn dropout(&self, py: Python<'_>, p: f64, training: bool) -> Result<PyTensor> {
        Ok(PyTensor(run(py, self.0.len() as f64 * 4.0, || f::dropout(&self.0, p, training))?))
    }
}

fn window(stride: Vec<i64>, padding: &Ob<'_>, dilation: &Ob<'_>) -> Result<Window> {
    Ok(Window { stride, padding: pair(padding)?, dilation: pair(dilation)? })
}

fn one(py: Python<'_>, given: Option<Ob<'_>>, value: i64) -> PyResult<Py<PyAny>> {
    match given {
        Some(ob) => Ok(ob.unbind()),
        None => Ok(value.into_pyobject(py)?.into_any().unbind()),
    }
}

/// Largest elements in windows of images [N, C, H, W].
#[pyfunction]
#[pyo3(signature = (input, kernel_size, stride = None, padding = None, dilation = None, ceil_mode = false,
    return_indices = false))]
#[allow(clippy::too_many_arguments)]
pub fn max_pool2d<'py>(
    py: Python<'py>,
    input: &Ob<'py>,
    kernel_size: &Ob<'py>,
    stride: Option<Ob<'py>>,
    padding: Option<Ob<'py>>,
    dilation: Option<Ob<'py>>,
    ceil_mode: bool,
    return_indices: bool,
) -> Result<Ob<'py>> {
    let x = required(input)?.tensor()?;
    let kernel = pair(kernel_size)?;
    let stride = stride.map_or(Ok(kernel.clone()), |s| pair(&s))?;
    let (padding, dilation) = (one(py, padding, 0)?, one(py, dilation, 1)?);
    let window = window(stride, padding.bind(py), dilation.bind(py))?;
    let (y, at) = run(py, x.len() as f64 * 4.0, || f::max_pool(&x, &kernel, &window, ceil_mode))?;
    crate::runtime::outputs(py, if return_indices { vec![y, at] } else { vec![y] })
}

/// Normalises each channel (axis 1); in training with the statistics of the batch, and the running ones are updated.
#[pyfunction]
#[pyo3(signature = (input, running_mean, running_var, weight = None, bias = None, training = false, momentum = 0.1,
    eps = 1e-5))]
#[allow(clippy::too_many_arguments)]
pub fn batch_norm<'py>(
    py: Python<'py>,
    input: &Ob<'py>,
    running_mean: Option<&Bound<'py, PyTensor>>,
    running_var: Option<&Bound<'py, PyTensor>>,
    weight: Option<&Bound<'py, PyTensor>>,
    bias: Option<&Bound<'py, PyTensor>>,
    training: bool,
    momentum: f64,
    eps: f64,
) -> Result<PyTensor> {
    let x = required(input)?.tensor()?;
    let options = BatchNorm {
        running_mean: running_mean.map(|t| &t.get().0),
        running_var: running_var.map(|t| &t.get().0),
        weight: weight.map(|t| &t.get().0),
        bias: bias.map(|t| &t.get().0),
        training,
        momentum,
        epsilon: eps,
    };
    Ok(PyTensor(run(py, x.len() as f64 * 6.0, || f::batch_norm(&x, &options))?))
}
