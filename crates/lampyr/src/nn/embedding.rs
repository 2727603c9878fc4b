//! Tables of vectors.

use lampyr_base::{Error, Result};
use lampyr_runtime::{Tensor, no_grad};

use super::Module;
use super::forward::Forward;
use super::init;
use super::make;
use super::part::Parameter;
use crate::functional::{self, embedding};

/// Row `i` of the table for every number `i` of the input.
#[derive(Clone, Debug, Module)]
pub struct Embedding {
    /// `[num_embeddings, embedding_dim]`
    pub weight: Parameter,
    #[module(skip)]
    padding: Option<i64>,
}

impl Embedding {
    /// A table of normal numbers.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub fn new(num_embeddings: usize, embedding_dim: usize) -> Result<Embedding> {
        let weight = make::parameter(&[num_embeddings, embedding_dim])?;
        init::normal_(&weight, 0.0, 1.0)?;
        Ok(Embedding { weight, padding: None })
    }

    /// As [`Embedding::new`], with a row of zeros that is not trained.
    ///
    /// # Errors
    /// When there is no such row.
    pub fn with_padding(num_embeddings: usize, embedding_dim: usize, row: usize) -> Result<Embedding> {
        if row >= num_embeddings {
            return Err(Error::value(format!("padding in row {row}"))
                .with_op("Embedding")
                .with_expected(format!("a row below {num_embeddings}")));
        }
        let made = Embedding::new(num_embeddings, embedding_dim)?;
        let padding = row as i64;
        no_grad(|| {
            let row = made.weight.select(0, padding)?;
            row.assign_(&functional::full_like(&row, 0.0)?)
        })?;
        Ok(Embedding { padding: Some(padding), ..made })
    }
}

/// From whole numbers `[..]` to `[.., embedding_dim]`.
impl Forward for Embedding {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let options = functional::Embedding { padding: self.padding, norm_type: 2.0, ..Default::default() };
        embedding(x, &self.weight, options)
    }
}
