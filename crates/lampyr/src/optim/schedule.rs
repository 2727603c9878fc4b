//! Schedules of learning rates.

use std::f64::consts::PI;

use lampyr_base::{Error, Result};

use super::Optimizer;

/// Changes the learning rates of an optimiser after every epoch or step.
pub trait Schedule {
    /// Goes on by one epoch (or step, where the schedule is counted in steps).
    ///
    /// # Errors
    /// When the optimiser has other groups than the one that the schedule was made for, or the schedule is at its end.
    fn step(&mut self, optimizer: &mut dyn Optimizer) -> Result<()>;
}

/// # Errors
/// When there are not `count` groups.
fn same_groups(optimizer: &mut dyn Optimizer, count: usize) -> Result<()> {
    let found = optimizer.rates().len();
    if found == count {
        return Ok(());
    }
    Err(Error::value(format!("an optimiser with {found} groups")).with_expected(format!("the {count} of the schedule")))
}

/// # Errors
/// When `n` is 0.
fn some(n: u64, what: &str) -> Result<u64> {
    if n > 0 { Ok(n) } else { Err(Error::value(format!("{what} is 0")).with_expected("1 or more")) }
}

/// Times `gamma` every `step_size` epochs.
#[derive(Clone, Debug)]
pub struct StepLR {
    step_size: u64,
    gamma: f64,
    epoch: u64,
}

impl StepLR {
    /// From the present rates on.
    ///
    /// # Errors
    /// When `step_size` is 0.
    pub fn new(step_size: u64, gamma: f64) -> Result<StepLR> {
        Ok(StepLR { step_size: some(step_size, "step_size")?, gamma, epoch: 0 })
    }
}

impl Schedule for StepLR {
    fn step(&mut self, optimizer: &mut dyn Optimizer) -> Result<()> {
        self.epoch += 1;
        if self.epoch.is_multiple_of(self.step_size) {
            optimizer.rates().into_iter().for_each(|r| *r.lr *= self.gamma);
        }
        Ok(())
    }
}

/// Down to a least rate along half a cosine, and up again (Loshchilov and Hutter 2016).
#[derive(Clone, Debug)]
pub struct CosineAnnealingLR {
    half: u64,
    low: f64,
    base: Vec<f64>,
    epoch: u64,
}

impl CosineAnnealingLR {
    /// From the rates of `optimizer` to `eta_min` in `t_max` epochs.
    ///
    /// # Errors
    /// When `t_max` is 0.
    pub fn new(optimizer: &mut dyn Optimizer, t_max: u64, eta_min: f64) -> Result<CosineAnnealingLR> {
        let base = optimizer.rates().iter().map(|r| *r.lr).collect();
        Ok(CosineAnnealingLR { half: some(t_max, "t_max")?, low: eta_min, base, epoch: 0 })
    }
}

impl Schedule for CosineAnnealingLR {
    fn step(&mut self, optimizer: &mut dyn Optimizer) -> Result<()> {
        same_groups(optimizer, self.base.len())?;
        self.epoch += 1;
        // PyTorch's recursion, which other changes of the rate survive.
        let (at, half) = (self.epoch as f64, self.half as f64);
        let wave = |epoch: f64| 1.0 + (PI * epoch / half).cos();
        let turn = (self.epoch + self.half - 1).is_multiple_of(2 * self.half);
        for (rate, base) in optimizer.rates().into_iter().zip(&self.base) {
            *rate.lr = if turn {
                *rate.lr + (base - self.low) * (1.0 - (PI / half).cos()) / 2.0
            } else {
                wave(at) / wave(at - 1.0) * (*rate.lr - self.low) + self.low
            };
        }
        Ok(())
    }
}

/// One cycle up to a largest rate and down (Smith and Topin 2017); the momentum goes the other way. Counted in steps.
#[derive(Clone, Debug)]
pub struct OneCycleLR {
    options: OneCycleLRBuilder,
    groups: usize,
    at: u64,
}

/// Options of [`OneCycleLR`].
#[derive(Clone, Debug)]
pub struct OneCycleLRBuilder {
    max_lr: f64,
    total: u64,
    rise: f64,
    linear: bool,
    momentum: Option<(f64, f64)>,
    div: f64,
    final_div: f64,
    three_phase: bool,
}

impl OneCycleLR {
    /// Up to `max_lr` in 30 % of `total_steps` and down; sets the rates of `optimizer` to the first.
    ///
    /// # Errors
    /// When `total_steps` is 0.
    pub fn new(optimizer: &mut dyn Optimizer, max_lr: f64, total_steps: u64) -> Result<OneCycleLR> {
        OneCycleLR::builder(max_lr, total_steps).build(optimizer)
    }

    /// As [`OneCycleLR::new`], with options.
    pub fn builder(max_lr: f64, total_steps: u64) -> OneCycleLRBuilder {
        OneCycleLRBuilder {
            max_lr,
            total: total_steps,
            rise: 0.3,
            linear: false,
            momentum: Some((0.85, 0.95)),
            div: 25.0,
            final_div: 1e4,
            three_phase: false,
        }
    }

    fn set(&self, optimizer: &mut dyn Optimizer) {
        let o = &self.options;
        let (first, rise) = (o.max_lr / o.div, o.rise * o.total as f64 - 1.0);
        let (last, end) = (first / o.final_div, o.total as f64 - 1.0);
        let (low, high) = o.momentum.unwrap_or_default();
        // End, rate from and to, momentum from and to.
        let up = (rise, first, o.max_lr, high, low);
        let phases = if o.three_phase {
            vec![up, (2.0 * rise, o.max_lr, first, low, high), (end, first, last, high, high)]
        } else {
            vec![up, (end, o.max_lr, last, low, high)]
        };
        let (at, mut start, mut now) = (self.at as f64, 0.0, up);
        for (i, phase) in phases.iter().enumerate() {
            now = *phase;
            if at <= phase.0 || i + 1 == phases.len() {
                break;
            }
            start = phase.0;
        }
        let (end, from, to, heavy, light) = now;
        let done = (at - start) / (end - start);
        let between = |from: f64, to: f64| {
            if o.linear { (to - from) * done + from } else { to + (from - to) / 2.0 * ((PI * done).cos() + 1.0) }
        };
        for rate in optimizer.rates() {
            *rate.lr = between(from, to);
            if o.momentum.is_some() {
                *rate.momentum = between(heavy, light);
            }
        }
    }
}

impl OneCycleLRBuilder {
    /// The part of the steps in which the rate rises; 0.3 unless set.
    #[must_use]
    pub fn pct_start(mut self, part: f64) -> Self {
        self.rise = part;
        self
    }

    /// Whether rates move along lines instead of cosines.
    #[must_use]
    pub fn linear(mut self, on: bool) -> Self {
        self.linear = on;
        self
    }

    /// The least and the largest momentum; 0.85 and 0.95 unless set.
    #[must_use]
    pub fn momentum(mut self, low: f64, high: f64) -> Self {
        self.momentum = Some((low, high));
        self
    }

    /// Leaves the momentum alone.
    #[must_use]
    pub fn keep_momentum(mut self) -> Self {
        self.momentum = None;
        self
    }

    /// What the largest rate is divided by to give the first, and the first to give the last; 25 and 10,000 unless set.
    #[must_use]
    pub fn divisors(mut self, first: f64, last: f64) -> Self {
        (self.div, self.final_div) = (first, last);
        self
    }

    /// Whether the rate falls to the first one before it falls to the last.
    #[must_use]
    pub fn three_phase(mut self, on: bool) -> Self {
        self.three_phase = on;
        self
    }

    /// The schedule; sets the rates of `optimizer` to the first.
    ///
    /// # Errors
    /// When there are no steps, or the part in which the rate rises is not between 0 and 1.
    pub fn build(self, optimizer: &mut dyn Optimizer) -> Result<OneCycleLR> {
        some(self.total, "total_steps")?;
        if !(0.0..=1.0).contains(&self.rise) {
            return Err(Error::value(format!("pct_start is {}", self.rise)).with_expected("0 to 1"));
        }
        let made = OneCycleLR { groups: optimizer.rates().len(), options: self, at: 0 };
        made.set(optimizer);
        Ok(made)
    }
}

impl Schedule for OneCycleLR {
    fn step(&mut self, optimizer: &mut dyn Optimizer) -> Result<()> {
        same_groups(optimizer, self.groups)?;
        if self.at >= self.options.total {
            return Err(Error::value(format!("step {} of {}", self.at + 1, self.options.total))
                .with_help("make the schedule for as many steps as there are"));
        }
        self.at += 1;
        self.set(optimizer);
        Ok(())
    }
}
