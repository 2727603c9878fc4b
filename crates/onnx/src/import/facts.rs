//! From the types of the format to facts.

use lampyr_base::{Dim, Error, Result, ResultExt, Symbol};
use lampyr_ir::{Fact, SequenceFact, TensorFact};

use crate::pb::{Dimension, DimensionValue, TensorShapeProto, TypeProto, TypeValue, ValueInfoProto};
use crate::tensor::dtype;

/// What the file says of an input.
pub fn declared(info: &ValueInfoProto) -> Result<Fact> {
    let none = || Error::format(format!("input `{}` has no type", info.name));
    fact(info.r#type.as_ref().ok_or_else(none)?, &info.name).node(&info.name)
}

/// The fact of a type; `name` is for messages.
pub fn fact(ty: &TypeProto, name: &str) -> Result<Fact> {
    let element = |e: &'_ crate::pb::ElementType| match &e.elem_type {
        Some(inner) => fact(inner, name),
        None => Err(Error::format(format!("the type of `{name}` does not say what it holds"))),
    };
    match &ty.value {
        Some(TypeValue::TensorType(t)) => {
            let shape = t.shape.as_ref().ok_or_else(|| {
                Error::unsupported(format!("input `{name}` of unknown rank"))
                    .with_help("export the model with a shape for this input; its sizes may stay open")
            })?;
            Ok(TensorFact::new(dtype(t.elem_type)?, dims(shape, name)).into())
        }
        Some(TypeValue::SequenceType(e)) => match &e.elem_type.as_ref().and_then(|t| t.value.as_ref()) {
            Some(TypeValue::TensorType(t)) => {
                let size = |d: &Dimension| match &d.value {
                    Some(DimensionValue::DimValue(n)) if *n >= 0 => Some(Dim::Known(*n)),
                    _ => None,
                };
                let shape = t.shape.as_ref().map(|s| s.dim.iter().map(size).collect());
                Ok(Fact::Sequence(SequenceFact { dtype: dtype(t.elem_type)?, shape }))
            }
            _ => Err(Error::unsupported(format!("input `{name}`: a sequence of anything but tensors"))),
        },
        Some(TypeValue::OptionalType(e)) => Ok(Fact::Optional(Box::new(element(e)?))),
        Some(_) => Err(Error::unsupported(format!("the type of input `{name}`"))),
        None => Err(Error::format(format!("input `{name}` has no type"))),
    }
}

/// Named sizes are symbols of that name; sizes that the file leaves open (negative ones too) are symbols of their own.
fn dims(shape: &TensorShapeProto, name: &str) -> Vec<Dim> {
    let size = |(axis, d): (usize, &Dimension)| match &d.value {
        Some(DimensionValue::DimValue(n)) if *n >= 0 => Dim::Known(*n),
        Some(DimensionValue::DimParam(p)) if !p.is_empty() => Dim::named(p),
        _ => Dim::of(&Symbol::fresh(&format!("{name}.{axis}"))),
    };
    shape.dim.iter().enumerate().map(size).collect()
}
