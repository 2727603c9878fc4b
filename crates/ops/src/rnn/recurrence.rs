//! One direction of a recurrent layer: LSTM (Hochreiter and Schmidhuber 1997; Gers and Schmidhuber 2000 for peepholes),
//! GRU (Cho et al. 2014) or plain.

use lampyr_base::{DType, Dim, Error, Result};
use lampyr_ir::case::{Case, CaseInput, Fill};
use lampyr_ir::onnx::OnnxMapping;
use lampyr_ir::{
    Arity, Attrs, Builder, Class, Cost, Fact, Facts, Gradient, HostTensor, HostValue, Op, OpType, TensorFact, Var, Vars,
};
use smallvec::smallvec;

use crate::activations::{Activation, between};
use crate::build::*;
use crate::common;
use crate::gradient::{accumulator, full, to_dtype};

/// The steps of one direction of a recurrent layer whose inputs were multiplied with their weights before.
///
/// Inputs, with `G` gates (4, 3 or 1) and `H` hidden elements: the projected input `[T, B, G H]` with all biases but the
/// one below; the recurrent weights `[G H, H]`; the first hidden state `[B, H]`; for `lstm` the first cell state
/// `[B, H]`; with `peepholes` their weights `[3 H]`; with `linear_before_reset` the recurrent bias of the hidden gate
/// `[H]`; with `lengths` the steps of every sequence as `int32` or `int64` `[B]`. Gates lie in ONNX's order: input,
/// output, forget, cell; update, reset, hidden. Outputs: the hidden states `[T, B, H]` (zeros after the end of a
/// sequence), the last hidden state `[B, H]` and, for `lstm`, the last cell state `[B, H]`. The gradient needs a known
/// number of steps.
#[derive(Clone, Debug, Attrs)]
pub struct Recurrence {
    /// `lstm`, `gru` or `rnn`.
    pub cell: String,
    /// Activation functions, see `Activation::list`: of gates, cell input and cell output (`lstm`), of gates and hidden
    /// gate (`gru`), or of the state (`rnn`).
    pub activations: String,
    /// Whether steps are walked from the last to the first.
    #[attr(default = false)]
    pub reverse: bool,
    /// Arguments of activations are kept between minus and plus this, unless it is 0.
    #[attr(default = 0.0)]
    pub clip: f64,
    /// `lstm`: whether the forget gate is one minus the input gate.
    #[attr(default = false)]
    pub input_forget: bool,
    /// `gru`: whether the hidden gate multiplies the state with its weights before the reset gate.
    #[attr(default = false)]
    pub linear_before_reset: bool,
    /// `lstm`: whether gates look at the cell state.
    #[attr(default = false)]
    pub peepholes: bool,
    /// Whether sequences have lengths of their own.
    #[attr(default = false)]
    pub lengths: bool,
}

/// Applies `op`; see [`Recurrence`].
pub fn recurrence(b: &mut dyn Builder, op: &Recurrence, inputs: &[Var]) -> Result<Vars> {
    b.apply(op, inputs)
}

/// The inputs of a call by their meaning.
#[derive(Clone, Copy, Debug)]
pub struct Places {
    /// First cell state.
    pub cell: Option<usize>,
    /// Peepholes.
    pub peepholes: Option<usize>,
    /// Recurrent bias of the hidden gate.
    pub bias: Option<usize>,
    /// Lengths.
    pub lengths: Option<usize>,
    /// Number of inputs.
    pub count: usize,
}

impl Recurrence {
    /// Number of gates.
    ///
    /// # Errors
    /// When the cell has an unknown name.
    pub fn gates(&self) -> Result<usize> {
        match self.cell.as_str() {
            "lstm" => Ok(4),
            "gru" => Ok(3),
            "rnn" => Ok(1),
            other => Err(Error::value(format!("cell is `{other}`")).with_expected("lstm, gru or rnn")),
        }
    }

    /// The activation functions, as many as the cell has.
    ///
    /// # Errors
    /// When they are not.
    pub fn functions(&self) -> Result<Vec<Activation>> {
        let list = Activation::list(&self.activations)?;
        let want = self.gates()?.min(4).saturating_sub(1).max(1);
        if list.len() != want {
            return Err(Error::value(format!("{} activations", list.len())).with_expected(format!("{want}")));
        }
        Ok(list)
    }

    /// Where the inputs are.
    pub fn places(&self) -> Places {
        let mut count = 3;
        let mut next = |there: bool| {
            count += usize::from(there);
            there.then_some(count - 1)
        };
        let cell = next(self.cell == "lstm");
        let peepholes = next(self.cell == "lstm" && self.peepholes);
        let bias = next(self.cell == "gru" && self.linear_before_reset);
        let lengths = next(self.lengths);
        Places { cell, peepholes, bias, lengths, count }
    }

    fn limit(&self, x: f64) -> f64 {
        if self.clip == 0.0 {
            x
        } else if x > self.clip {
            self.clip
        } else if x < -self.clip {
            -self.clip
        } else {
            x
        }
    }

    fn act(&self, b: &mut dyn Builder, f: Activation, x: &Var) -> Result<Var> {
        let x = if self.clip == 0.0 { x.clone() } else { between(b, x, -self.clip, self.clip)? };
        f.written_out(b, &x)
    }

    /// One step: the next hidden and cell state.
    fn step(&self, b: &mut dyn Builder, s: &Unrolled, x: &Var, h: &Var, c: Option<&Var>) -> Result<(Var, Option<Var>)> {
        let hidden = &s.hidden;
        let part = |b: &mut dyn Builder, v: &Var, g: i64| {
            let at = |n: i64| hidden.mul(&Dim::Known(n));
            narrow(b, v, -1, at(g), at(g + 1))
        };
        let f = &s.functions;
        match (self.cell.as_str(), c) {
            ("lstm", Some(c)) => {
                let all = matmul(b, h, &s.weights)?;
                let all = add(b, x, &all)?;
                let look = |b: &mut dyn Builder, gate: Var, c: &Var, g: i64| match &s.peepholes {
                    Some(p) => {
                        let p = part(b, p, g)?;
                        let seen = mul(b, &p, c)?;
                        add(b, &gate, &seen)
                    }
                    None => Ok(gate),
                };
                let i = part(b, &all, 0)?;
                let i = look(b, i, c, 0)?;
                let i = self.act(b, f[0], &i)?;
                let forget = if self.input_forget {
                    let one = b.scalar(b.tensor_fact(&i)?.dtype, 1.0)?;
                    sub(b, &one, &i)?
                } else {
                    let v = part(b, &all, 2)?;
                    let v = look(b, v, c, 2)?;
                    self.act(b, f[0], &v)?
                };
                let v = part(b, &all, 3)?;
                let v = self.act(b, f[1], &v)?;
                let (kept, new) = (mul(b, &forget, c)?, mul(b, &i, &v)?);
                let c = add(b, &kept, &new)?;
                let o = part(b, &all, 1)?;
                let o = look(b, o, &c, 1)?;
                let o = self.act(b, f[0], &o)?;
                let shown = f[2].written_out(b, &c)?;
                Ok((mul(b, &o, &shown)?, Some(c)))
            }
            ("gru", _) => {
                let gate = |b: &mut dyn Builder, g: i64| {
                    let w = part(b, &s.weights, g)?;
                    let r = matmul(b, h, &w)?;
                    let x = part(b, x, g)?;
                    let v = add(b, &x, &r)?;
                    self.act(b, f[0], &v)
                };
                let (z, r) = (gate(b, 0)?, gate(b, 1)?);
                let w = part(b, &s.weights, 2)?;
                let inner = match &s.bias {
                    Some(bias) => {
                        let v = matmul(b, h, &w)?;
                        let v = add(b, &v, bias)?;
                        mul(b, &r, &v)?
                    }
                    None => {
                        let reset = mul(b, &r, h)?;
                        matmul(b, &reset, &w)?
                    }
                };
                let v = part(b, x, 2)?;
                let v = add(b, &v, &inner)?;
                let v = self.act(b, f[1], &v)?;
                // (1 - z) v + z h = v + z (h - v)
                let far = sub(b, h, &v)?;
                let far = mul(b, &z, &far)?;
                Ok((add(b, &v, &far)?, None))
            }
            _ => {
                let v = matmul(b, h, &s.weights)?;
                let v = add(b, x, &v)?;
                Ok((self.act(b, f[0], &v)?, None))
            }
        }
    }

    fn written_out(&self, b: &mut dyn Builder, inputs: &[Var]) -> Result<Vars> {
        let places = self.places();
        let at = |i: usize| inputs.get(i).ok_or_else(|| Error::internal(format!("input {i} is missing")));
        let fact = b.tensor_fact(at(0)?)?;
        let wide = accumulator(fact.dtype);
        let hidden = b.tensor_fact(at(1)?)?.shape[1].clone();
        let Some(steps) = fact.shape[0].known() else {
            return Err(Error::unsupported(format!("a recurrent layer over {} steps written out", fact.shape[0]))
                .with_help("differentiate it with a known number of steps"));
        };
        let get = |b: &mut dyn Builder, i: usize| to_dtype(b, at(i)?, wide);
        let (x, weights, mut h) = (get(b, 0)?, get(b, 1)?, get(b, 2)?);
        let mut c = places.cell.map(|i| get(b, i)).transpose()?;
        let peepholes = places.peepholes.map(|i| get(b, i)).transpose()?;
        let bias = places.bias.map(|i| get(b, i)).transpose()?;
        let weights = transpose(b, &weights, &[1, 0])?;
        let s = Unrolled { weights, peepholes, bias, hidden, functions: self.functions()? };
        let mut lengths = None;
        if let Some(i) = places.lengths {
            let all = cast(b, at(i)?, DType::I64)?;
            lengths = Some(unsqueeze(b, &all, &[1])?);
        }
        let mut rows = Vec::new();
        for k in 0..steps {
            let t = if self.reverse { steps - 1 - k } else { k };
            let step = narrow(b, &x, 0, Dim::Known(t), Dim::Known(t + 1))?;
            let step = squeeze(b, &step, &[0])?;
            let (mut next, mut next_c) = self.step(b, &s, &step, &h, c.as_ref())?;
            let mut y = next.clone();
            if let Some(lengths) = &lengths {
                let now = b.constant(HostTensor::scalar(t))?;
                let inside = greater(b, lengths, &now)?;
                let zero = b.scalar(wide, 0.0)?;
                y = where_(b, &inside, &next, &zero)?;
                next = where_(b, &inside, &next, &h)?;
                if let (Some(new), Some(old)) = (&next_c, &c) {
                    next_c = Some(where_(b, &inside, new, old)?);
                }
            }
            (h, c) = (next, next_c.or(c));
            rows.push(unsqueeze(b, &y, &[0])?);
        }
        if self.reverse {
            rows.reverse();
        }
        let y = match rows.is_empty() {
            true => full(b, wide, &[Dim::Known(0), fact.shape[1].clone(), s.hidden.clone()], 0.0)?,
            false => concat(b, &rows, 0)?,
        };
        let outputs: Vec<Var> = [y, h].into_iter().chain(c).collect();
        outputs.iter().map(|v| to_dtype(b, v, fact.dtype)).collect()
    }
}

struct Unrolled {
    /// `[H, G H]`
    weights: Var,
    peepholes: Option<Var>,
    bias: Option<Var>,
    hidden: Dim,
    functions: Vec<Activation>,
}

impl Op for Recurrence {
    fn arity(&self) -> Arity {
        Arity::exactly(self.places().count)
    }

    fn class(&self) -> Class {
        Class::Opaque
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        let f = common::tensors(inputs)?;
        let (gates, places) = (self.gates()?, self.places());
        self.functions()?;
        common::check_dtype(f[0].dtype, Self::DTYPES)?;
        let wrong = |i: usize, want: &str| {
            Error::shape(format!("input {i} has shape [{}]", Dim::join(&f[i].shape))).with_expected(want.to_string())
        };
        let ([steps, batch, wide], [rows, hidden]) = (f[0].shape.as_slice(), f[1].shape.as_slice()) else {
            return Err(wrong(0, "a projected input of rank 3 and recurrent weights of rank 2"));
        };
        let all = hidden.mul(&Dim::Known(gates as i64));
        common::same_dim(rows, &all).map_err(|_| wrong(1, "[gates * hidden, hidden]"))?;
        common::same_dim(wide, &all).map_err(|_| wrong(0, "[steps, batch, gates * hidden]"))?;
        let three = hidden.mul(&Dim::Known(3));
        let mut batch = batch.clone();
        for (i, v) in f.iter().enumerate().skip(2) {
            if places.lengths == Some(i) {
                common::check_dtype(v.dtype, &[DType::I32, DType::I64])?;
                let [own] = v.shape.as_slice() else { return Err(wrong(i, "[batch]")) };
                batch = common::same_dim(&batch, own).map_err(|_| wrong(i, "[batch]"))?;
                continue;
            }
            if v.dtype != f[0].dtype {
                return Err(Error::dtype(format!("input {i} is {}, the projected input {}", v.dtype, f[0].dtype))
                    .with_expected("equal types"));
            }
            match v.shape.as_slice() {
                [own] if places.peepholes == Some(i) => {
                    common::same_dim(own, &three).map_err(|_| wrong(i, "[3 * hidden]"))?;
                }
                [own] if places.bias == Some(i) => {
                    common::same_dim(own, hidden).map_err(|_| wrong(i, "[hidden]"))?;
                }
                [own, h] if i == 2 || places.cell == Some(i) => {
                    batch = common::same_dim(&batch, own).map_err(|_| wrong(i, "[batch, hidden]"))?;
                    common::same_dim(h, hidden).map_err(|_| wrong(i, "[batch, hidden]"))?;
                }
                _ => return Err(wrong(i, "a vector, or [batch, hidden] for a state")),
            }
        }
        if f[1].dtype != f[0].dtype {
            return Err(Error::dtype(format!("the weights are {}, the input {}", f[1].dtype, f[0].dtype)));
        }
        let state = TensorFact::new(f[0].dtype, [batch.clone(), hidden.clone()]);
        let mut facts: Facts = smallvec![Fact::tensor(f[0].dtype, [steps.clone(), batch, hidden.clone()])];
        facts.extend(std::iter::repeat_n(Fact::Tensor(state), if places.cell.is_some() { 2 } else { 1 }));
        Ok(facts)
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        let t = common::host(inputs)?;
        let (places, f) = (self.places(), self.functions()?);
        let (steps, batch, n) = (t[0].shape()[0], t[0].shape()[1], t[1].shape()[1]);
        let gates = self.gates()?;
        let (x, r) = (t[0].to_f64(), t[1].to_f64());
        let optional = |i: Option<usize>| i.map(|i| t[i].to_f64());
        let (p, bias) = (optional(places.peepholes), optional(places.bias));
        let lengths = places.lengths.map(|i| t[i].to_i64());
        let mut h = t[2].to_f64();
        let mut c = optional(places.cell).unwrap_or_default();
        let mut y = vec![0.0; steps * batch * n];
        for k in 0..steps {
            let t = if self.reverse { steps - 1 - k } else { k };
            for b in 0..batch {
                if lengths.as_ref().is_some_and(|l| l[b] <= t as i64) {
                    continue;
                }
                let old: Vec<f64> = h[b * n..(b + 1) * n].to_vec();
                let input = |g: usize, j: usize| x[(t * batch + b) * gates * n + g * n + j];
                let product =
                    |g: usize, j: usize, v: &[f64]| (0..n).map(|i| r[(g * n + j) * n + i] * v[i]).sum::<f64>();
                let gate = |g: usize, j: usize| input(g, j) + product(g, j, &old);
                let act = |f: Activation, x: f64| f.of(self.limit(x));
                let reset: Vec<f64> = match self.cell == "gru" {
                    true => (0..n).map(|j| act(f[0], gate(1, j)) * old[j]).collect(),
                    false => Vec::new(),
                };
                for j in 0..n {
                    h[b * n + j] = match self.cell.as_str() {
                        "lstm" => {
                            let state = c[b * n + j];
                            let seen = |g: usize, c: f64| p.as_ref().map_or(0.0, |p| p[g * n + j] * c);
                            let i = act(f[0], gate(0, j) + seen(0, state));
                            let forget =
                                if self.input_forget { 1.0 - i } else { act(f[0], gate(2, j) + seen(2, state)) };
                            let next = forget * state + i * act(f[1], gate(3, j));
                            c[b * n + j] = next;
                            act(f[0], gate(1, j) + seen(1, next)) * f[2].of(next)
                        }
                        "gru" => {
                            let z = act(f[0], gate(0, j));
                            let inner = match &bias {
                                Some(bias) => act(f[0], gate(1, j)) * (product(2, j, &old) + bias[j]),
                                None => product(2, j, &reset),
                            };
                            let v = act(f[1], input(2, j) + inner);
                            (1.0 - z) * v + z * old[j]
                        }
                        _ => act(f[0], gate(0, j)),
                    };
                }
                y[(t * batch + b) * n..][..n].copy_from_slice(&h[b * n..(b + 1) * n]);
            }
        }
        let dtype = t[0].dtype();
        let mut outputs = vec![HostTensor::from_f64(dtype, &[steps, batch, n], &y)?.into()];
        outputs.push(HostTensor::from_f64(dtype, &[batch, n], &h)?.into());
        if places.cell.is_some() {
            outputs.push(HostTensor::from_f64(dtype, &[batch, n], &c)?.into());
        }
        Ok(outputs)
    }

    fn gradient(&self) -> Gradient {
        Gradient::Decompose
    }

    fn decompose(&self, b: &mut dyn Builder, inputs: &[Var]) -> Option<Result<Vars>> {
        Some(self.written_out(b, inputs))
    }

    fn cost(&self, inputs: &[&Fact], outputs: &[Fact]) -> Cost {
        let size = |d: &Dim| d.known().unwrap_or(64).max(0) as f64;
        let count = |f: &Fact| f.as_tensor().map_or(0.0, |t| t.shape.iter().map(size).product());
        let hidden = inputs.get(1).and_then(|f| f.as_tensor().ok()).and_then(|t| t.shape.last()).map_or(1.0, size);
        Cost {
            flops: 2.0 * hidden * inputs.first().map_or(0.0, |f| count(f)),
            bytes: inputs.iter().copied().chain(outputs).map(|f| count(f) * f.dtype().size() as f64).sum(),
        }
    }
}

impl OpType for Recurrence {
    const NAME: &'static str = "recurrence";
    const DOC: &'static str = "The steps of one direction of an LSTM, GRU or plain recurrent layer.";
    const DTYPES: &'static [DType] = DType::FLOATS;

    fn onnx() -> Vec<OnnxMapping> {
        ["LSTM", "GRU", "RNN"].map(|name| OnnxMapping::new(name, 7, crate::onnx_recurrent::import)).into()
    }

    fn cases() -> Vec<Case> {
        cases()
    }
}

fn cases() -> Vec<Case> {
    let inputs = |op: &Recurrence, d: DType, [t, b, n]: [usize; 3]| {
        let gates = op.gates().unwrap_or(1);
        let x = |shape: &[usize], seed: u64| CaseInput::new(d, shape).fill(Fill::Uniform(-0.8, 0.8, seed));
        let places = op.places();
        let mut all = vec![x(&[t, b, gates * n], 1), x(&[gates * n, n], 2), x(&[b, n], 3)];
        all.extend(places.cell.map(|_| x(&[b, n], 4)));
        all.extend(places.peepholes.map(|_| x(&[3 * n], 5)));
        all.extend(places.bias.map(|_| x(&[n], 6)));
        let lengths: Vec<f64> = (0..b).map(|i| ((i * 2 + 1) % (t + 1)) as f64).collect();
        all.extend(places.lengths.map(|_| CaseInput::new(DType::I32, &[b]).values(&lengths)));
        all
    };
    let plain = |cell: &str, activations: &str| Recurrence {
        cell: cell.to_string(),
        activations: activations.to_string(),
        reverse: false,
        clip: 0.0,
        input_forget: false,
        linear_before_reset: false,
        peepholes: false,
        lengths: false,
    };
    let cells = [plain("lstm", "sigmoid,tanh,tanh"), plain("gru", "sigmoid,tanh"), plain("rnn", "tanh")];
    let mut cases = Vec::new();
    for op in &cells {
        let cell = op.cell.clone();
        for &d in DType::FLOATS {
            let mut add = |name: &str, op: Recurrence, size: [usize; 3]| {
                let case = Case::new(format!("{cell}-{name}-{d}"), &op, inputs(&op, d, size));
                cases.push(if matches!(d, DType::F32 | DType::F64) { case.with_gradient() } else { case });
            };
            add("plain", op.clone(), [3, 2, 3]);
            add("reverse", Recurrence { reverse: true, ..op.clone() }, [3, 2, 2]);
            add("lengths", Recurrence { lengths: true, ..op.clone() }, [3, 4, 2]);
            add("lengths-reverse", Recurrence { lengths: true, reverse: true, ..op.clone() }, [3, 4, 2]);
            add("clip", Recurrence { clip: 0.6, ..op.clone() }, [2, 2, 3]);
            add(
                "all",
                Recurrence { input_forget: true, peepholes: true, linear_before_reset: true, ..op.clone() },
                [3, 2, 3],
            );
            add("no-batch", op.clone(), [3, 0, 2]);
        }
        let all = Recurrence { peepholes: true, linear_before_reset: true, ..op.clone() };
        for (name, op, size) in [
            ("large", op, [7, 5, 70]),
            ("large-all", &all, [5, 30, 33]),
            ("one", op, [9, 1, 130]),
            ("wide", op, [2, 3, 300]),
            ("many", &Recurrence { lengths: true, ..op.clone() }, [4, 40, 20]),
        ] {
            let mut inputs = inputs(op, DType::F32, size);
            inputs[1] = inputs[1].clone().fill(Fill::Uniform(-0.1, 0.1, 2));
            cases.push(Case::new(format!("{cell}-{name}"), op, inputs).tolerance(2e-5, 1e-4));
        }
        let case = Case::new(format!("{cell}-no-steps"), op, inputs(op, DType::F32, [0, 2, 3]));
        cases.push(case);
        let symbolic = Case::new(format!("{cell}-symbolic"), op, inputs(op, DType::F64, [2, 3, 2])).with_gradient();
        let symbolic = symbolic.symbol(0, 1, "batch").symbol(2, 0, "batch");
        cases.push(if cell == "lstm" { symbolic.symbol(3, 0, "batch") } else { symbolic });
    }
    for name in [
        "relu",
        "affine:0.5:0.1",
        "leakyrelu:0.2",
        "thresholdedrelu:0.3",
        "scaledtanh:0.9:1.1",
        "hardsigmoid",
        "elu",
        "softsign",
        "softplus",
    ] {
        let op = plain("rnn", name);
        let kind = name.split(':').next().unwrap_or(name);
        cases.push(Case::new(format!("rnn-{kind}"), &op, inputs(&op, DType::F32, [3, 2, 3])).with_gradient());
    }
    cases
}
