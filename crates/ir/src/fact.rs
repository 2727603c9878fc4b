use std::fmt;
use std::sync::Arc;

use lampyr_base::{DType, Dim, Error, Result, Shape, Symbol};
use smallvec::SmallVec;

use crate::HostTensor;

/// Facts of all outputs of a node.
pub type Facts = SmallVec<[Fact; 1]>;

/// How the elements of a value lie in memory inside a compiled graph.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum MemoryFormat {
    /// Row-major, as every eager tensor can be made.
    #[default]
    Plain,
    /// Axis `axis` split into blocks of `block` elements that become the innermost axis (NCHWc).
    Blocked {
        /// The axis that is split.
        axis: u8,
        /// Elements of one block.
        block: u8,
    },
}

/// What is known of a tensor before it exists.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct TensorFact {
    /// Element type.
    pub dtype: DType,
    /// Sizes, maybe symbolic.
    pub shape: SmallVec<[Dim; 4]>,
    /// The elements of a small integer tensor, as far as they are known expressions.
    pub known: Option<Arc<[Dim]>>,
    /// Memory format in a compiled graph.
    pub format: MemoryFormat,
}

/// The largest number of elements of an integer tensor that are tracked as expressions.
pub const KNOWN_LIMIT: usize = 256;

impl TensorFact {
    /// A tensor of `dtype` and `shape`, elements unknown.
    pub fn new(dtype: DType, shape: impl IntoIterator<Item = Dim>) -> TensorFact {
        TensorFact { dtype, shape: shape.into_iter().collect(), known: None, format: MemoryFormat::Plain }
    }

    /// A tensor whose sizes are all numbers.
    pub fn fixed(dtype: DType, shape: &[usize]) -> TensorFact {
        TensorFact::new(dtype, shape.iter().map(|&d| Dim::from(d)))
    }

    /// The fact of a constant: small integer tensors keep their elements.
    pub fn of(value: &HostTensor) -> TensorFact {
        let mut fact = TensorFact::fixed(value.dtype(), value.shape());
        if value.dtype().is_integer() && value.shape().len() <= 1 && value.len() <= KNOWN_LIMIT {
            fact.known = Some(value.to_i64().into_iter().map(Dim::Known).collect());
        }
        fact
    }

    /// Adds the known elements.
    pub fn with_known(mut self, known: Option<Arc<[Dim]>>) -> TensorFact {
        self.known = known.filter(|k| k.len() <= KNOWN_LIMIT);
        self
    }

    /// Number of axes.
    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    /// The sizes as numbers, when all are known.
    pub fn fixed_shape(&self) -> Option<Shape> {
        self.shape.iter().map(|d| d.known().and_then(|n| usize::try_from(n).ok())).collect()
    }

    /// Number of elements.
    pub fn elements(&self) -> Dim {
        Dim::product(&self.shape)
    }

    /// Number of bytes.
    pub fn bytes(&self) -> Dim {
        self.elements().mul(&Dim::from(self.dtype.size()))
    }
}

impl TensorFact {
    /// This fact with every symbol replaced by what `f` gives for it.
    pub fn map_symbols(&self, f: &mut dyn FnMut(&Symbol) -> Dim) -> TensorFact {
        TensorFact {
            dtype: self.dtype,
            shape: self.shape.iter().map(|d| d.map_symbols(f)).collect(),
            known: self.known.as_ref().map(|k| k.iter().map(|d| d.map_symbols(f)).collect()),
            format: self.format,
        }
    }
}

impl Fact {
    /// This fact with every symbol replaced by what `f` gives for it.
    pub fn map_symbols(&self, f: &mut dyn FnMut(&Symbol) -> Dim) -> Fact {
        match self {
            Fact::Tensor(t) => Fact::Tensor(t.map_symbols(f)),
            Fact::Sequence(s) => {
                let mut size = |d: &Option<Dim>| d.as_ref().map(|d| d.map_symbols(f));
                let shape = s.shape.as_ref().map(|shape| shape.iter().map(&mut size).collect());
                Fact::Sequence(SequenceFact { dtype: s.dtype, shape })
            }
            Fact::Optional(inner) => Fact::Optional(Box::new(inner.map_symbols(f))),
        }
    }
}

impl fmt::Display for TensorFact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.dtype, Dim::join(&self.shape))?;
        if let MemoryFormat::Blocked { axis, block } = self.format {
            write!(f, "/block{block}@{axis}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for TensorFact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What is known of a sequence of tensors before it exists.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct SequenceFact {
    /// Element type of all its tensors.
    pub dtype: DType,
    /// The sizes that all its tensors share, `None` for an axis on which they differ; `None` as a whole while no tensor
    /// is known of.
    pub shape: Option<SmallVec<[Option<Dim>; 4]>>,
}

impl SequenceFact {
    /// What is true of this sequence and of `other`, which may be the same at another time.
    ///
    /// # Errors
    /// When dtypes or ranks differ.
    pub fn join(&self, other: &SequenceFact) -> Result<SequenceFact> {
        if self.dtype != other.dtype {
            return Err(Error::dtype(format!("a sequence cannot hold both {} and {}", self.dtype, other.dtype)));
        }
        let shape = match (&self.shape, &other.shape) {
            (Some(a), Some(b)) if a.len() != b.len() => {
                return Err(Error::unsupported(format!("a sequence of tensors of ranks {} and {}", a.len(), b.len())));
            }
            (Some(a), Some(b)) => Some(a.iter().zip(b).map(|(x, y)| x.clone().filter(|_| x == y)).collect()),
            (Some(a), None) | (None, Some(a)) => Some(a.iter().map(|_| None).collect()),
            (None, None) => None,
        };
        Ok(SequenceFact { dtype: self.dtype, shape })
    }
}

/// What is known of a value before it exists.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Fact {
    /// A tensor.
    Tensor(TensorFact),
    /// A sequence of tensors.
    Sequence(SequenceFact),
    /// A value that may be absent.
    Optional(Box<Fact>),
}

impl Fact {
    /// A tensor fact.
    pub fn tensor(dtype: DType, shape: impl IntoIterator<Item = Dim>) -> Fact {
        Fact::Tensor(TensorFact::new(dtype, shape))
    }

    /// A tensor fact with fixed sizes.
    pub fn fixed(dtype: DType, shape: &[usize]) -> Fact {
        Fact::Tensor(TensorFact::fixed(dtype, shape))
    }

    /// A sequence of tensors of which only the dtype is known.
    pub fn sequence(dtype: DType) -> Fact {
        Fact::Sequence(SequenceFact { dtype, shape: None })
    }

    /// The sequence fact.
    ///
    /// # Errors
    /// [`lampyr_base::ErrorKind::DType`] when this is not a sequence.
    pub fn as_sequence(&self) -> Result<&SequenceFact> {
        match self {
            Fact::Sequence(s) => Ok(s),
            other => Err(Error::dtype(format!("got {other} where a sequence is needed"))),
        }
    }

    /// The tensor fact.
    ///
    /// # Errors
    /// [`lampyr_base::ErrorKind::DType`] when this is not a tensor.
    pub fn as_tensor(&self) -> Result<&TensorFact> {
        match self {
            Fact::Tensor(t) => Ok(t),
            other => Err(Error::dtype(format!("got {other} where a tensor is needed"))),
        }
    }

    /// The element type of a tensor or sequence.
    pub fn dtype(&self) -> DType {
        match self {
            Fact::Tensor(t) => t.dtype,
            Fact::Sequence(s) => s.dtype,
            Fact::Optional(inner) => inner.dtype(),
        }
    }
}

impl From<TensorFact> for Fact {
    fn from(t: TensorFact) -> Fact {
        Fact::Tensor(t)
    }
}

impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fact::Tensor(t) => write!(f, "{t}"),
            Fact::Sequence(SequenceFact { dtype, shape: None }) => write!(f, "sequence({dtype})"),
            Fact::Sequence(SequenceFact { dtype, shape: Some(shape) }) => {
                let size = |d: &Option<Dim>| d.as_ref().map_or("?".to_string(), Dim::to_string);
                write!(f, "sequence({dtype}[{}])", shape.iter().map(size).collect::<Vec<_>>().join(", "))
            }
            Fact::Optional(inner) => write!(f, "optional({inner})"),
        }
    }
}

impl fmt::Debug for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
