//! Steps of optimisers over lists of parameters, each in one pass over its memory.

use lampyr_base::{DType, Device, Result};
use lampyr_ir::{Op, OpRef};
use lampyr_ops::build::{AdamStep, SgdStep};
use lampyr_runtime::{Tensor, check_update, no_grad, update};

/// A parameter with everything that its step reads; the targets of the outputs.
struct Work {
    op: OpRef,
    inputs: Vec<Tensor>,
    targets: &'static [usize],
}

/// Steps of many parameters that happen wholly or not at all.
#[derive(Default)]
pub struct Steps {
    work: Vec<Work>,
    numbers: Vec<(f64, DType, Tensor)>,
}

/// What a step of [`AdamStep`] reads besides its attributes: tensors of one shape and type.
#[derive(Clone, Debug)]
pub struct AdamItem {
    /// The parameter.
    pub param: Tensor,
    /// Its gradient.
    pub grad: Tensor,
    /// The first moment.
    pub mean: Tensor,
    /// The second moment.
    pub square: Tensor,
    /// The largest second moment so far, with `amsgrad`.
    pub largest: Option<Tensor>,
    /// The learning rate divided by `1 - beta1^t`, `1 / sqrt(1 - beta2^t)`, and what the parameter is multiplied with
    /// before.
    pub numbers: [f64; 3],
}

impl Steps {
    fn number(&mut self, value: f64, dtype: DType) -> Result<Tensor> {
        if let Some((.., t)) = self.numbers.iter().find(|(v, d, _)| *v == value && *d == dtype) {
            return Ok(t.clone());
        }
        let made = Tensor::full(&[], value, dtype, Device::CPU)?;
        self.numbers.push((value, dtype, made.clone()));
        Ok(made)
    }

    /// Adds a step of Adam; parameter and moments are its targets.
    ///
    /// # Errors
    /// When a number cannot be of the type of the parameter.
    pub fn adam(&mut self, op: &AdamStep, item: AdamItem) -> Result<()> {
        let dtype = item.param.dtype();
        let targets: &[usize] = if item.largest.is_some() { &[0, 2, 3, 4] } else { &[0, 2, 3] };
        let mut inputs = vec![item.param, item.grad, item.mean, item.square];
        inputs.extend(item.largest);
        for value in item.numbers {
            inputs.push(self.number(value, dtype)?);
        }
        self.work.push(Work { op: OpRef::new(op.clone()), inputs, targets });
        Ok(())
    }

    /// Adds a step of gradient descent with learning rate `lr`; parameter and buffer of the momentum are its targets.
    ///
    /// # Errors
    /// When `lr` cannot be of the type of the parameter.
    pub fn sgd(&mut self, op: &SgdStep, param: Tensor, grad: Tensor, buffer: Option<Tensor>, lr: f64) -> Result<()> {
        let rate = self.number(lr, param.dtype())?;
        let targets: &[usize] = if buffer.is_some() { &[0, 2] } else { &[0] };
        let inputs = [param, grad].into_iter().chain(buffer).chain([rate]).collect();
        self.work.push(Work { op: OpRef::new(op.clone()), inputs, targets });
        Ok(())
    }

    /// Number of elements of all parameters.
    pub fn elements(&self) -> usize {
        self.work.iter().filter_map(|w| w.inputs.first()).map(Tensor::len).sum()
    }

    /// Makes the steps.
    ///
    /// # Errors
    /// When shapes or types do not fit. Every step is checked before the first is made, so nothing has changed then.
    pub fn run(self) -> Result<()> {
        no_grad(|| {
            let all: Vec<(&dyn Op, Vec<&Tensor>, &[usize])> =
                self.work.iter().map(|w| (&*w.op, w.inputs.iter().collect(), w.targets)).collect();
            all.iter().try_for_each(|(op, inputs, targets)| check_update(*op, inputs, targets))?;
            all.iter().try_for_each(|(op, inputs, targets)| update(*op, inputs, targets))
        })
    }
}
