//! Layer and root-mean-square normalisation out of means, squares and roots.

use lampyr_base::Result;
use lampyr_ir::{Graph, Node, NodeId, Patch, Rewrite, ValueId, Var, Wires};

use crate::build::{Add, Mul, layer_norm, rms_norm};
use crate::patterns::{difference, has_sizes, over_root, plus_number, reduced, square, trailing};

/// A normalised value without its scale.
struct Core {
    x: ValueId,
    axis: usize,
    epsilon: f64,
    nodes: Vec<NodeId>,
}

/// `x` and the axes over which `mean` is its mean.
fn mean_of(w: &Wires, mean: ValueId) -> Option<(ValueId, Vec<usize>, NodeId)> {
    reduced(w, mean, "reduce_mean")
}

/// `d / sqrt(mean(d^2) + epsilon)`: `d`, the axes, the rest.
fn over_mean_square(w: &Wires, v: ValueId) -> Option<(ValueId, Vec<usize>, f64, Vec<NodeId>)> {
    let (d, sum, mut nodes) = over_root(w, v)?;
    let (epsilon, mean, add) = plus_number(w, sum)?;
    let (squared, axes, reduce) = mean_of(w, mean)?;
    let (base, power) = square(w, squared)?;
    nodes.extend([add, reduce, power]);
    let same = base == d
        || match (difference(w, base), difference(w, d)) {
            (Some((a, m, other)), Some((b, n, _))) if a == b && m == n => {
                nodes.push(other);
                true
            }
            _ => false,
        };
    same.then_some((d, axes, epsilon, nodes))
}

fn layer_core(w: &Wires, v: ValueId) -> Option<Core> {
    let (d, axes, epsilon, mut nodes) = over_mean_square(w, v)?;
    let (x, mean, sub) = difference(w, d)?;
    let (of, over, reduce) = mean_of(w, mean)?;
    nodes.extend([sub, reduce]);
    let axis = trailing(&axes, w.shape(x)?.len())?;
    (of == x && over == axes).then_some(Core { x, axis, epsilon, nodes })
}

fn rms_core(w: &Wires, v: ValueId) -> Option<Core> {
    let (x, axes, epsilon, nodes) = over_mean_square(w, v)?;
    let centred = difference(w, x).and_then(|(of, mean, _)| Some(mean_of(w, mean)?.0 == of));
    let axis = trailing(&axes, w.shape(x)?.len())?;
    (centred != Some(true)).then_some(Core { x, axis, epsilon, nodes })
}

/// A core in `a` or `b` of a node with two operands, and the other operand, which has the sizes of the normalised axes.
fn with(
    w: &Wires,
    (id, node): (NodeId, &Node),
    core: &dyn Fn(ValueId) -> Option<(Core, Option<ValueId>)>,
) -> Option<(Core, Option<ValueId>, ValueId)> {
    w.pairs(node).into_iter().flatten().find_map(|(a, b)| {
        let (mut core, inner) = core(a)?;
        let sizes = w.shape(core.x)?.get(core.axis..)?;
        core.nodes.push(id);
        has_sizes(w, b, sizes).then_some((core, inner, b))
    })
}

/// A core times a scale.
fn scaled(w: &Wires, v: ValueId, core: &dyn Fn(ValueId) -> Option<Core>) -> Option<(Core, Option<ValueId>)> {
    let (id, node, _) = w.op::<Mul>(v)?;
    let (core, _, scale) = with(w, (id, node), &|a| Some((core(a)?, None)))?;
    Some((core, Some(scale)))
}

fn tap(patch: &mut Patch, graph: &Graph, v: Option<ValueId>) -> Result<Option<Var>> {
    v.map(|v| patch.tap(graph, v)).transpose()
}

/// `(x - mean) / sqrt(variance + epsilon)`, with scale and bias where they follow.
pub(crate) fn layer(w: &Wires, id: NodeId, patch: &mut Patch) -> Result<Rewrite> {
    let graph = w.graph();
    let node = graph.node(id)?;
    let Some(result) = node.outputs.first().copied() else { return Ok(Rewrite::No) };
    let core = |v: ValueId| layer_core(w, v);
    let times = |v: ValueId| scaled(w, v, &core);
    let found = if node.op.downcast::<Add>().is_some() {
        with(w, (id, node), &|a| times(a).or_else(|| Some((core(a)?, None)))).map(|(c, s, b)| (c, s, Some(b)))
    } else {
        times(result).or_else(|| Some((core(result)?, None))).map(|(c, s)| (c, s, None))
    };
    let Some((core, scale, bias)) = found else { return Ok(Rewrite::No) };
    if !w.closed(&core.nodes, result) {
        return Ok(Rewrite::Refused(core.nodes, "a value inside is read elsewhere"));
    }
    let x = patch.tap(graph, core.x)?;
    let (scale, bias) = (tap(patch, graph, scale)?, tap(patch, graph, bias)?);
    let y = layer_norm(patch, &x, scale.as_ref(), bias.as_ref(), core.axis as i64, core.epsilon)?;
    patch.replace(result, &y)?;
    Ok(Rewrite::Done(core.nodes))
}

/// `x / sqrt(mean(x^2) + epsilon)`, with the scale where it follows.
pub(crate) fn rms(w: &Wires, id: NodeId, patch: &mut Patch) -> Result<Rewrite> {
    let graph = w.graph();
    let Some(result) = graph.node(id)?.outputs.first().copied() else { return Ok(Rewrite::No) };
    let core = |v: ValueId| rms_core(w, v);
    let found = scaled(w, result, &core).or_else(|| Some((core(result)?, None)));
    let Some((core, scale)) = found else { return Ok(Rewrite::No) };
    if !w.closed(&core.nodes, result) {
        return Ok(Rewrite::Refused(core.nodes, "a value inside is read elsewhere"));
    }
    let x = patch.tap(graph, core.x)?;
    let scale = tap(patch, graph, scale)?;
    let y = rms_norm(patch, &x, scale.as_ref(), core.axis as i64, core.epsilon)?;
    patch.replace(result, &y)?;
    Ok(Rewrite::Done(core.nodes))
}
