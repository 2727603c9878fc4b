use std::any::Any;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use lampyr_base::{Bindings, DType, Error, Layout, Result};

use crate::attr::{AttrMap, AttrSpec, AttrValue};
use crate::case::Case;
use crate::onnx::{OnnxExport, OnnxMapping};
use crate::scalar::ScalarExpr;
use crate::{Builder, Fact, Facts, Graph, HostValue, NodeId, Patch, Saved, Var, Vars, Wires};

/// Index of an op in the registry; kernel tables are arrays over it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OpId(pub u16);

/// How many inputs an op takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arity {
    /// Fewest inputs.
    pub min: usize,
    /// Most inputs; `usize::MAX` for "any number".
    pub max: usize,
}

impl Arity {
    /// Exactly `n` inputs.
    pub const fn exactly(n: usize) -> Arity {
        Arity { min: n, max: n }
    }
    /// From `min` to `max` inputs.
    pub const fn between(min: usize, max: usize) -> Arity {
        Arity { min, max }
    }
    /// `min` or more inputs.
    pub const fn at_least(min: usize) -> Arity {
        Arity { min, max: usize::MAX }
    }
}

/// What a reduction does with the elements it meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReduceKind {
    /// Sum.
    Sum,
    /// Arithmetic mean.
    Mean,
    /// Largest; NaN wins.
    Max,
    /// Smallest; NaN wins.
    Min,
    /// Product.
    Prod,
}

/// The shape of an op's computation, which generic passes and kernels rely on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Output elements depend on the input elements at the same (broadcast) index: see [`Op::scalar`].
    Elementwise,
    /// Axes are folded away.
    Reduce(ReduceKind),
    /// Sums of products: matrix products and convolutions.
    Contraction,
    /// The output is the input under another layout: see [`Op::view`].
    View,
    /// Runs sub-graphs or works on sequences; has no kernel.
    Control,
    /// Anything else.
    Opaque,
}

/// How an op is differentiated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gradient {
    /// By [`Op::vjp`].
    Vjp,
    /// By the gradient of [`Op::decompose`].
    Decompose,
    /// Not differentiable, for the reason given.
    None(&'static str),
}

/// What a tape keeps for [`Op::vjp`]: bit `i` stands for input or output `i`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Saves {
    /// Inputs.
    pub inputs: u32,
    /// Outputs, hidden ones included.
    pub outputs: u32,
}

impl Saves {
    /// Everything.
    pub const ALL: Saves = Saves { inputs: u32::MAX, outputs: u32::MAX };
    /// Only shapes and dtypes, which are always there.
    pub const NOTHING: Saves = Saves { inputs: 0, outputs: 0 };
    /// All inputs.
    pub const INPUTS: Saves = Saves { inputs: u32::MAX, outputs: 0 };
    /// All outputs.
    pub const OUTPUTS: Saves = Saves { inputs: 0, outputs: u32::MAX };
}

/// How a PyTorch-like front end brings the inputs to common types before it calls a strict op.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promote {
    /// Types stay as they are.
    No,
    /// All inputs to their common type.
    Common,
    /// As `Common`, and integers to the default float type.
    Float,
    /// All inputs but the first (a condition) to their common type.
    Branches,
}

/// What automatic mixed precision does with an op.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Autocast {
    /// Runs in the type of its inputs.
    Keep,
    /// Runs in `float16` or `bfloat16`.
    Low,
    /// Runs in `float32`.
    Full,
}

/// Estimated work of one call.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// Arithmetic operations.
    pub flops: f64,
    /// Bytes read and written.
    pub bytes: f64,
}

/// What became of a rewrite at one node.
#[derive(Clone, Debug)]
pub enum Rewrite {
    /// The node is not where the rewrite begins.
    No,
    /// The rewrite begins here, but something forbids it: the nodes it looked at, and why.
    Refused(Vec<NodeId>, &'static str),
    /// New nodes and replacements are in the patch; these are the nodes that they stand for.
    Done(Vec<NodeId>),
}

/// A rewrite in the file of the op it makes: looks at one node and adds its change to a [`Patch`] that holds the changes
/// of other nodes already. Values that it replaces must not be among those that the new nodes read.
#[derive(Clone, Copy)]
pub struct Rule {
    /// Name in logs and reports.
    pub name: &'static str,
    /// Names of the ops at which it may begin.
    pub roots: &'static [&'static str],
    /// Whether it makes one op of several: reports name it, and it is left out when nothing is to be fused.
    pub recognises: bool,
    /// Looks at a node that is one of the roots.
    pub run: fn(&Wires, NodeId, &mut Patch) -> Result<Rewrite>,
}

/// What `#[derive(Attrs)]` writes: identity, attributes and copies of an op value.
pub trait OpAttrs: fmt::Debug + Send + Sync + Any {
    /// Registry index.
    fn id(&self) -> OpId;
    /// Name in the registry.
    fn name(&self) -> &'static str;
    /// Attributes by name, in declaration order.
    fn attrs(&self) -> Vec<(&'static str, AttrValue)>;
    /// A shared handle to an equal op.
    fn to_ref(&self) -> OpRef;
    /// This op with bound symbols in its attributes replaced; `None` when no attribute is symbolic.
    fn substitute(&self, bindings: &Bindings) -> Option<OpRef>;
    /// An op of the same type with other attributes; `None` when they do not fit or the op was made by a user.
    fn remake(&self, attrs: AttrMap) -> Option<OpRef>;
    /// For downcasts to the concrete op.
    fn as_any(&self) -> &dyn Any;
}

/// One operation with its attributes: everything that is true of it on every device.
///
/// Ops are pure: inputs are never changed. They are strict about types, as ONNX is; promotion happens in front ends.
pub trait Op: OpAttrs {
    /// How many inputs it takes.
    fn arity(&self) -> Arity;

    /// Shape of the computation.
    fn class(&self) -> Class;

    /// Types and (symbolic) shapes of all outputs, hidden ones included. Inputs have been counted against
    /// [`Op::arity`].
    ///
    /// # Errors
    /// When the inputs do not fit together.
    fn infer(&self, inputs: &[&Fact]) -> Result<Facts>;

    /// The scalar expression of an elementwise op for inputs of these types, which `infer` accepted.
    fn scalar(&self, _dtypes: &[DType]) -> Option<ScalarExpr> {
        None
    }

    /// Outputs after these many are hidden: made only when [`Op::vjp`] needs them. `None`: none is hidden.
    fn visible_outputs(&self) -> Option<usize> {
        None
    }

    /// The plain, slow definition on the host, written independently of all kernels. All outputs, hidden ones included.
    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>>;

    /// How the op is differentiated.
    fn gradient(&self) -> Gradient;

    /// What a tape must keep.
    fn saves(&self) -> Saves {
        match self.gradient() {
            Gradient::Vjp => Saves::ALL,
            Gradient::Decompose => Saves::INPUTS,
            Gradient::None(_) => Saves::NOTHING,
        }
    }

    /// What a tape must keep when only the gradients of the inputs in `needs` are wanted: a part of [`Op::saves`].
    fn saves_for(&self, _needs: &[bool]) -> Saves {
        self.saves()
    }

    /// Vector-Jacobian product, written with other ops. `grads[i]` is the gradient of output `i`, where one came;
    /// the result has one entry per input, `None` where `needs` is false or the gradient is zero. Gradients have the
    /// shape and dtype of their input.
    fn vjp(
        &self,
        _b: &mut dyn Builder,
        _saved: &Saved,
        _grads: &[Option<Var>],
        _needs: &[bool],
    ) -> Result<Vec<Option<Var>>> {
        Err(Error::autograd("this op has no gradient").with_op(self.name()))
    }

    /// The op written with others, where it can be; `None` where it is primitive.
    fn decompose(&self, _b: &mut dyn Builder, _inputs: &[Var]) -> Option<Result<Vars>> {
        None
    }

    /// Layout of the output over the storage of input 0, for view ops; `None` when a copy is needed.
    fn view(&self, _base: &Layout) -> Option<Layout> {
        None
    }

    /// For view ops: `base` with the elements that this view shows replaced by `new`.
    fn unview(&self, _b: &mut dyn Builder, _base: &Var, _new: &Var) -> Option<Result<Var>> {
        None
    }

    /// Estimated work. By default bytes in and out and one operation per output element.
    fn cost(&self, inputs: &[&Fact], outputs: &[Fact]) -> Cost {
        let size = |f: &Fact| match f {
            Fact::Tensor(t) => t.shape.iter().map(|d| d.known().unwrap_or(64).max(0) as f64).product::<f64>(),
            _ => 0.0,
        };
        Cost {
            flops: outputs.iter().map(size).sum(),
            bytes: inputs.iter().copied().chain(outputs).map(|f| size(f) * f.dtype().size() as f64).sum(),
        }
    }

    /// Sub-graphs that the op runs.
    fn bodies(&self) -> Vec<Arc<Graph>> {
        Vec::new()
    }

    /// The ONNX node that stands for this op, where there is one.
    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        None
    }

    /// Whether equal inputs give equal bits on every run.
    fn deterministic(&self) -> bool {
        true
    }
}

/// What is true of all values of an op type, known before one exists.
pub trait OpType: Op + Listed + Sized {
    /// Name in the registry: PyTorch's or ONNX's word in snake case.
    const NAME: &'static str;
    /// One sentence for the op table and stubs.
    const DOC: &'static str;
    /// Element types that the main input may have.
    const DTYPES: &'static [DType];
    /// Version of the meaning; a change of results raises it.
    const VERSION: u32 = 1;
    /// Promotion rule of front ends.
    const PROMOTE: Promote = Promote::No;
    /// Mixed-precision rule.
    const AUTOCAST: Autocast = Autocast::Keep;

    /// ONNX operators that this op implements.
    fn onnx() -> Vec<OnnxMapping> {
        Vec::new()
    }

    /// Rewrites that make this op out of others.
    fn rules() -> Vec<Rule> {
        Vec::new()
    }

    /// Test cases: data that every backend runs.
    fn cases() -> Vec<Case>;
}

/// Place in the registry, given by `ops!`.
pub trait Listed {
    /// Registry index.
    const ID: OpId;
    /// Folder of the op file.
    const FAMILY: &'static str;
}

/// One line of the registry.
#[derive(Clone)]
pub struct OpEntry {
    /// Registry index.
    pub id: OpId,
    /// Name.
    pub name: &'static str,
    /// Family (the folder of its file); `user` for ops registered at run time.
    pub family: &'static str,
    /// One sentence.
    pub doc: &'static str,
    /// Attributes.
    pub attrs: &'static [AttrSpec],
    /// Element types of the main input.
    pub dtypes: &'static [DType],
    /// Version of its meaning.
    pub version: u32,
    /// Promotion rule.
    pub promote: Promote,
    /// Mixed-precision rule.
    pub autocast: Autocast,
    /// ONNX operators it implements.
    pub onnx: fn() -> Vec<OnnxMapping>,
    /// Rewrites that name it.
    pub rules: fn() -> Vec<Rule>,
    /// Test cases.
    pub cases: fn() -> Vec<Case>,
    /// Makes an op from attributes.
    pub make: fn(AttrMap) -> Result<OpRef>,
}

impl fmt::Debug for OpEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OpEntry({}, {}/{})", self.id.0, self.family, self.name)
    }
}

/// A shared op: a static one without attributes, or a counted one.
#[derive(Clone)]
pub enum OpRef {
    /// An op without attributes.
    Static(&'static dyn Op),
    /// An op with attributes.
    Shared(Arc<dyn Op>),
}

impl OpRef {
    /// Shares `op`.
    pub fn new<T: Op>(op: T) -> OpRef {
        OpRef::Shared(Arc::new(op))
    }

    /// The concrete op, when it is a `T`.
    pub fn downcast<T: Op>(&self) -> Option<&T> {
        self.as_any().downcast_ref()
    }
}

impl std::ops::Deref for OpRef {
    type Target = dyn Op;
    fn deref(&self) -> &dyn Op {
        match self {
            OpRef::Static(op) => *op,
            OpRef::Shared(op) => &**op,
        }
    }
}

impl PartialEq for OpRef {
    fn eq(&self, other: &OpRef) -> bool {
        self.id() == other.id() && self.attrs() == other.attrs()
    }
}

impl Eq for OpRef {}

impl Hash for OpRef {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.id().hash(state);
        for (name, value) in self.attrs() {
            name.hash(state);
            value.hash(state);
        }
    }
}

impl fmt::Debug for OpRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

/// Counts the inputs and infers; the one way in which builders call [`Op::infer`], so that errors always carry context.
pub fn checked_infer(op: &dyn Op, inputs: &[&Fact]) -> Result<Facts> {
    let arity = op.arity();
    if inputs.len() < arity.min || inputs.len() > arity.max {
        let expected = match (arity.min, arity.max) {
            (a, b) if a == b => format!("{a} inputs"),
            (a, usize::MAX) => format!("at least {a} inputs"),
            (a, b) => format!("{a} to {b} inputs"),
        };
        return Err(Error::value(format!("got {} inputs", inputs.len())).with_expected(expected).with_op(op.name()));
    }
    op.infer(inputs).map_err(|e| e.with_op(op.name()).with_inputs(inputs))
}
