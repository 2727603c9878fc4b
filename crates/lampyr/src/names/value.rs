//! Arguments and results of the functions of the table.

use std::any::Any;
use std::sync::Arc;

use lampyr_base::{DType, Device};
use lampyr_runtime::{Scalar, Tensor};
use smallvec::SmallVec;

use crate::random::Generator;

/// An argument, read as its parameter's kind.
#[derive(Clone, Debug)]
pub enum Value<'a> {
    /// Not given: the default counts.
    Default,
    /// `None`
    None,
    /// A tensor of the caller.
    Tensor(&'a Tensor),
    /// A tensor of the caller that something else may take the place of meanwhile.
    Held(Tensor),
    /// A tensor made from what the caller gave, such as an array of another library.
    Made(Tensor),
    /// Tensors.
    Tensors(Vec<Tensor>),
    /// Tensors that may be absent.
    OptionalTensors(Vec<Option<Tensor>>),
    /// A number.
    Scalar(Scalar),
    /// A whole number.
    Int(i64),
    /// Whole numbers.
    Ints(SmallVec<[i64; 4]>),
    /// Lists of whole numbers.
    IntLists(Vec<Vec<i64>>),
    /// A real number.
    Float(f64),
    /// Real numbers.
    Floats(Vec<f64>),
    /// Truth.
    Bool(bool),
    /// Truths.
    Bools(Vec<bool>),
    /// Text.
    Str(&'a str),
    /// A data type.
    DType(DType),
    /// A device.
    Device(Device),
    /// A generator of random numbers.
    Generator(Arc<Generator>),
    /// Anything else, of a type that caller and function agree on.
    Any(Arc<dyn Any + Send + Sync>),
}

/// What a function gives back.
#[derive(Clone, Debug)]
pub enum Output {
    /// Nothing.
    None,
    /// One tensor.
    Tensor(Tensor),
    /// Several tensors.
    Tensors(SmallVec<[Tensor; 2]>),
    /// A tensor among the arguments, which is the result, and its new form.
    Renewed(Tensor, Tensor),
    /// The tensors of `out`, each with what takes its place: other memory where its shape was another.
    Resized(Vec<(Tensor, Tensor)>),
    /// Several results, some of which may be absent.
    OptionalTensors(Vec<Option<Tensor>>),
    /// A truth.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Whole numbers.
    Ints(Vec<i64>),
    /// A real number.
    Float(f64),
    /// A number of the kind that a tensor held.
    Scalar(Scalar),
    /// A data type.
    DType(DType),
}

macro_rules! from {
    ($($ty:ty => |$x:ident| $made:expr;)*) => { $(
        impl From<$ty> for Output {
            fn from($x: $ty) -> Output {
                $made
            }
        }
    )* };
}

from! {
    () => |_x| Output::None;
    Tensor => |x| Output::Tensor(x);
    (Tensor, Tensor) => |x| Output::Tensors(SmallVec::from([x.0, x.1]));
    (Tensor, Tensor, Tensor) => |x| Output::Tensors(SmallVec::from_vec(vec![x.0, x.1, x.2]));
    Vec<Tensor> => |x| Output::Tensors(SmallVec::from_vec(x));
    bool => |x| Output::Bool(x);
    i64 => |x| Output::Int(x);
    f64 => |x| Output::Float(x);
    Scalar => |x| Output::Scalar(x);
    DType => |x| Output::DType(x);
    Vec<i64> => |x| Output::Ints(x);
}
