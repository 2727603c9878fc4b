//! Attributes of ops: what `#[derive(Attrs)]` reads and writes.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use lampyr_base::{Bindings, DType, Dim, Error, Result};

use crate::scalar::ScalarExpr;
use crate::{Graph, HostTensor, OpRef};

/// The value of one attribute.
#[derive(Clone, Debug)]
pub enum AttrValue {
    /// Absent optional attribute.
    None,
    /// `bool`
    Bool(bool),
    /// Integer.
    Int(i64),
    /// Float; compared and hashed by its bits.
    Float(f64),
    /// Text.
    Str(String),
    /// Data type.
    DType(DType),
    /// Integers.
    Ints(Vec<i64>),
    /// Floats; compared and hashed by their bits.
    Floats(Vec<f64>),
    /// Size, maybe symbolic.
    Dim(Dim),
    /// Sizes, maybe symbolic.
    Dims(Vec<Dim>),
    /// Constant tensor.
    Tensor(HostTensor),
    /// Sub-graph.
    Graph(Arc<Graph>),
    /// Another op.
    Op(OpRef),
    /// Scalar expression.
    Scalar(Arc<ScalarExpr>),
}

impl PartialEq for AttrValue {
    fn eq(&self, other: &AttrValue) -> bool {
        use AttrValue::*;
        match (self, other) {
            (None, None) => true,
            (Bool(a), Bool(b)) => a == b,
            (Int(a), Int(b)) => a == b,
            (Float(a), Float(b)) => a.to_bits() == b.to_bits(),
            (Str(a), Str(b)) => a == b,
            (DType(a), DType(b)) => a == b,
            (Ints(a), Ints(b)) => a == b,
            (Floats(a), Floats(b)) => a.iter().map(|v| v.to_bits()).eq(b.iter().map(|v| v.to_bits())),
            (Dim(a), Dim(b)) => a == b,
            (Dims(a), Dims(b)) => a == b,
            (Tensor(a), Tensor(b)) => a == b,
            (Graph(a), Graph(b)) => Arc::ptr_eq(a, b) || a == b,
            (Op(a), Op(b)) => a == b,
            (Scalar(a), Scalar(b)) => a == b,
            _ => false,
        }
    }
}

impl Eq for AttrValue {}

impl Hash for AttrValue {
    fn hash<H: Hasher>(&self, h: &mut H) {
        use AttrValue::*;
        std::mem::discriminant(self).hash(h);
        match self {
            None => {}
            Bool(v) => v.hash(h),
            Int(v) => v.hash(h),
            Float(v) => v.to_bits().hash(h),
            Str(v) => v.hash(h),
            DType(v) => v.hash(h),
            Ints(v) => v.hash(h),
            Floats(v) => v.iter().for_each(|v| v.to_bits().hash(h)),
            Dim(v) => v.hash(h),
            Dims(v) => v.hash(h),
            Tensor(v) => v.hash(h),
            Graph(v) => v.hash(h),
            Op(v) => v.hash(h),
            Scalar(v) => v.hash(h),
        }
    }
}

/// Attributes by name.
pub type AttrMap = BTreeMap<String, AttrValue>;

/// What is known of one attribute before an op exists.
#[derive(Clone, Copy, Debug)]
pub struct AttrSpec {
    /// Name.
    pub name: &'static str,
    /// Type in Python's words (`int`, `float`, `bool`, `list[int]`, ...).
    pub ty: &'static str,
    /// Default as Rust source text, where there is one.
    pub default: Option<&'static str>,
    /// First lines of the field's documentation.
    pub doc: &'static str,
}

/// A Rust type that can be a field of an op.
pub trait AttrField: Clone + std::fmt::Debug {
    /// Type in Python's words.
    const TYPE: &'static str;
    /// As an attribute value.
    fn to_attr(&self) -> AttrValue;
    /// From an attribute value.
    fn from_attr(value: &AttrValue) -> Option<Self>;
    /// With bound symbols replaced; `None` when nothing in it is symbolic.
    fn substitute(&self, _bindings: &Bindings) -> Option<Self> {
        None
    }
}

macro_rules! plain_fields {
    ($($ty:ty, $name:literal, $variant:ident;)*) => { $(
        impl AttrField for $ty {
            const TYPE: &'static str = $name;
            fn to_attr(&self) -> AttrValue { AttrValue::$variant(self.clone()) }
            fn from_attr(value: &AttrValue) -> Option<Self> {
                match value { AttrValue::$variant(v) => Some(v.clone()), _ => None }
            }
        }
    )* };
}

plain_fields! {
    bool, "bool", Bool; i64, "int", Int; String, "str", Str; DType, "dtype", DType; Vec<i64>, "list[int]", Ints;
    HostTensor, "Tensor", Tensor; Arc<ScalarExpr>, "ScalarExpr", Scalar;
}

impl AttrField for Arc<Graph> {
    const TYPE: &'static str = "Graph";
    fn to_attr(&self) -> AttrValue {
        AttrValue::Graph(self.clone())
    }
    fn from_attr(value: &AttrValue) -> Option<Arc<Graph>> {
        match value {
            AttrValue::Graph(v) => Some(v.clone()),
            _ => None,
        }
    }
    fn substitute(&self, bindings: &Bindings) -> Option<Arc<Graph>> {
        let mut bound = |s: &lampyr_base::Symbol| bindings.get(s).map_or_else(|| Dim::of(s), Dim::Known);
        self.map_symbols(&mut bound).map(Arc::new)
    }
}

impl AttrField for OpRef {
    const TYPE: &'static str = "Op";
    fn to_attr(&self) -> AttrValue {
        AttrValue::Op(self.clone())
    }
    fn from_attr(value: &AttrValue) -> Option<OpRef> {
        match value {
            AttrValue::Op(v) => Some(v.clone()),
            _ => None,
        }
    }
    fn substitute(&self, bindings: &Bindings) -> Option<OpRef> {
        (**self).substitute(bindings)
    }
}

impl AttrField for f64 {
    const TYPE: &'static str = "float";
    fn to_attr(&self) -> AttrValue {
        AttrValue::Float(*self)
    }
    fn from_attr(value: &AttrValue) -> Option<f64> {
        match value {
            AttrValue::Float(v) => Some(*v),
            AttrValue::Int(v) => Some(*v as f64),
            _ => None,
        }
    }
}

impl AttrField for Vec<f64> {
    const TYPE: &'static str = "list[float]";
    fn to_attr(&self) -> AttrValue {
        AttrValue::Floats(self.clone())
    }
    fn from_attr(value: &AttrValue) -> Option<Vec<f64>> {
        match value {
            AttrValue::Floats(v) => Some(v.clone()),
            AttrValue::Ints(v) => Some(v.iter().map(|&n| n as f64).collect()),
            _ => None,
        }
    }
}

impl AttrField for Dim {
    const TYPE: &'static str = "int";
    fn to_attr(&self) -> AttrValue {
        AttrValue::Dim(self.clone())
    }
    fn from_attr(value: &AttrValue) -> Option<Dim> {
        match value {
            AttrValue::Dim(v) => Some(v.clone()),
            AttrValue::Int(v) => Some(Dim::Known(*v)),
            _ => None,
        }
    }
    fn substitute(&self, bindings: &Bindings) -> Option<Dim> {
        self.known().is_none().then(|| Dim::substitute(self, bindings))
    }
}

impl AttrField for Vec<Dim> {
    const TYPE: &'static str = "list[int]";
    fn to_attr(&self) -> AttrValue {
        AttrValue::Dims(self.clone())
    }
    fn from_attr(value: &AttrValue) -> Option<Vec<Dim>> {
        match value {
            AttrValue::Dims(v) => Some(v.clone()),
            AttrValue::Ints(v) => Some(v.iter().map(|&n| Dim::Known(n)).collect()),
            _ => None,
        }
    }
    fn substitute(&self, bindings: &Bindings) -> Option<Vec<Dim>> {
        self.iter().any(|d| d.known().is_none()).then(|| self.iter().map(|d| d.substitute(bindings)).collect())
    }
}

impl<T: AttrField> AttrField for Option<T> {
    const TYPE: &'static str = T::TYPE;
    fn to_attr(&self) -> AttrValue {
        self.as_ref().map_or(AttrValue::None, T::to_attr)
    }
    fn from_attr(value: &AttrValue) -> Option<Option<T>> {
        match value {
            AttrValue::None => Some(None),
            v => T::from_attr(v).map(Some),
        }
    }
    fn substitute(&self, bindings: &Bindings) -> Option<Option<T>> {
        self.as_ref()?.substitute(bindings).map(Some)
    }
}

/// Reads one field out of `map`, removing it; used by the derived constructor.
pub fn take_field<T: AttrField>(map: &mut AttrMap, op: &str, name: &str, default: Option<T>) -> Result<T> {
    match map.remove(name) {
        Some(value) => T::from_attr(&value).ok_or_else(|| {
            Error::value(format!("attribute `{name}` cannot be {value:?}")).with_op(op).with_expected(T::TYPE)
        }),
        None => default
            .or_else(|| T::from_attr(&AttrValue::None))
            .ok_or_else(|| Error::not_found(format!("attribute `{name}` is required")).with_op(op)),
    }
}
