//! Scores of a classifier as named classes.

use std::path::Path;

use lampyr::{Error, Result, Tensor, TypeKind};
use serde::Serialize;

/// One class with what the model says of it.
#[derive(Serialize)]
pub struct Class {
    /// Position in the output.
    pub index: usize,
    /// Name, or the position where there is none.
    pub label: String,
    /// The number in the output.
    pub score: f64,
    /// The score as a share of all.
    pub probability: f64,
}

/// Whether `tensor` may be one score per class.
pub fn has_scores(tensor: &Tensor) -> bool {
    let shape = tensor.shape();
    tensor.dtype().kind() == TypeKind::Float && tensor.len() > 1 && shape.iter().filter(|&&d| d != 1).count() == 1
}

/// Class names from the file asked for, or from `labels.txt` beside the model; none when there is no such file.
pub fn labels(asked: Option<&Path>, model: &Path) -> Result<Vec<String>> {
    let beside = model.with_file_name("labels.txt");
    let path = match asked {
        Some(path) => path,
        None if beside.is_file() => &beside,
        None => return Ok(Vec::new()),
    };
    let text = std::fs::read_to_string(path).map_err(|e| Error::io(path, e).with_help("check --labels"))?;
    Ok(text.lines().map(|l| l.trim().to_string()).collect())
}

/// Scores as probabilities: as they are when they are some already, else their softmax.
fn probabilities(scores: &[f64]) -> Vec<f64> {
    let total: f64 = scores.iter().sum();
    if (total - 1.0).abs() < 1e-3 && scores.iter().all(|s| (0.0..=1.0).contains(s)) {
        return scores.to_vec();
    }
    let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let powers: Vec<f64> = scores.iter().map(|s| (s - top).exp()).collect();
    let total: f64 = powers.iter().sum();
    powers.into_iter().map(|p| p / total).collect()
}

/// The `top` classes with the highest scores, best first.
pub fn best(scores: &[f64], labels: &[String], top: usize) -> Vec<Class> {
    let probabilities = probabilities(scores);
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]).then(a.cmp(b)));
    let class = |index: usize| Class {
        index,
        label: labels.get(index).filter(|l| !l.is_empty()).cloned().unwrap_or_else(|| index.to_string()),
        score: scores[index],
        probability: probabilities[index],
    };
    order.into_iter().take(top).map(class).collect()
}
