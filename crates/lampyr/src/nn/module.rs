//! What a module is: a tree whose leaves are parameters, buffers and switches.

use std::fmt::{Display, Write};
use std::marker::PhantomData;

use lampyr_base::{DType, Device, Error, Result};
use lampyr_runtime::{Tensor, no_grad};

use super::part::{Buffer, Parameter, Part, PartMut, Training};
use super::state::{Incompatible, StateDict, load};

/// Where in a tree of modules a visit is: names joined by dots.
#[derive(Debug, Default)]
pub struct Path(String);

impl Path {
    /// The path, empty at the root.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Calls `visit` one level below, at `name`.
    pub fn enter(&mut self, name: impl Display, visit: impl FnOnce(&mut Path)) {
        let length = self.0.len();
        let dot = if length == 0 { "" } else { "." };
        // Writing to a string does not fail.
        let _ = write!(self.0, "{dot}{name}");
        visit(self);
        self.0.truncate(length);
    }
}

/// A part of a model: parameters, buffers, and modules within it. Usually derived:
///
/// ```
/// use lampyr::nn::{Forward, Linear, Module};
/// use lampyr::{Result, Tensor};
///
/// #[derive(Module)]
/// struct Net {
///     hidden: Linear,
///     heads: Vec<Linear>,
///     classes: usize,
/// }
///
/// impl Forward for Net {
///     fn forward(&self, x: &Tensor) -> Result<Tensor> {
///         let x = self.hidden.forward(x)?.relu()?;
///         self.heads.iter().try_fold(x, |x, head| head.forward(&x))
///     }
/// }
///
/// # fn main() -> Result<()> {
/// let net = Net { hidden: Linear::new(4, 8)?, heads: vec![Linear::new(8, 3)?], classes: 3 };
/// let names: Vec<String> = net.state_dict().iter().map(|(name, _)| name.clone()).collect();
/// assert_eq!(names, ["hidden.weight", "hidden.bias", "heads.0.weight", "heads.0.bias"]);
/// assert_eq!(net.num_parameters(), 4 * 8 + 8 + net.classes * 8 + 3);
/// # Ok(())
/// # }
/// ```
///
/// Fields are modules, [`Parameter`]s, [`Buffer`]s, [`Training`], plain data (numbers, `bool`, strings), or `Vec`,
/// `Option`, `Box`, arrays and tuples of them; the name of a field is its name in the state dict. Fields of other types
/// are left out with `#[module(skip)]`; a name is changed with `#[module(name = "...")]`. A field that is none of these
/// does not compile:
///
/// ```compile_fail
/// #[derive(lampyr::nn::Module)]
/// struct Net {
///     weight: lampyr::Tensor,
/// }
/// ```
///
/// nor does an option that does not exist, or an enum:
///
/// ```compile_fail
/// #[derive(lampyr::nn::Module)]
/// struct Net {
///     #[module(skipped)]
///     layer: lampyr::nn::Linear,
/// }
/// ```
///
/// ```compile_fail
/// #[derive(lampyr::nn::Module)]
/// enum Net {
///     Layer(lampyr::nn::Linear),
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a module",
    note = "a tensor is a `Parameter` or a `Buffer`; derive `Module` for your own structs; mark other fields with `#[module(skip)]`"
)]
pub trait Module {
    /// Shows every part with its path to `visitor`.
    fn visit(&self, path: &mut Path, visitor: &mut dyn FnMut(&str, Part<'_>));

    /// As [`Module::visit`], to change parts.
    fn visit_mut(&mut self, path: &mut Path, visitor: &mut dyn FnMut(&str, PartMut<'_>));

    /// The parameters with their paths; a shared one once. The tensors are handles: what changes in them changes here.
    fn named_parameters(&self) -> Vec<(String, Tensor)> {
        let mut found: Vec<(String, Tensor)> = Vec::new();
        self.visit(&mut Path::default(), &mut |path, part| {
            if let Part::Parameter(p) = part
                && !found.iter().any(|(_, t)| t.same(p))
            {
                found.push((path.to_string(), p.tensor().clone()));
            }
        });
        found
    }

    /// The parameters; a shared one once.
    fn parameters(&self) -> Vec<Tensor> {
        self.named_parameters().into_iter().map(|(_, t)| t).collect()
    }

    /// The buffers with their paths; a shared one once.
    fn named_buffers(&self) -> Vec<(String, Tensor)> {
        let mut found: Vec<(String, Tensor)> = Vec::new();
        self.visit(&mut Path::default(), &mut |path, part| {
            if let Part::Buffer(b) = part
                && !found.iter().any(|(_, t)| t.same(b))
            {
                found.push((path.to_string(), b.tensor().clone()));
            }
        });
        found
    }

    /// Number of elements of all parameters.
    fn num_parameters(&self) -> usize {
        self.parameters().iter().map(Tensor::len).sum()
    }

    /// Switches everything that behaves differently in training, such as dropout, to training or evaluation.
    fn train(&mut self, on: bool) {
        self.visit_mut(&mut Path::default(), &mut |_, part| {
            if let PartMut::Training(t) = part {
                *t = Training::new(on);
            }
        });
    }

    /// Switches to evaluation.
    fn eval(&mut self) {
        self.train(false);
    }

    /// Forgets the gradients of the parameters.
    fn zero_grad(&self) {
        self.visit(&mut Path::default(), &mut |_, part| {
            if let Part::Parameter(p) = part {
                p.set_grad(None);
            }
        });
    }

    /// Parameters and persistent buffers by their paths. They share memory with the module.
    fn state_dict(&self) -> StateDict {
        let mut state = StateDict::default();
        self.visit(&mut Path::default(), &mut |path, part| match part {
            Part::Parameter(p) => state.insert(path, p.detach()),
            Part::Buffer(b) if b.is_persistent() => state.insert(path, b.detach()),
            Part::Buffer(_) | Part::Training(_) => {}
        });
        state
    }

    /// Copies the tensors of `state` into parameters and buffers of the same paths, converted to their types. Without
    /// `strict` keys may be missing or unexpected; they are returned.
    ///
    /// # Errors
    /// Lists every missing and unexpected key (`NotFound`) and every shape that differs, with both shapes (`Shape`).
    /// Nothing has changed then.
    fn load_state_dict(&self, state: &StateDict, strict: bool) -> Result<Incompatible> {
        let mut own = Vec::new();
        self.visit(&mut Path::default(), &mut |path, part| match part {
            Part::Parameter(p) => own.push((path.to_string(), p.tensor().clone())),
            Part::Buffer(b) if b.is_persistent() => own.push((path.to_string(), b.tensor().clone())),
            Part::Buffer(_) | Part::Training(_) => {}
        });
        load(&own, state, strict)
    }

    /// Converts parameters and buffers of float types to `dtype`. The parameters are other tensors then, without
    /// gradients: optimisers are made afterwards.
    ///
    /// # Errors
    /// When `dtype` is no float type. Nothing has changed then.
    fn to_dtype(&mut self, dtype: DType) -> Result<()> {
        if !dtype.is_float() {
            return Err(Error::dtype(format!("parameters cannot be {dtype}")).with_expected("a float type"));
        }
        replace(self, &|t| if t.dtype().is_float() { t.to_dtype(dtype) } else { Ok(t.clone()) })
    }

    /// A copy with parameters and buffers of its own; a mere clone shares them.
    fn deep_copy(&self) -> Result<Self>
    where
        Self: Sized + Clone,
    {
        let mut copy = self.clone();
        replace(&mut copy, &Tensor::copy_contiguous)?;
        Ok(copy)
    }
}

/// Puts `make` of every parameter and buffer in its place; what was shared stays shared.
fn replace<M: Module + ?Sized>(module: &mut M, make: &dyn Fn(&Tensor) -> Result<Tensor>) -> Result<()> {
    let mut made: Vec<(Tensor, Tensor)> = Vec::new();
    let mut failed = None;
    let all = [module.named_parameters(), module.named_buffers()].concat();
    no_grad(|| {
        for (_, old) in all {
            let new = make(&old).and_then(|t| {
                if old.requires_grad() && !t.same(&old) {
                    t.requires_grad_(true)?;
                }
                Ok(t)
            });
            match new {
                Ok(new) => made.push((old, new)),
                Err(e) => failed = failed.take().or(Some(e)),
            }
        }
    });
    if let Some(e) = failed {
        return Err(e);
    }
    let of = |t: &Tensor| made.iter().find(|(old, _)| old.same(t)).map(|(_, new)| new.clone());
    module.visit_mut(&mut Path::default(), &mut |_, part| {
        let tensor = match part {
            PartMut::Parameter(p) => p.tensor_mut(),
            PartMut::Buffer(b) => b.tensor_mut(),
            PartMut::Training(_) => return,
        };
        if let Some(new) = of(tensor) {
            *tensor = new;
        }
    });
    Ok(())
}

impl Module for Parameter {
    fn visit(&self, path: &mut Path, visitor: &mut dyn FnMut(&str, Part<'_>)) {
        visitor(path.as_str(), Part::Parameter(self));
    }

    fn visit_mut(&mut self, path: &mut Path, visitor: &mut dyn FnMut(&str, PartMut<'_>)) {
        visitor(path.as_str(), PartMut::Parameter(self));
    }
}

impl Module for Buffer {
    fn visit(&self, path: &mut Path, visitor: &mut dyn FnMut(&str, Part<'_>)) {
        visitor(path.as_str(), Part::Buffer(self));
    }

    fn visit_mut(&mut self, path: &mut Path, visitor: &mut dyn FnMut(&str, PartMut<'_>)) {
        visitor(path.as_str(), PartMut::Buffer(self));
    }
}

impl Module for Training {
    fn visit(&self, path: &mut Path, visitor: &mut dyn FnMut(&str, Part<'_>)) {
        visitor(path.as_str(), Part::Training(self));
    }

    fn visit_mut(&mut self, path: &mut Path, visitor: &mut dyn FnMut(&str, PartMut<'_>)) {
        visitor(path.as_str(), PartMut::Training(self));
    }
}

impl<M: Module + ?Sized> Module for Box<M> {
    fn visit(&self, path: &mut Path, visitor: &mut dyn FnMut(&str, Part<'_>)) {
        (**self).visit(path, visitor);
    }

    fn visit_mut(&mut self, path: &mut Path, visitor: &mut dyn FnMut(&str, PartMut<'_>)) {
        (**self).visit_mut(path, visitor);
    }
}

impl<M: Module> Module for Option<M> {
    fn visit(&self, path: &mut Path, visitor: &mut dyn FnMut(&str, Part<'_>)) {
        self.iter().for_each(|m| m.visit(path, visitor));
    }

    fn visit_mut(&mut self, path: &mut Path, visitor: &mut dyn FnMut(&str, PartMut<'_>)) {
        self.iter_mut().for_each(|m| m.visit_mut(path, visitor));
    }
}

impl<M: Module> Module for [M] {
    fn visit(&self, path: &mut Path, visitor: &mut dyn FnMut(&str, Part<'_>)) {
        for (i, m) in self.iter().enumerate() {
            path.enter(i, |path| m.visit(path, visitor));
        }
    }

    fn visit_mut(&mut self, path: &mut Path, visitor: &mut dyn FnMut(&str, PartMut<'_>)) {
        for (i, m) in self.iter_mut().enumerate() {
            path.enter(i, |path| m.visit_mut(path, visitor));
        }
    }
}

impl<M: Module> Module for Vec<M> {
    fn visit(&self, path: &mut Path, visitor: &mut dyn FnMut(&str, Part<'_>)) {
        self.as_slice().visit(path, visitor);
    }

    fn visit_mut(&mut self, path: &mut Path, visitor: &mut dyn FnMut(&str, PartMut<'_>)) {
        self.as_mut_slice().visit_mut(path, visitor);
    }
}

impl<M: Module, const N: usize> Module for [M; N] {
    fn visit(&self, path: &mut Path, visitor: &mut dyn FnMut(&str, Part<'_>)) {
        self.as_slice().visit(path, visitor);
    }

    fn visit_mut(&mut self, path: &mut Path, visitor: &mut dyn FnMut(&str, PartMut<'_>)) {
        self.as_mut_slice().visit_mut(path, visitor);
    }
}

macro_rules! tuples {
    ($($name:ident $i:tt),+) => {
        impl<$($name: Module),+> Module for ($($name,)+) {
            fn visit(&self, path: &mut Path, visitor: &mut dyn FnMut(&str, Part<'_>)) {
                $(path.enter($i, |path| self.$i.visit(path, visitor));)+
            }

            fn visit_mut(&mut self, path: &mut Path, visitor: &mut dyn FnMut(&str, PartMut<'_>)) {
                $(path.enter($i, |path| self.$i.visit_mut(path, visitor));)+
            }
        }
    };
}

tuples!(A 0);
tuples!(A 0, B 1);
tuples!(A 0, B 1, C 2);
tuples!(A 0, B 1, C 2, D 3);
tuples!(A 0, B 1, C 2, D 3, E 4);
tuples!(A 0, B 1, C 2, D 3, E 4, F 5);

macro_rules! plain {
    ($($ty:ty),+) => {$(
        impl Module for $ty {
            fn visit(&self, _: &mut Path, _: &mut dyn FnMut(&str, Part<'_>)) {}
            fn visit_mut(&mut self, _: &mut Path, _: &mut dyn FnMut(&str, PartMut<'_>)) {}
        }
    )+};
}

plain!(
    (),
    bool,
    char,
    u8,
    u16,
    u32,
    u64,
    usize,
    i8,
    i16,
    i32,
    i64,
    isize,
    f32,
    f64,
    String,
    &'static str,
    DType,
    Device
);

impl<T> Module for PhantomData<T> {
    fn visit(&self, _: &mut Path, _: &mut dyn FnMut(&str, Part<'_>)) {}
    fn visit_mut(&mut self, _: &mut Path, _: &mut dyn FnMut(&str, PartMut<'_>)) {}
}
