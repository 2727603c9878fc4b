//! Adam and AdamW.

use lampyr_base::{Error, Result};
use lampyr_ops::build::AdamStep;
use lampyr_runtime::Tensor;

use super::group::{Groups, not_negative};
use super::step::{AdamItem, Steps};
use super::{Optimizer, Rate};
use crate::functional::full_like;

#[derive(Clone, Debug)]
struct Moments {
    step: i32,
    mean: Tensor,
    square: Tensor,
    largest: Option<Tensor>,
}

/// Steps scaled by estimates of the gradients' moments: [`Adam`], or with decay apart from the gradient [`AdamW`].
#[derive(Debug)]
pub struct AdamOptimizer<const DECOUPLED: bool>(Groups<AdamOptions<DECOUPLED>, Option<Moments>>);

/// Adam (Kingma and Ba 2014).
pub type Adam = AdamOptimizer<false>;
/// Adam with weight decay apart from the gradient (Loshchilov and Hutter 2017).
pub type AdamW = AdamOptimizer<true>;

/// Options of [`Adam`] and [`AdamW`].
#[derive(Clone, Copy, Debug)]
pub struct AdamOptions<const DECOUPLED: bool> {
    lr: f64,
    betas: [f64; 2],
    eps: f64,
    weight_decay: f64,
    amsgrad: bool,
    maximize: bool,
}

/// Learning rate 1e-3, betas 0.9 and 0.999, `eps` 1e-8, weight decay 0 (AdamW: 0.01).
impl<const DECOUPLED: bool> Default for AdamOptions<DECOUPLED> {
    fn default() -> Self {
        let weight_decay = if DECOUPLED { 1e-2 } else { 0.0 };
        AdamOptions { lr: 1e-3, betas: [0.9, 0.999], eps: 1e-8, weight_decay, amsgrad: false, maximize: false }
    }
}

impl<const DECOUPLED: bool> AdamOptions<DECOUPLED> {
    /// Learning rate.
    #[must_use]
    pub fn lr(mut self, lr: f64) -> Self {
        self.lr = lr;
        self
    }

    /// Decays of the first and of the second moment.
    #[must_use]
    pub fn betas(mut self, first: f64, second: f64) -> Self {
        self.betas = [first, second];
        self
    }

    /// What is added to the root of the second moment.
    #[must_use]
    pub fn eps(mut self, eps: f64) -> Self {
        self.eps = eps;
        self
    }

    /// How much of a parameter is taken from it (AdamW: times the learning rate) or added to its gradient (Adam).
    #[must_use]
    pub fn weight_decay(mut self, decay: f64) -> Self {
        self.weight_decay = decay;
        self
    }

    /// Whether the largest second moment so far is used (Reddi et al. 2018).
    #[must_use]
    pub fn amsgrad(mut self, on: bool) -> Self {
        self.amsgrad = on;
        self
    }

    /// Whether the gradient is climbed.
    #[must_use]
    pub fn maximize(mut self, on: bool) -> Self {
        self.maximize = on;
        self
    }

    fn checked(self) -> Result<Self> {
        not_negative(self.lr, "lr")?;
        not_negative(self.eps, "eps")?;
        not_negative(self.weight_decay, "weight_decay")?;
        match self.betas.iter().find(|b| !(0.0..1.0).contains(*b)) {
            Some(bad) => Err(Error::value(format!("a beta is {bad}")).with_expected("0 or more, below 1")),
            None => Ok(self),
        }
    }

    fn op(&self) -> AdamStep {
        AdamStep {
            beta1: self.betas[0],
            beta2: self.betas[1],
            eps: self.eps,
            weight_decay: if DECOUPLED { 0.0 } else { self.weight_decay },
            amsgrad: self.amsgrad,
            maximize: self.maximize,
        }
    }

    /// The moments after `kept`, with zeros for those that are not there, and the item of the step.
    fn item(&self, param: &Tensor, grad: Tensor, kept: Option<&Moments>) -> Result<(Moments, AdamItem)> {
        let zeros = || full_like(param, 0.0);
        let mut moments = match kept {
            Some(kept) => kept.clone(),
            None => Moments { step: 0, mean: zeros()?, square: zeros()?, largest: None },
        };
        super::group::check_state(param, &moments.mean)?;
        if self.amsgrad && moments.largest.is_none() {
            moments.largest = Some(zeros()?);
        }
        moments.step = moments.step.saturating_add(1);
        let [first, second] = self.betas.map(|beta| 1.0 - beta.powi(moments.step));
        let keep = if DECOUPLED { 1.0 - self.lr * self.weight_decay } else { 1.0 };
        let item = AdamItem {
            param: param.clone(),
            grad,
            mean: moments.mean.clone(),
            square: moments.square.clone(),
            largest: moments.largest.clone().filter(|_| self.amsgrad),
            numbers: [self.lr / first, 1.0 / second.sqrt(), keep],
        };
        Ok((moments, item))
    }
}

impl<const DECOUPLED: bool> AdamOptimizer<DECOUPLED> {
    /// For `params` with learning rate `lr`, everything else as [`AdamOptions::default`].
    ///
    /// # Errors
    /// When there are no parameters, one is there twice or was computed, or `lr` is negative.
    pub fn new(params: Vec<Tensor>, lr: f64) -> Result<Self> {
        Self::with(params, AdamOptions::default().lr(lr))
    }

    /// For `params` with `options`: `AdamW::with(model.parameters(), AdamOptions::default().weight_decay(0.1))?`
    ///
    /// # Errors
    /// When there are no parameters, one is there twice or was computed, or an option is outside its domain.
    pub fn with(params: Vec<Tensor>, options: AdamOptions<DECOUPLED>) -> Result<Self> {
        Ok(AdamOptimizer(Groups::new(params, options.checked()?)?))
    }

    /// Adds parameters with options of their own.
    ///
    /// # Errors
    /// As [`AdamOptimizer::with`].
    pub fn add_group(&mut self, params: Vec<Tensor>, options: AdamOptions<DECOUPLED>) -> Result<()> {
        self.0.add(params, options.checked()?)
    }
}

impl<const DECOUPLED: bool> Optimizer for AdamOptimizer<DECOUPLED> {
    fn step(&mut self) -> Result<()> {
        let mut steps = Steps::default();
        let mut after = Vec::new();
        for (g, group) in self.0.0.iter().enumerate() {
            let op = group.options.op();
            for (i, (param, kept)) in group.params.iter().enumerate() {
                let Some(grad) = param.grad() else { continue };
                let (moments, item) = group.options.item(param, grad, kept.as_ref())?;
                steps.adam(&op, item)?;
                after.push((g, i, Some(moments)));
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
        options.map(|AdamOptions { lr, betas: [momentum, _], .. }| Rate { lr, momentum }).collect()
    }
}
