//! Typed access to the arguments of a call.

use std::any::Any;

use lampyr_base::{DType, Device, Error, Result};
use lampyr_runtime::{Operand, Scalar, Tensor};
use smallvec::SmallVec;

use super::signature::Signature;
use super::value::Value;
use crate::random::{Generator, default_generator};

/// The arguments of one call, in the order of the signature. Every accessor takes the position of a parameter; asking
/// for another kind than the signature states is an internal error.
#[derive(Debug)]
pub struct Call<'a> {
    pub(super) signature: &'static Signature,
    pub(super) values: SmallVec<[Value<'a>; 6]>,
}

macro_rules! accessors {
    ($($(#[$doc:meta])* $name:ident, $optional:ident: $ty:ty, $words:literal, $($pattern:pat => $made:expr),+;)*) => { $(
        $(#[$doc])*
        pub fn $name(&self, at: usize) -> Result<$ty> {
            match self.value(at) {
                $(Some($pattern) => Ok($made),)+
                _ => Err(self.misread(at, $words)),
            }
        }

        $(#[$doc])*
        /// `None` where `None` is given or nothing, with that default.
        pub fn $optional(&self, at: usize) -> Result<Option<$ty>> {
            match self.value(at) {
                Some(Value::None) => Ok(None),
                _ => self.$name(at).map(Some),
            }
        }
    )* };
}

impl<'a> Call<'a> {
    #[inline]
    fn value(&self, at: usize) -> Option<&Value<'a>> {
        match self.values.get(at) {
            Some(Value::Default) => self.signature.params.get(at)?.default.as_ref(),
            given => given,
        }
    }

    #[cold]
    fn misread(&self, at: usize, words: &str) -> Error {
        Error::internal(format!("parameter {at} was read as {words}, against `{}`", self.signature.text))
            .with_op(self.signature.name)
    }

    /// Where the parameter `name` stands.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.signature.params.iter().position(|p| p.name == name)
    }

    /// Whether the argument was given.
    pub fn given(&self, at: usize) -> bool {
        !matches!(self.values.get(at), None | Some(Value::Default))
    }

    /// The tensors among the arguments, those in lists included.
    pub fn each_tensor(&self) -> impl Iterator<Item = &Tensor> {
        self.values.iter().flat_map(|v| {
            let (one, many, some): (Option<&Tensor>, &[Tensor], &[Option<Tensor>]) = match v {
                Value::Tensor(t) => (Some(t), &[], &[]),
                Value::Made(t) | Value::Held(t) => (Some(t), &[], &[]),
                Value::Tensors(all) => (None, all, &[]),
                Value::OptionalTensors(all) => (None, &[], all),
                _ => (None, &[], &[]),
            };
            one.into_iter().chain(many).chain(some.iter().flatten())
        })
    }

    /// Elements of all tensors among the arguments.
    pub fn elements(&self) -> usize {
        let one = |v: &Value| match v {
            Value::Tensor(t) => t.len(),
            Value::Made(t) | Value::Held(t) => t.len(),
            Value::Tensors(all) => all.iter().map(Tensor::len).sum(),
            // Sizes of what is made.
            Value::Ints(all) => all.iter().fold(1usize, |n, &d| n.saturating_mul(d.unsigned_abs() as usize)),
            _ => 0,
        };
        self.values.iter().fold(0usize, |n, v| n.saturating_add(one(v)))
    }

    accessors! {
        /// A tensor.
        tensor, tensor_or_none: &Tensor, "a tensor", Value::Tensor(t) => t,
            Value::Made(t) | Value::Held(t) => t;
        /// Tensors.
        tensors, tensors_or_none: &[Tensor], "tensors", Value::Tensors(all) => all;
        /// Tensors that may be absent.
        optional_tensors, optional_tensors_or_none: &[Option<Tensor>], "optional tensors",
            Value::OptionalTensors(all) => all;
        /// A tensor or a number.
        operand, operand_or_none: Operand<'_>, "an operand",
            Value::Tensor(t) => Operand::Tensor(t), Value::Made(t) | Value::Held(t) => Operand::Tensor(t),
            Value::Scalar(s) => Operand::Scalar(*s);
        /// A number.
        scalar, scalar_or_none: Scalar, "a number", Value::Scalar(s) => *s;
        /// A whole number.
        int, int_or_none: i64, "a whole number", Value::Int(i) => *i;
        /// Whole numbers.
        ints, ints_or_none: &[i64], "whole numbers", Value::Ints(all) => all;
        /// Lists of whole numbers.
        int_lists, int_lists_or_none: &[Vec<i64>], "lists of whole numbers", Value::IntLists(all) => all;
        /// A real number.
        float, float_or_none: f64, "a real number", Value::Float(x) => *x;
        /// Real numbers.
        floats, floats_or_none: &[f64], "real numbers", Value::Floats(all) => all;
        /// A truth.
        bool, bool_or_none: bool, "a truth", Value::Bool(b) => *b;
        /// Truths.
        bools, bools_or_none: &[bool], "truths", Value::Bools(all) => all;
        /// Text.
        str, str_or_none: &str, "text", Value::Str(s) => s;
        /// A data type.
        dtype, dtype_or_none: DType, "a data type", Value::DType(d) => *d;
        /// A device.
        device, device_or_none: Device, "a device", Value::Device(d) => *d;
        /// Anything else.
        any, any_or_none: &(dyn Any + Send + Sync), "any value", Value::Any(x) => &**x;
    }

    /// The generator that is given, else the default one.
    pub fn generator(&self, at: usize) -> &Generator {
        match self.value(at) {
            Some(Value::Generator(g)) => g,
            _ => default_generator(),
        }
    }

    /// Sizes: whole numbers that are not negative.
    ///
    /// # Errors
    /// When one is negative.
    pub fn sizes(&self, at: usize) -> Result<Vec<usize>> {
        let negative = |d: i64| Error::shape(format!("a size cannot be {d}")).with_op(self.signature.name);
        self.ints(at)?.iter().map(|&d| usize::try_from(d).map_err(|_| negative(d))).collect()
    }
}
