//! Groups of parameters with options and state of their own.

use lampyr_base::{Error, Result};
use lampyr_runtime::Tensor;

/// Parameters with the same options, and what the optimiser keeps for each.
#[derive(Debug)]
pub(super) struct Group<O, S> {
    pub options: O,
    pub params: Vec<(Tensor, S)>,
}

/// All parameters of an optimiser.
#[derive(Debug)]
pub(super) struct Groups<O, S>(pub Vec<Group<O, S>>);

impl<O, S: Default> Groups<O, S> {
    pub fn new(params: Vec<Tensor>, options: O) -> Result<Groups<O, S>> {
        let mut groups = Groups(Vec::new());
        groups.add(params, options)?;
        Ok(groups)
    }

    /// # Errors
    /// When there are no parameters, one is no leaf, or one is there already.
    pub fn add(&mut self, params: Vec<Tensor>, options: O) -> Result<()> {
        if params.is_empty() {
            return Err(Error::value("an optimiser without parameters")
                .with_help("parameters() of a module gives those of all its layers"));
        }
        let mut known: Vec<&Tensor> = self.0.iter().flat_map(|g| g.params.iter().map(|(p, _)| p)).collect();
        for p in &params {
            if !p.is_leaf() {
                return Err(Error::value("a tensor that was computed cannot be optimised").with_expected("a leaf"));
            }
            if known.iter().any(|k| k.same(p)) {
                return Err(Error::value(format!("a parameter of shape {:?} is there twice", p.shape())));
            }
            known.push(p);
        }
        self.0.push(Group { options, params: params.into_iter().map(|p| (p, S::default())).collect() });
        Ok(())
    }

    /// Makes each state that of the parameter at a place of a group.
    pub fn keep(&mut self, states: Vec<(usize, usize, S)>) {
        for (g, i, state) in states {
            if let Some((_, kept)) = self.0.get_mut(g).and_then(|group| group.params.get_mut(i)) {
                *kept = state;
            }
        }
    }

    pub fn zero_grad(&self) {
        self.0.iter().flat_map(|g| &g.params).for_each(|(p, _)| p.set_grad(None));
    }
}

/// # Errors
/// When `value` is negative or no number.
pub(super) fn not_negative(value: f64, what: &str) -> Result<f64> {
    if value >= 0.0 {
        return Ok(value);
    }
    Err(Error::value(format!("{what} is {value}")).with_expected("0 or more"))
}

/// What is kept for a parameter has its shape and type.
pub(super) fn check_state(param: &Tensor, kept: &Tensor) -> Result<()> {
    if param.shape() == kept.shape() && param.dtype() == kept.dtype() {
        return Ok(());
    }
    Err(Error::dtype("the type of a parameter has changed since the last step")
        .with_inputs([param, kept].map(|t| format!("{}{:?}", t.dtype(), t.shape())))
        .with_help("make the optimiser after changing the type of a module"))
}
