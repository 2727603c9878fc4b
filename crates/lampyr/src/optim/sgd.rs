//! Stochastic gradient descent.

use lampyr_base::{Error, Result};
use lampyr_ops::build::SgdStep;
use lampyr_runtime::Tensor;

use super::group::{Groups, check_state, not_negative};
use super::step::Steps;
use super::{Optimizer, Rate};
use crate::functional::full_like;

/// Stochastic gradient descent, with momentum (Sutskever et al. 2013).
#[derive(Debug)]
pub struct SGD(Groups<SGDOptions, Option<Tensor>>);

/// Options of [`SGD`].
#[derive(Clone, Copy, Debug)]
pub struct SGDOptions {
    lr: f64,
    momentum: f64,
    dampening: f64,
    weight_decay: f64,
    nesterov: bool,
    maximize: bool,
}

/// Learning rate 1e-3, everything else 0 or off.
impl Default for SGDOptions {
    fn default() -> SGDOptions {
        SGDOptions { lr: 1e-3, momentum: 0.0, dampening: 0.0, weight_decay: 0.0, nesterov: false, maximize: false }
    }
}

impl SGDOptions {
    /// Learning rate.
    #[must_use]
    pub fn lr(mut self, lr: f64) -> Self {
        self.lr = lr;
        self
    }

    /// How much of the last step goes into the next.
    #[must_use]
    pub fn momentum(mut self, momentum: f64) -> Self {
        self.momentum = momentum;
        self
    }

    /// How much of a gradient does not go into the momentum.
    #[must_use]
    pub fn dampening(mut self, dampening: f64) -> Self {
        self.dampening = dampening;
        self
    }

    /// How much of a parameter is added to its gradient.
    #[must_use]
    pub fn weight_decay(mut self, decay: f64) -> Self {
        self.weight_decay = decay;
        self
    }

    /// Whether the gradient is that after the momentum; needs momentum and no dampening.
    #[must_use]
    pub fn nesterov(mut self, on: bool) -> Self {
        self.nesterov = on;
        self
    }

    /// Whether the gradient is climbed.
    #[must_use]
    pub fn maximize(mut self, on: bool) -> Self {
        self.maximize = on;
        self
    }

    fn checked(self) -> Result<SGDOptions> {
        not_negative(self.lr, "lr")?;
        not_negative(self.momentum, "momentum")?;
        not_negative(self.weight_decay, "weight_decay")?;
        if self.nesterov && (self.momentum <= 0.0 || self.dampening != 0.0) {
            return Err(Error::value("Nesterov's momentum without momentum or with dampening")
                .with_expected("momentum above 0 and dampening 0"));
        }
        Ok(self)
    }
}

impl SGD {
    /// For `params` with learning rate `lr`, everything else as [`SGDOptions::default`].
    ///
    /// # Errors
    /// When there are no parameters, one is there twice or was computed, or `lr` is negative.
    pub fn new(params: Vec<Tensor>, lr: f64) -> Result<SGD> {
        SGD::with(params, SGDOptions::default().lr(lr))
    }

    /// For `params` with `options`: `SGD::with(model.parameters(), SGDOptions::default().momentum(0.9))?`
    ///
    /// # Errors
    /// When there are no parameters, one is there twice or was computed, or an option is outside its domain.
    pub fn with(params: Vec<Tensor>, options: SGDOptions) -> Result<SGD> {
        Ok(SGD(Groups::new(params, options.checked()?)?))
    }

    /// Adds parameters with options of their own.
    ///
    /// # Errors
    /// As [`SGD::with`].
    pub fn add_group(&mut self, params: Vec<Tensor>, options: SGDOptions) -> Result<()> {
        self.0.add(params, options.checked()?)
    }
}

impl Optimizer for SGD {
    fn step(&mut self) -> Result<()> {
        let mut steps = Steps::default();
        let mut after = Vec::new();
        for (g, group) in self.0.0.iter().enumerate() {
            let SGDOptions { lr, momentum, dampening, weight_decay, nesterov, maximize } = group.options;
            for (i, (param, kept)) in group.params.iter().enumerate() {
                let Some(grad) = param.grad() else { continue };
                let first = kept.is_none();
                let buffer = match kept {
                    _ if momentum == 0.0 => None,
                    Some(kept) => Some(kept.clone()),
                    None => Some(full_like(param, 0.0)?),
                };
                buffer.iter().try_for_each(|b| check_state(param, b))?;
                let op = SgdStep { momentum, dampening, weight_decay, nesterov, maximize, first };
                steps.sgd(&op, param.clone(), grad, buffer.clone(), lr)?;
                after.extend(buffer.map(|b| (g, i, Some(b))));
            }
        }
        steps.run()?;
        self.0.keep(after);
        Ok(())
    }

    fn zero_grad(&self) {
        self.0.zero_grad();
    }

    fn rates(&mut self) -> Vec<Rate<'_>> {
        let options = self.0.0.iter_mut().map(|g| &mut g.options);
        options.map(|SGDOptions { lr, momentum, .. }| Rate { lr, momentum }).collect()
    }
}
