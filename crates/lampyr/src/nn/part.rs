//! The leaves of a tree of modules.

use std::ops::Deref;

use lampyr_base::Result;
use lampyr_runtime::Tensor;

/// A tensor that is trained. A clone is a handle to the same tensor.
#[derive(Clone, Debug)]
pub struct Parameter(Tensor);

impl Parameter {
    /// A parameter over the memory of `tensor`, without its history.
    ///
    /// # Errors
    /// When it has no float type.
    pub fn new(tensor: &Tensor) -> Result<Parameter> {
        let own = tensor.detach();
        own.requires_grad_(true)?;
        Ok(Parameter(own))
    }

    /// The tensor.
    pub fn tensor(&self) -> &Tensor {
        &self.0
    }

    /// The tensor, to put another in its place.
    pub fn tensor_mut(&mut self) -> &mut Tensor {
        &mut self.0
    }
}

impl Deref for Parameter {
    type Target = Tensor;

    fn deref(&self) -> &Tensor {
        &self.0
    }
}

/// A tensor that belongs to a module and is not trained, such as running statistics or a mask.
#[derive(Clone, Debug)]
pub struct Buffer {
    tensor: Tensor,
    persistent: bool,
}

impl Buffer {
    /// A buffer that is part of the state dict.
    pub fn new(tensor: Tensor) -> Buffer {
        Buffer { tensor, persistent: true }
    }

    /// A buffer that is not part of the state dict.
    pub fn temporary(tensor: Tensor) -> Buffer {
        Buffer { tensor, persistent: false }
    }

    /// The tensor.
    pub fn tensor(&self) -> &Tensor {
        &self.tensor
    }

    /// The tensor, to put another in its place.
    pub fn tensor_mut(&mut self) -> &mut Tensor {
        &mut self.tensor
    }

    /// Whether it is part of the state dict.
    pub fn is_persistent(&self) -> bool {
        self.persistent
    }
}

impl Deref for Buffer {
    type Target = Tensor;

    fn deref(&self) -> &Tensor {
        &self.tensor
    }
}

/// The switch of a module that behaves differently in training; [`Module::train`](super::Module::train) sets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Training(bool);

impl Training {
    pub(super) fn new(on: bool) -> Training {
        Training(on)
    }

    /// Whether the module is being trained.
    pub fn is_on(self) -> bool {
        self.0
    }
}

/// On.
impl Default for Training {
    fn default() -> Training {
        Training(true)
    }
}

/// A part of a module.
#[derive(Clone, Copy, Debug)]
pub enum Part<'a> {
    /// A parameter.
    Parameter(&'a Parameter),
    /// A buffer.
    Buffer(&'a Buffer),
    /// A switch.
    Training(&'a Training),
}

/// A part of a module that can be changed.
#[derive(Debug)]
pub enum PartMut<'a> {
    /// A parameter.
    Parameter(&'a mut Parameter),
    /// A buffer.
    Buffer(&'a mut Buffer),
    /// A switch.
    Training(&'a mut Training),
}
