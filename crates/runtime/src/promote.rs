use std::sync::atomic::{AtomicU8, Ordering};

use lampyr_base::{DType, Error, Result, TypeKind};

static DEFAULT: AtomicU8 = AtomicU8::new(DType::F32 as u8);

/// The float type that Python numbers and new tensors have; `float32` unless set otherwise.
pub fn default_dtype() -> DType {
    let number = DEFAULT.load(Ordering::Relaxed);
    DType::FLOATS.iter().copied().find(|d| *d as u8 == number).unwrap_or(DType::F32)
}

/// Sets [`default_dtype`] for the whole process.
///
/// # Errors
/// When `dtype` is not a float type.
pub fn set_default_dtype(dtype: DType) -> Result<()> {
    if !dtype.is_float() {
        return Err(Error::dtype(format!("{dtype} cannot be the default type")).with_expected("a float type"));
    }
    DEFAULT.store(dtype as u8, Ordering::Relaxed);
    Ok(())
}

/// A number from the host language: it adapts to the tensors it meets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scalar {
    /// `bool`
    Bool(bool),
    /// Integer.
    Int(i64),
    /// Float.
    Float(f64),
}

impl Scalar {
    /// As `f64`.
    pub fn to_f64(self) -> f64 {
        match self {
            Scalar::Bool(b) => f64::from(u8::from(b)),
            Scalar::Int(i) => i as f64,
            Scalar::Float(f) => f,
        }
    }

    /// Its bytes in a common `dtype` that holds it without a change of category; `None` where conversion has rules.
    pub(crate) fn bytes_as(self, dtype: DType) -> Option<([u8; 8], usize)> {
        let mut all = [0; 8];
        let mut put = |bytes: &[u8]| {
            all[..bytes.len()].copy_from_slice(bytes);
            Some((all, bytes.len()))
        };
        match (dtype, self) {
            (DType::F32, Scalar::Float(x)) => put(&(x as f32).to_ne_bytes()),
            (DType::F32, Scalar::Int(i)) => put(&(i as f32).to_ne_bytes()),
            (DType::F64, Scalar::Float(x)) => put(&x.to_ne_bytes()),
            (DType::F64, Scalar::Int(i)) => put(&(i as f64).to_ne_bytes()),
            (DType::I64, Scalar::Int(i)) => put(&i.to_ne_bytes()),
            (DType::Bool, Scalar::Bool(b)) => put(&[u8::from(b)]),
            _ => None,
        }
    }

    /// The dtype it has on its own; for a float [`default_dtype`].
    pub fn dtype(self) -> DType {
        match self {
            Scalar::Bool(_) => DType::Bool,
            Scalar::Int(_) => DType::I64,
            Scalar::Float(_) => default_dtype(),
        }
    }
}

/// The smallest type that holds both, by PyTorch's lattice: bool < integers < floats; `uint8` with signed integers
/// gives the next signed width; the wider unsigned types mix only with their own kind and otherwise give `int64` or
/// `float32`.
pub fn promote_types(a: DType, b: DType) -> DType {
    use DType::*;
    if a == b {
        return a;
    }
    let (low, high) = if a.kind() <= b.kind() { (a, b) } else { (b, a) };
    match (low.kind(), high.kind()) {
        (TypeKind::Bool, _) => high,
        (TypeKind::Float, _) => match (low, high) {
            (F64, _) | (_, F64) => F64,
            _ => F32,
        },
        (_, TypeKind::Float) => high,
        (TypeKind::Unsigned, TypeKind::Signed) => match (low.bits(), high.bits()) {
            (u, s) if s > u => high,
            (8, _) => I16,
            (16, _) => I32,
            (32, _) => I64,
            _ => F32,
        },
        _ => {
            if low.bits() >= high.bits() {
                low
            } else {
                high
            }
        }
    }
}

fn category(d: DType) -> u8 {
    match d.kind() {
        TypeKind::Bool => 0,
        TypeKind::Unsigned | TypeKind::Signed => 1,
        TypeKind::Float => 2,
    }
}

/// The common type of operands as PyTorch chooses it: tensors with axes decide; 0-d tensors and scalars only when they
/// are of a higher category (bool, integer, float), scalars with the default type of their category.
pub fn result_type(operands: &[(DType, bool)], scalars: &[Scalar]) -> DType {
    let join = |it: &mut dyn Iterator<Item = DType>| it.reduce(promote_types);
    let dims = join(&mut operands.iter().filter(|o| !o.1).map(|o| o.0));
    let zeros = join(&mut operands.iter().filter(|o| o.1).map(|o| o.0));
    let weak = join(&mut scalars.iter().map(|s| s.dtype()));
    [dims, zeros, weak]
        .into_iter()
        .flatten()
        .reduce(|strong, next| if category(next) > category(strong) { next } else { strong })
        .unwrap_or_else(default_dtype)
}
