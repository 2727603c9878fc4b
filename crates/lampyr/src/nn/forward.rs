//! Modules from one tensor to one, and chains of them.

use lampyr_base::Result;
use lampyr_runtime::Tensor;

use super::module::{Module, Path};
use super::part::{Part, PartMut};

/// What a module computes from one tensor.
pub trait Forward {
    /// The result for `x`.
    ///
    /// # Errors
    /// When shape or type of `x` do not fit.
    fn forward(&self, x: &Tensor) -> Result<Tensor>;
}

/// A module that can be a link of a [`Sequential`].
pub trait Layer: Module + Forward {}

impl<T: Module + Forward> Layer for T {}

impl<F: Forward + ?Sized> Forward for Box<F> {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        (**self).forward(x)
    }
}

/// One after another.
impl<F: Forward> Forward for Vec<F> {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.iter().try_fold(x.clone(), |x, f| f.forward(&x))
    }
}

/// The module, where there is one; else its input.
impl<F: Forward> Forward for Option<F> {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.as_ref().map_or_else(|| Ok(x.clone()), |f| f.forward(x))
    }
}

/// Layers of any kinds, one after another, named `0`, `1`, ...
///
/// ```
/// use lampyr::nn::{Forward, Linear, ReLU, Sequential};
///
/// # fn main() -> lampyr::Result<()> {
/// let model = Sequential::new().push(Linear::new(4, 8)?).push(ReLU).push(Linear::new(8, 3)?);
/// let y = model.forward(&lampyr::Tensor::from_slice(&[0.5f32; 8], &[2, 4])?)?;
/// assert_eq!(y.shape(), [2, 3]);
/// # Ok(())
/// # }
/// ```
#[derive(Default)]
pub struct Sequential(Vec<Box<dyn Layer>>);

impl Sequential {
    /// Without layers.
    pub fn new() -> Sequential {
        Sequential::default()
    }

    /// With `layer` at the end.
    #[must_use]
    pub fn push(mut self, layer: impl Layer + 'static) -> Sequential {
        self.0.push(Box::new(layer));
        self
    }

    /// Number of layers.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True without layers.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The layers in order.
    pub fn iter(&self) -> impl Iterator<Item = &dyn Layer> {
        self.0.iter().map(|layer| &**layer)
    }
}

impl Forward for Sequential {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.0.forward(x)
    }
}

impl Module for Sequential {
    fn visit(&self, path: &mut Path, visitor: &mut dyn FnMut(&str, Part<'_>)) {
        self.0.visit(path, visitor);
    }

    fn visit_mut(&mut self, path: &mut Path, visitor: &mut dyn FnMut(&str, PartMut<'_>)) {
        self.0.visit_mut(path, visitor);
    }
}
