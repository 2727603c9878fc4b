use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

/// Result of everything in Lampyr that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// One thing a model needs and this build cannot do; an [`ErrorKind::Unsupported`] error lists all of them at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// What is missing: an operator with its domain and version, an attribute, a data type.
    pub what: String,
    /// Names of the nodes that need it.
    pub nodes: Vec<String>,
}

/// What went wrong, in the classes that callers tell apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// Shapes do not fit together (Python: `ShapeError(ValueError)`).
    Shape,
    /// A data type is not accepted (Python: `DTypeError(TypeError)`).
    DType,
    /// An argument has a value outside its domain (Python: `InvalidValueError(ValueError)`).
    Value,
    /// An index is out of range (Python: `OutOfRangeError(IndexError)`).
    Index,
    /// A name, input or attribute that is needed is not there (Python: `NotFoundError(KeyError)`).
    NotFound,
    /// Everything a model needs and this build lacks (Python: `UnsupportedError(NotImplementedError)`).
    Unsupported(Vec<Missing>),
    /// Memory limit reached or the system has none left (Python: `OutOfMemoryError(MemoryError)`).
    OutOfMemory {
        /// Bytes asked for.
        requested: usize,
        /// Bytes in use at that moment.
        active: usize,
        /// The cap, where one is set.
        limit: Option<usize>,
    },
    /// A file or byte stream is not what it should be (Python: `FormatError(ValueError)`).
    Format,
    /// A graph breaks one of its rules (Python: `GraphError(RuntimeError)`).
    Graph,
    /// Differentiation is impossible here (Python: `AutogradError(RuntimeError)`).
    Autograd,
    /// A device or its driver failed or does not exist (Python: `DeviceError(RuntimeError)`).
    Device,
    /// Reading or writing a file failed (Python: `IoError(OSError)`).
    Io,
    /// A user's own callback failed (Python: the original exception, chained).
    User,
    /// A defect in Lampyr itself (Python: `InternalError(RuntimeError)`).
    Internal,
}

impl ErrorKind {
    /// Stable name of the class, the same in Rust and Python.
    pub fn name(&self) -> &'static str {
        match self {
            ErrorKind::Shape => "ShapeError",
            ErrorKind::DType => "DTypeError",
            ErrorKind::Value => "InvalidValueError",
            ErrorKind::Index => "OutOfRangeError",
            ErrorKind::NotFound => "NotFoundError",
            ErrorKind::Unsupported(_) => "UnsupportedError",
            ErrorKind::OutOfMemory { .. } => "OutOfMemoryError",
            ErrorKind::Format => "FormatError",
            ErrorKind::Graph => "GraphError",
            ErrorKind::Autograd => "AutogradError",
            ErrorKind::Device => "DeviceError",
            ErrorKind::Io => "IoError",
            ErrorKind::User => "UserError",
            ErrorKind::Internal => "InternalError",
        }
    }
}

#[derive(Clone, Debug)]
struct Inner {
    kind: ErrorKind,
    message: String,
    op: Option<String>,
    node: Option<String>,
    inputs: Vec<String>,
    expected: Option<String>,
    help: Option<String>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

/// The one error type of Lampyr: a class, a sentence, and the context a reader needs to act on it.
#[derive(Clone, Debug)]
pub struct Error(Box<Inner>);

macro_rules! constructors {
    ($($(#[$doc:meta])* $name:ident => $kind:ident;)*) => {
        impl Error { $($(#[$doc])* pub fn $name(message: impl Into<String>) -> Error {
            Error::new(ErrorKind::$kind, message)
        })* }
    };
}

constructors! {
    /// Shapes do not fit together.
    shape => Shape;
    /// A data type is not accepted.
    dtype => DType;
    /// An argument value is outside its domain.
    value => Value;
    /// An index is out of range.
    index => Index;
    /// Something named is not there.
    not_found => NotFound;
    /// A file or byte stream is malformed.
    format => Format;
    /// A graph breaks a rule.
    graph => Graph;
    /// Differentiation is impossible here.
    autograd => Autograd;
    /// A device failed or is missing.
    device => Device;
    /// A defect in Lampyr.
    internal => Internal;
}

impl Error {
    /// An error of class `kind` with one sentence that says what happened.
    #[cold]
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Error {
        Error(Box::new(Inner {
            kind,
            message: message.into(),
            op: None,
            node: None,
            inputs: Vec::new(),
            expected: None,
            help: None,
            source: None,
        }))
    }

    /// One missing capability, for one node or none.
    pub fn unsupported(what: impl Into<String>) -> Error {
        let what = what.into();
        let message = format!("not supported: {what}");
        Error::new(ErrorKind::Unsupported(vec![Missing { what, nodes: Vec::new() }]), message)
    }

    /// Everything a model needs and this build lacks.
    pub fn unsupported_list(missing: Vec<Missing>) -> Error {
        let mut message = format!("{} thing(s) this model needs are not supported:", missing.len());
        for item in &missing {
            message.push_str("\n  - ");
            message.push_str(&item.what);
            if !item.nodes.is_empty() {
                let shown = item.nodes.iter().take(5).map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ");
                let more = item.nodes.len().saturating_sub(5);
                message.push_str(&format!(" (needed by {shown}"));
                message.push_str(&if more > 0 { format!(" and {more} more)") } else { ")".to_string() });
            }
        }
        Error::new(ErrorKind::Unsupported(missing), message)
    }

    /// An input/output failure on `path`.
    pub fn io(path: &std::path::Path, source: std::io::Error) -> Error {
        Error::new(ErrorKind::Io, format!("{}: {source}", path.display())).with_source(source)
    }

    /// A failure of a user's own callback.
    pub fn user(message: impl Into<String>, source: impl StdError + Send + Sync + 'static) -> Error {
        Error::new(ErrorKind::User, message).with_source(source)
    }

    /// The class of this error.
    pub fn kind(&self) -> &ErrorKind {
        &self.0.kind
    }

    /// The sentence that says what happened, without context.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The op that failed, if one did.
    pub fn op(&self) -> Option<&str> {
        self.0.op.as_deref()
    }

    /// The name of the graph node that failed, if one did.
    pub fn node(&self) -> Option<&str> {
        self.0.node.as_deref()
    }

    /// Shapes and dtypes of the inputs of the failed op.
    pub fn inputs(&self) -> &[String] {
        &self.0.inputs
    }

    /// What was expected.
    pub fn expected(&self) -> Option<&str> {
        self.0.expected.as_deref()
    }

    /// What the reader can do.
    pub fn help(&self) -> Option<&str> {
        self.0.help.as_deref()
    }

    /// Everything missing, of an unsupported error; empty otherwise.
    pub fn missing(&self) -> &[Missing] {
        match &self.0.kind {
            ErrorKind::Unsupported(list) => list,
            _ => &[],
        }
    }

    /// Names the op, unless an inner context named one already.
    pub fn with_op(mut self, op: &str) -> Error {
        self.0.op.get_or_insert_with(|| op.to_string());
        self
    }

    /// Names the node, unless an inner context named one already.
    pub fn with_node(mut self, node: &str) -> Error {
        self.0.node.get_or_insert_with(|| node.to_string());
        self
    }

    /// Adds what the op was given, one description (`float32[2, 3]`) per input.
    pub fn with_inputs<S: fmt::Display>(mut self, inputs: impl IntoIterator<Item = S>) -> Error {
        if self.0.inputs.is_empty() {
            self.0.inputs = inputs.into_iter().map(|s| s.to_string()).collect();
        }
        self
    }

    /// Says what was expected.
    pub fn with_expected(mut self, expected: impl Into<String>) -> Error {
        self.0.expected = Some(expected.into());
        self
    }

    /// Says what to do.
    pub fn with_help(mut self, help: impl Into<String>) -> Error {
        self.0.help = Some(help.into());
        self
    }

    /// Chains the cause.
    pub fn with_source(mut self, source: impl StdError + Send + Sync + 'static) -> Error {
        self.0.source = Some(Arc::new(source));
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &*self.0;
        if let Some(op) = &inner.op {
            write!(f, "{op}: ")?;
        }
        f.write_str(&inner.message)?;
        if let Some(node) = &inner.node {
            write!(f, "\n  node: `{node}`")?;
        }
        if !inner.inputs.is_empty() {
            write!(f, "\n  inputs: {}", inner.inputs.join(", "))?;
        }
        if let Some(expected) = &inner.expected {
            write!(f, "\n  expected: {expected}")?;
        }
        if let Some(help) = &inner.help {
            write!(f, "\n  help: {help}")?;
        }
        Ok(())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|e| e as &(dyn StdError + 'static))
    }
}

impl From<crate::alloc::AllocError> for Error {
    fn from(e: crate::alloc::AllocError) -> Error {
        let limit = match e.limit {
            Some(limit) => format!("the limit is {limit} bytes"),
            None => "no limit is set; the system refused".to_string(),
        };
        Error::new(
            ErrorKind::OutOfMemory { requested: e.requested, active: e.active, limit: e.limit },
            format!("cannot allocate {} bytes: {} bytes are in use and {limit}", e.requested, e.active),
        )
        .with_help("free tensors, raise the memory limit, or use a smaller batch")
    }
}

/// Adds context to a failing result without cost when it succeeds.
pub trait ResultExt<T> {
    /// Names the op.
    fn op(self, op: &str) -> Result<T>;
    /// Names the node.
    fn node(self, node: &str) -> Result<T>;
}

impl<T> ResultExt<T> for Result<T> {
    fn op(self, op: &str) -> Result<T> {
        self.map_err(|e| e.with_op(op))
    }
    fn node(self, node: &str) -> Result<T> {
        self.map_err(|e| e.with_node(node))
    }
}
