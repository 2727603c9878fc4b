//! ONNX LSTM, GRU and RNN: projections of the input and one recurrence per direction.

use lampyr_base::{Dim, Error, Result};
use lampyr_ir::onnx::{OnnxAttr, OnnxNode, optional, required};
use lampyr_ir::{Builder, Var, Vars};
use smallvec::smallvec;

use crate::activations::Activation;
use crate::build::*;
use crate::gradient::full;

/// Part `i` of axis 0, without that axis.
fn part(b: &mut dyn Builder, v: &Var, i: i64) -> Result<Var> {
    let one = narrow(b, v, 0, Dim::Known(i), Dim::Known(i + 1))?;
    squeeze(b, &one, &[0])
}

fn floats(node: &dyn OnnxNode, name: &str) -> Result<Vec<f64>> {
    match node.attr(name) {
        None => Ok(Vec::new()),
        Some(OnnxAttr::Floats(v)) => Ok(v.iter().map(|&x| f64::from(x)).collect()),
        Some(_) => Err(Error::format(format!("attribute `{name}` has the wrong type")).with_expected("floats")),
    }
}

/// The activation functions of every direction as attributes.
fn activations(node: &dyn OnnxNode, defaults: &[&str], directions: usize) -> Result<Vec<String>> {
    let names: Vec<String> = match node.attr("activations") {
        Some(OnnxAttr::Strs(v)) => v.clone(),
        Some(_) => return Err(Error::format("attribute `activations` has the wrong type").with_expected("strings")),
        None => defaults.iter().cycle().take(defaults.len() * directions).map(|s| s.to_string()).collect(),
    };
    if names.len() != defaults.len() * directions {
        return Err(Error::value(format!("{} activations", names.len()))
            .with_expected(format!("{} for {directions} directions", defaults.len() * directions)));
    }
    let (alphas, betas) = (floats(node, "activation_alpha")?, floats(node, "activation_beta")?);
    let (mut alphas, mut betas) = (alphas.as_slice(), betas.as_slice());
    let all = names.iter().map(|n| Activation::named(n, &mut alphas, &mut betas)).collect::<Result<Vec<_>>>()?;
    Ok(all.chunks(defaults.len()).map(|c| c.iter().map(Activation::text).collect::<Vec<_>>().join(",")).collect())
}

/// Translates an LSTM, GRU or RNN node.
pub(crate) fn import(node: &dyn OnnxNode, b: &mut dyn Builder, inputs: &[Option<Var>]) -> Result<Vars> {
    let (cell, gates, defaults): (_, i64, &[&str]) = match node.op_type() {
        "LSTM" => ("lstm", 4, &["Sigmoid", "Tanh", "Tanh"]),
        "GRU" => ("gru", 3, &["Sigmoid", "Tanh"]),
        _ => ("rnn", 1, &["Tanh"]),
    };
    let (mut x, w, r) = (required(inputs, 0)?, required(inputs, 1)?, required(inputs, 2)?);
    let batch_first = node.int("layout", 0)? != 0;
    if batch_first {
        x = transpose(b, &x, &[1, 0, 2])?;
    }
    let reversed: &[bool] = match node.text("direction", "forward")?.as_str() {
        "forward" => &[false],
        "reverse" => &[true],
        "bidirectional" => &[false, true],
        other => {
            return Err(
                Error::value(format!("direction is `{other}`")).with_expected("forward, reverse or bidirectional")
            );
        }
    };
    let activations = activations(node, defaults, reversed.len())?;
    let (xf, rf) = (b.tensor_fact(&x)?, b.tensor_fact(&r)?);
    let ([_, batch, _], [directions, _, hidden]) = (xf.shape.as_slice(), rf.shape.as_slice()) else {
        return Err(
            Error::shape(format!("got ranks {} and {}", xf.rank(), rf.rank())).with_expected("rank 3 of X and R")
        );
    };
    if directions.known().is_some_and(|d| d != reversed.len() as i64) {
        return Err(
            Error::shape(format!("weights of {directions} directions")).with_expected(format!("{}", reversed.len()))
        );
    }
    let linear = node.int("linear_before_reset", 0)? != 0 && cell == "gru";
    let bias = optional(inputs, 3);
    let lengths = optional(inputs, 4);
    let peepholes = optional(inputs, 7).filter(|_| cell == "lstm");
    let state = |b: &mut dyn Builder, i: usize, d: i64| -> Result<Var> {
        let Some(v) = optional(inputs, i) else {
            return full(b, xf.dtype, &[batch.clone(), hidden.clone()], 0.0);
        };
        let v = if batch_first { transpose(b, &v, &[1, 0, 2])? } else { v };
        part(b, &v, d)
    };
    let at = |n: i64| hidden.mul(&Dim::Known(n));
    let mut outputs: Vec<Vec<Var>> = vec![Vec::new(); 3];
    for (d, &reverse) in reversed.iter().enumerate() {
        let op = Recurrence {
            cell: cell.to_string(),
            activations: activations.get(d).cloned().unwrap_or_default(),
            reverse,
            clip: node.float("clip", 0.0)?,
            input_forget: node.int("input_forget", 0)? != 0,
            linear_before_reset: linear,
            peepholes: peepholes.is_some(),
            lengths: lengths.is_some(),
        };
        let d = d as i64;
        let weights = part(b, &w, d)?;
        let weights = transpose(b, &weights, &[1, 0])?;
        let mut projected = matmul(b, &x, &weights)?;
        let mut hidden_bias = None;
        if let Some(bias) = &bias {
            let own = part(b, bias, d)?;
            let input = narrow(b, &own, 0, Dim::Known(0), at(gates))?;
            let mut recurrent = narrow(b, &own, 0, at(gates), at(2 * gates))?;
            if linear {
                hidden_bias = Some(narrow(b, &recurrent, 0, at(2), at(3))?);
                let first = narrow(b, &recurrent, 0, Dim::Known(0), at(2))?;
                let rest = full(b, xf.dtype, std::slice::from_ref(hidden), 0.0)?;
                recurrent = concat(b, &[first, rest], 0)?;
            }
            let sum = add(b, &input, &recurrent)?;
            projected = add(b, &projected, &sum)?;
        }
        let mut args = vec![projected, part(b, &r, d)?, state(b, 5, d)?];
        if cell == "lstm" {
            args.push(state(b, 6, d)?);
        }
        if let Some(p) = &peepholes {
            args.push(part(b, p, d)?);
        }
        if linear {
            args.push(match hidden_bias {
                Some(v) => v,
                None => full(b, xf.dtype, std::slice::from_ref(hidden), 0.0)?,
            });
        }
        args.extend(lengths.clone());
        let made = recurrence(b, &op, &args)?;
        for (list, v) in outputs.iter_mut().zip(made) {
            list.push(v);
        }
    }
    let mut results: Vars = smallvec![];
    for (k, list) in outputs.iter().enumerate().filter(|(_, l)| !l.is_empty()) {
        // [steps, batch, hidden] gets its directions as axis 1 (2 with the batch first), states as axis 0 (1).
        let steps = k == 0;
        let axis = i64::from(steps) + i64::from(batch_first);
        let mut parts = Vec::new();
        for v in list {
            let v = if steps && batch_first { transpose(b, v, &[1, 0, 2])? } else { v.clone() };
            parts.push(unsqueeze(b, &v, &[axis])?);
        }
        results.push(match parts.as_slice() {
            [one] => one.clone(),
            parts => concat(b, parts, axis)?,
        });
    }
    results.truncate(node.output_count().max(1));
    Ok(results)
}
