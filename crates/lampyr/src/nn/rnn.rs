//! Recurrent layers.

use lampyr_base::{Error, Result};
use lampyr_ops::build as op;
use lampyr_runtime::{Tensor, apply};

use super::activation::Dropout;
use super::forward::Forward;
use super::init;
use super::make;
use super::module::{Module, Path};
use super::part::{Parameter, Part, PartMut};
use crate::functional::{linear, stack};

/// The op's gates among those of the parameters: input, output, forget, cell among input, forget, cell, output.
const ORDER: [i64; 4] = [0, 3, 1, 2];

/// One direction of one layer.
#[derive(Clone, Debug)]
struct Direction {
    suffix: String,
    input: Parameter,
    hidden: Parameter,
    biases: Option<(Parameter, Parameter)>,
}

/// Long short-term memory (Hochreiter and Schmidhuber 1997). The parameters of layer `k` are `weight_ih_lk`,
/// `weight_hh_lk`, `bias_ih_lk` and `bias_hh_lk`, with `_reverse` for the second direction; their gates are input,
/// forget, cell and output.
#[derive(Clone, Debug)]
pub struct LSTM {
    directions: Vec<Direction>,
    dropout: Dropout,
    options: LSTMBuilder,
}

/// Options of an [`LSTM`].
#[derive(Clone, Debug)]
pub struct LSTMBuilder {
    input: usize,
    hidden: usize,
    layers: usize,
    bias: bool,
    batch_first: bool,
    dropout: f64,
    bidirectional: bool,
}

/// What an [`LSTM`] computes.
#[derive(Clone, Debug)]
pub struct Recurrent {
    /// Hidden states of the last layer, `[steps, batch, directions * hidden]`, or with `batch_first`
    /// `[batch, steps, ..]`.
    pub output: Tensor,
    /// Last hidden states, `[layers * directions, batch, hidden]`.
    pub hidden: Tensor,
    /// Last cell states, of the same shape.
    pub cell: Tensor,
}

impl LSTM {
    /// One layer with biases; steps are the first axis. Weights are uniform up to `1 / sqrt(hidden_size)`.
    ///
    /// # Errors
    /// When a size is 0, or there is no memory for the weights.
    pub fn new(input_size: usize, hidden_size: usize) -> Result<LSTM> {
        LSTM::builder(input_size, hidden_size).build()
    }

    /// As [`LSTM::new`], with options: `LSTM::builder(8, 16).num_layers(2).batch_first(true).build()?`
    pub fn builder(input_size: usize, hidden_size: usize) -> LSTMBuilder {
        LSTMBuilder {
            input: input_size,
            hidden: hidden_size,
            layers: 1,
            bias: true,
            batch_first: false,
            dropout: 0.0,
            bidirectional: false,
        }
    }
}

impl LSTMBuilder {
    /// Layers one above another.
    #[must_use]
    pub fn num_layers(mut self, layers: usize) -> Self {
        self.layers = layers;
        self
    }

    /// Whether there are biases.
    #[must_use]
    pub fn bias(mut self, on: bool) -> Self {
        self.bias = on;
        self
    }

    /// Whether the batch is the first axis, and steps the second.
    #[must_use]
    pub fn batch_first(mut self, on: bool) -> Self {
        self.batch_first = on;
        self
    }

    /// Probability of dropping an element between two layers.
    #[must_use]
    pub fn dropout(mut self, p: f64) -> Self {
        self.dropout = p;
        self
    }

    /// Whether steps are walked in both directions.
    #[must_use]
    pub fn bidirectional(mut self, on: bool) -> Self {
        self.bidirectional = on;
        self
    }

    /// The layer.
    ///
    /// # Errors
    /// When a size is 0, `dropout` is no probability, or there is no memory for the weights.
    pub fn build(self) -> Result<LSTM> {
        make::positive(self.hidden, "hidden_size", "LSTM")?;
        make::positive(self.layers, "num_layers", "LSTM")?;
        make::probability(self.dropout, "LSTM")?;
        let bound = 1.0 / (self.hidden as f64).sqrt();
        let rows = self.hidden.saturating_mul(4);
        let parameter = |shape: &[usize]| -> Result<Parameter> {
            let made = make::parameter(shape)?;
            init::uniform_(&made, -bound, bound)?;
            Ok(made)
        };
        let ways: &[&str] = if self.bidirectional { &["", "_reverse"] } else { &[""] };
        let mut directions = Vec::new();
        for layer in 0..self.layers {
            let width = if layer == 0 { self.input } else { self.hidden.saturating_mul(ways.len()) };
            for way in ways {
                directions.push(Direction {
                    suffix: format!("_l{layer}{way}"),
                    input: parameter(&[rows, width])?,
                    hidden: parameter(&[rows, self.hidden])?,
                    biases: if self.bias { Some((parameter(&[rows])?, parameter(&[rows])?)) } else { None },
                });
            }
        }
        Ok(LSTM { directions, dropout: Dropout::new(self.dropout)?, options: self })
    }
}

/// Rows of `t` with the gates in the order of the op.
fn gates(t: &Tensor) -> Result<Tensor> {
    let size = t.shape().first().map_or(0, |&rows| rows as i64 / 4);
    let parts = ORDER.iter().map(|g| t.slice(0, g * size, (g + 1) * size, 1)).collect::<Result<Vec<_>>>()?;
    Tensor::concat(&parts.iter().collect::<Vec<_>>(), 0)
}

impl Direction {
    /// Hidden states `[T, B, H]`, and the last hidden and cell state.
    fn run(&self, x: &Tensor, h: &Tensor, c: &Tensor) -> Result<[Tensor; 3]> {
        let bias = self.biases.as_ref().map(|(ih, hh)| gates(&ih.add(hh.tensor())?)).transpose()?;
        let projected = linear(x, &gates(&self.input)?, bias.as_ref())?;
        let op = op::Recurrence {
            cell: "lstm".to_string(),
            activations: "Sigmoid,Tanh,Tanh".to_string(),
            reverse: self.suffix.ends_with("_reverse"),
            clip: 0.0,
            input_forget: false,
            linear_before_reset: false,
            peepholes: false,
            lengths: false,
        };
        let made = apply(&op, &[&projected, &gates(&self.hidden)?, h, c])?.into_vec();
        <[Tensor; 3]>::try_from(made).map_err(|_| Error::internal("three outputs were expected").with_op("recurrence"))
    }
}

impl LSTM {
    fn check(&self, x: &Tensor) -> Result<()> {
        let size = self.options.input;
        if matches!(x.rank(), 2 | 3) && x.shape().last() == Some(&size) {
            return Ok(());
        }
        let axes = if self.options.batch_first { "batch, steps" } else { "steps, batch" };
        Err(Error::shape("the input does not fit")
            .with_op("LSTM")
            .with_inputs([format!("{}{:?}", x.dtype(), x.shape())])
            .with_expected(format!("[{axes}, {size}] or [steps, {size}]")))
    }

    /// The states of every layer and direction to start from, `[N, batch, hidden]`.
    fn first(&self, given: Option<&Tensor>, x: &Tensor, single: bool) -> Result<Tensor> {
        let batch = x.shape().get(1).copied().unwrap_or(1);
        let shape = [self.directions.len(), batch, self.options.hidden];
        let Some(given) = given else {
            return Tensor::full(&shape, 0.0, x.dtype(), x.device());
        };
        let given = if single { crate::functional::unsqueeze(given, 1)? } else { given.clone() };
        if given.shape() != shape {
            return Err(Error::shape(format!("a state of shape {:?}", given.shape()))
                .with_op("LSTM")
                .with_expected(format!("{shape:?}")));
        }
        Ok(given)
    }

    /// From `x` `[steps, batch, input]` (with `batch_first` `[batch, steps, input]`, or without a batch) and the hidden
    /// and cell states to start from, `[layers * directions, batch, hidden]`; zeros when not given.
    ///
    /// # Errors
    /// When shapes or types do not fit.
    pub fn run(&self, x: &Tensor, start: Option<(&Tensor, &Tensor)>) -> Result<Recurrent> {
        self.check(x)?;
        let single = x.rank() == 2;
        let swapped = !single && self.options.batch_first;
        let mut x = match (single, swapped) {
            (true, _) => crate::functional::unsqueeze(x, 1)?,
            (_, true) => x.transpose(0, 1)?,
            _ => x.clone(),
        };
        let h = self.first(start.map(|s| s.0), &x, single)?;
        let c = self.first(start.map(|s| s.1), &x, single)?;
        let ways = if self.options.bidirectional { 2 } else { 1 };
        let (mut hidden, mut cell) = (Vec::new(), Vec::new());
        for (layer, directions) in self.directions.chunks(ways).enumerate() {
            if layer > 0 && self.dropout.rate() > 0.0 {
                x = self.dropout.forward(&x)?;
            }
            let mut outputs = Vec::new();
            for (way, direction) in directions.iter().enumerate() {
                let at = (layer * ways + way) as i64;
                let [y, last_h, last_c] = direction.run(&x, &h.select(0, at)?, &c.select(0, at)?)?;
                outputs.push(y);
                hidden.push(last_h);
                cell.push(last_c);
            }
            x = Tensor::concat(&outputs.iter().collect::<Vec<_>>(), -1)?;
        }
        let (hidden, cell) = (stack(&hidden, 0)?, stack(&cell, 0)?);
        if single {
            let one = |t: &Tensor| t.select(1, 0);
            return Ok(Recurrent { output: one(&x)?, hidden: one(&hidden)?, cell: one(&cell)? });
        }
        Ok(Recurrent { output: if swapped { x.transpose(0, 1)? } else { x }, hidden, cell })
    }
}

/// The hidden states of the last layer; see [`LSTM::run`].
impl Forward for LSTM {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        Ok(self.run(x, None)?.output)
    }
}

impl Module for LSTM {
    fn visit(&self, path: &mut Path, visitor: &mut dyn FnMut(&str, Part<'_>)) {
        for Direction { suffix, input, hidden, biases } in &self.directions {
            path.enter(format_args!("weight_ih{suffix}"), |path| input.visit(path, visitor));
            path.enter(format_args!("weight_hh{suffix}"), |path| hidden.visit(path, visitor));
            if let Some((ih, hh)) = biases {
                path.enter(format_args!("bias_ih{suffix}"), |path| ih.visit(path, visitor));
                path.enter(format_args!("bias_hh{suffix}"), |path| hh.visit(path, visitor));
            }
        }
        path.enter("dropout", |path| self.dropout.visit(path, visitor));
    }

    fn visit_mut(&mut self, path: &mut Path, visitor: &mut dyn FnMut(&str, PartMut<'_>)) {
        for Direction { suffix, input, hidden, biases } in &mut self.directions {
            path.enter(format_args!("weight_ih{suffix}"), |path| input.visit_mut(path, visitor));
            path.enter(format_args!("weight_hh{suffix}"), |path| hidden.visit_mut(path, visitor));
            if let Some((ih, hh)) = biases {
                path.enter(format_args!("bias_ih{suffix}"), |path| ih.visit_mut(path, visitor));
                path.enter(format_args!("bias_hh{suffix}"), |path| hh.visit_mut(path, visitor));
            }
        }
        path.enter("dropout", |path| self.dropout.visit_mut(path, visitor));
    }
}
