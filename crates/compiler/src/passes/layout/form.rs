//! What ops become when images have the channels last.

use lampyr_base::Dim;
use lampyr_ir::{Class, Graph, Node, OpRef, ValueId, Wires};
use lampyr_ops::build::*;
use lampyr_ops::channels_last::{to_first, to_last};
use lampyr_ops::common;

/// Single elements change places where the plain shuffle moves whole planes.
const SHUFFLED: f64 = 8.0;

/// How an operand is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// As an image with the channels last.
    Image,
    /// Broadcast against images of this rank.
    Spread(usize),
    /// As it is.
    Plain,
}

/// What is made of them.
#[derive(Clone, Debug)]
pub enum Make {
    /// This op's results.
    Op(OpRef),
    /// The operand itself.
    Operand,
    /// The channels, seen as a matrix with this many rows, transposed.
    Shuffle(Dim),
}

/// A node's form for images with the channels last.
#[derive(Clone, Debug)]
pub struct Form {
    pub make: Make,
    pub inputs: Vec<(ValueId, Use)>,
    /// Whether the results are images too.
    pub image: bool,
    /// Whether the node is of this form already.
    pub own: bool,
    /// How many times the bytes of its results it moves more than the plain node: channels side by side lie apart when
    /// joined or cut.
    pub copies: f64,
    /// Nodes that it takes the place of besides its own.
    pub absorbed: Vec<lampyr_ir::NodeId>,
}

/// The axis of an image with the channels last that is axis `axis` of one with the channels second.
fn moved(axis: usize, rank: usize) -> Option<usize> {
    to_last(rank).iter().position(|&a| a == axis)
}

fn moved_axes(axes: &[i64], rank: usize) -> Option<Vec<i64>> {
    let moved = |&a: &i64| Some(moved(common::axis(a, rank).ok()?, rank)? as i64);
    axes.iter().map(moved).collect()
}

fn shape(graph: &Graph, v: ValueId) -> Option<&[Dim]> {
    graph.fact(v).as_tensor().ok().map(|t| &t.shape[..])
}

/// The form of `node`, if it has one.
pub fn of(w: &Wires, node: &Node) -> Option<Form> {
    let graph = w.graph();
    let x = *node.inputs.first()?;
    let y = *node.outputs.first()?;
    let rank = shape(graph, x)?.len();
    let form = |op: OpRef, image: bool| {
        let inputs = node.inputs.iter().map(|v| (*v, Use::Image)).collect();
        (rank >= 3).then_some(Form { make: Make::Op(op), inputs, image, own: false, copies: 0.0, absorbed: Vec::new() })
    };
    let op = &node.op;
    if let Some(c) = op.downcast::<Conv>() {
        if c.channels_last {
            return None;
        }
        let mut made = form(OpRef::new(c.to_channels_last()), true)?;
        made.inputs.iter_mut().skip(1).for_each(|i| i.1 = Use::Plain);
        return Some(made);
    }
    if op.class() == Class::Elementwise && node.outputs.len() == 1 {
        return elementwise(graph, node, y);
    }
    if let Some(p) = op.downcast::<MaxPool>() {
        let plain = !p.channels_last && !p.return_indices;
        let unread = node.outputs[1..].iter().all(|v| w.readers(*v).is_empty() && !w.is_kept(*v));
        return form(OpRef::new(MaxPool { channels_last: true, ..p.clone() }), true).filter(|_| plain && unread);
    }
    if let Some(p) = op.downcast::<AvgPool>() {
        return form(OpRef::new(AvgPool { channels_last: true, ..p.clone() }), true).filter(|_| !p.channels_last);
    }
    if let Some(p) = op.downcast::<GlobalAveragePool>() {
        return form(OpRef::new(GlobalAveragePool { channels_last: true }), true).filter(|_| !p.channels_last);
    }
    if let Some(c) = op.downcast::<Concat>() {
        let axis = moved_axes(&[c.axis], rank)?[0];
        let copies = if axis + 1 == rank as i64 { 1.0 } else { 0.0 };
        return form(OpRef::new(Concat { axis }), true).map(|f| Form { copies, ..f });
    }
    if let Some(s) = op.downcast::<Split>() {
        let axis = moved_axes(&[s.axis], rank)?[0];
        let copies = if axis + 1 == rank as i64 { 1.0 } else { 0.0 };
        return form(OpRef::new(Split { axis, ..s.clone() }), true).map(|f| Form { copies, ..f });
    }
    if let Some(s) = op.downcast::<Slice>() {
        let axes = moved_axes(&s.axes, rank)?;
        let copies = if axes.contains(&(rank as i64 - 1)) { 1.0 } else { 0.0 };
        return form(OpRef::new(Slice { axes, ..s.clone() }), true).map(|f| Form { copies, ..f });
    }
    if let Some(s) = op.downcast::<Softmax>() {
        let axis = moved_axes(&[s.axis], rank)?[0];
        return form(OpRef::new(Softmax { axis }), true);
    }
    if let Some(r) = op.downcast::<Resize>() {
        return form(OpRef::new(Resize { axes: moved_axes(&r.axes, rank)?, ..r.clone() }), true);
    }
    if let Some(p) = op.downcast::<Pad>() {
        if p.begins.len() != rank || p.ends.len() != rank {
            return None;
        }
        let order = |list: &[Dim]| to_last(rank).into_iter().map(|a| list[a].clone()).collect();
        let moved = Pad { begins: order(&p.begins), ends: order(&p.ends), ..p.clone() };
        let mut made = form(OpRef::new(moved), true)?;
        made.inputs.iter_mut().skip(1).for_each(|i| i.1 = Use::Plain);
        return Some(made);
    }
    macro_rules! reductions {
        ($($ty:ident)*) => { $(
            if let Some(r) = op.downcast::<$ty>() {
                let axes = moved_axes(&r.axes, rank)?;
                let spatial = r.axes.iter().all(|&a| common::axis(a, rank).is_ok_and(|a| a > 1));
                let fits = r.keepdims || (!axes.is_empty() && spatial && r.axes.len() + 2 == rank);
                return form(OpRef::new($ty { axes, ..r.clone() }), r.keepdims).filter(|_| fits);
            }
        )* };
    }
    reductions! { ReduceMean ReduceSum ReduceMax }
    if let Some(t) = op.downcast::<Transpose>() {
        let perm: Vec<usize> = t.perm.iter().map(|&a| common::axis(a, rank)).collect::<Result<_, _>>().ok()?;
        let to = |image| Form {
            make: Make::Operand,
            inputs: vec![(x, if image { Use::Plain } else { Use::Image })],
            image,
            own: true,
            copies: 0.0,
            absorbed: Vec::new(),
        };
        return match () {
            () if rank < 3 => None,
            () if perm == to_last(rank) => Some(to(false)),
            () if perm == to_first(rank) => Some(to(true)),
            () => None,
        };
    }
    if let Some(r) = op.downcast::<Reshape>() {
        return flatten(graph, x, y, r).or_else(|| shuffle(w, node));
    }
    if op.downcast::<Squeeze>().is_some() {
        return flatten(graph, x, y, &Reshape { shape: shape(graph, y)?.to_vec() });
    }
    None
}

/// The form of an elementwise op.
fn elementwise(graph: &Graph, node: &Node, y: ValueId) -> Option<Form> {
    let rank = shape(graph, y)?.len();
    if rank < 3 {
        return None;
    }
    let mut inputs = Vec::with_capacity(node.inputs.len());
    for v in &node.inputs {
        let s = shape(graph, *v)?;
        let ones = s.iter().all(|d| d.known() == Some(1));
        inputs.push((
            *v,
            match s.len() {
                n if n == rank && graph.constant(*v).is_none() => Use::Image,
                _ if ones && s.len() < rank => Use::Plain,
                _ => Use::Spread(rank),
            },
        ));
    }
    inputs.iter().any(|(_, u)| *u == Use::Image).then_some(Form {
        make: Make::Op(node.op.clone()),
        inputs,
        image: true,
        own: false,
        copies: 0.0,
        absorbed: Vec::new(),
    })
}

/// A reshape of an image of one position to its channels.
fn flatten(graph: &Graph, x: ValueId, y: ValueId, op: &Reshape) -> Option<Form> {
    let (from, to) = (shape(graph, x)?, shape(graph, y)?);
    let single = from.len() >= 3 && from[2..].iter().all(|d| d.known() == Some(1));
    (single && to.len() == 2 && from[..2] == *to).then(|| Form {
        make: Make::Op(OpRef::new(op.clone())),
        inputs: vec![(x, Use::Image)],
        image: false,
        own: false,
        copies: 0.0,
        absorbed: Vec::new(),
    })
}

/// The last of the three nodes that shuffle channels: `[N, C, ..]` to `[N, g, C/g, ..]`, both exchanged, and back.
fn shuffle(w: &Wires, node: &Node) -> Option<Form> {
    let graph = w.graph();
    let (v, y) = (*node.inputs.first()?, *node.outputs.first()?);
    let (second, swap, t) = w.op::<Transpose>(v).filter(|_| w.read_once(v))?;
    let v = *swap.inputs.first()?;
    let (first, split, _) = w.op::<Reshape>(v).filter(|_| w.read_once(v))?;
    let x = *split.inputs.first()?;
    let (from, middle, to) = (shape(graph, x)?, shape(graph, v)?, shape(graph, y)?);
    let rank = from.len();
    let mut order: Vec<i64> = (0..=rank as i64).collect();
    order.swap(1, 2);
    let fits = rank >= 3
        && from == to
        && middle.len() == rank + 1
        && middle[0] == from[0]
        && middle[3..] == from[2..]
        && t.perm == order;
    fits.then(|| Form {
        make: Make::Shuffle(middle[1].clone()),
        inputs: vec![(x, Use::Image)],
        image: true,
        own: false,
        copies: SHUFFLED,
        absorbed: vec![first, second],
    })
}
