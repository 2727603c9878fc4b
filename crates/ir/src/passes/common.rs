use std::collections::{HashMap, HashSet};

use lampyr_base::{DType, Result};
use smallvec::SmallVec;

use crate::{Class, Graph, HostTensor, OpRef, Patch, Source, ValueId};

/// Type, shape, first and last bytes of a constant.
type Ends<'g> = (DType, &'g [usize], &'g [u8], &'g [u8]);

/// The constants met so far, by what is cheap to compare.
#[derive(Default)]
struct Twins<'g>(HashMap<Ends<'g>, Vec<(ValueId, &'g HostTensor)>>);

impl<'g> Twins<'g> {
    /// The first constant that equals `t`.
    fn first(&mut self, v: ValueId, t: &'g HostTensor) -> ValueId {
        const END: usize = 16;
        let bytes = t.bytes();
        let end = END.min(bytes.len());
        let key = (t.dtype(), t.shape(), &bytes[..end], &bytes[bytes.len() - end..]);
        let same = self.0.entry(key).or_default();
        let equal = |o: &HostTensor| std::ptr::eq(o.bytes(), bytes) || o.bytes() == bytes;
        if let Some((first, _)) = same.iter().find(|(_, o)| equal(o)) {
            return *first;
        }
        same.push((v, t));
        v
    }
}

/// An op with its inputs.
type Call = (OpRef, SmallVec<[ValueId; 3]>);

/// Makes equal constants, and nodes with equal ops and equal inputs, one; the number of nodes that went. Ops that are not deterministic stay.
pub fn common_subexpressions(graph: &mut Graph) -> Result<usize> {
    let mut canonical: HashMap<ValueId, ValueId> = HashMap::new();
    let mut constants = Twins::default();
    let mut seen: HashMap<Call, SmallVec<[ValueId; 2]>> = HashMap::new();
    let outputs: HashSet<ValueId> = graph.outputs().iter().copied().collect();
    let mut patch = Patch::new("common subexpressions");
    let (mut found, mut merged) = (0, 0);
    for id in graph.order()? {
        let node = graph.node(id)?;
        let mut inputs: SmallVec<[ValueId; 3]> = SmallVec::new();
        for v in &node.inputs {
            let same = match (canonical.get(v), &graph.value(*v).source) {
                (Some(same), _) => *same,
                (None, Source::Constant(t)) => {
                    let same = constants.first(*v, t);
                    canonical.insert(*v, same);
                    if same != *v {
                        let var = patch.tap(graph, same)?;
                        patch.replace(*v, &var)?;
                        merged += 1;
                    }
                    same
                }
                _ => *v,
            };
            inputs.push(same);
        }
        if !node.op.deterministic() || node.op.class() == Class::Control {
            continue;
        }
        match seen.entry((node.op.clone(), inputs)) {
            std::collections::hash_map::Entry::Vacant(slot) => {
                slot.insert(node.outputs.clone());
            }
            std::collections::hash_map::Entry::Occupied(first) => {
                // Two outputs of the graph stay two values: each has its name.
                if node.outputs.iter().any(|v| outputs.contains(v)) {
                    continue;
                }
                for (old, new) in node.outputs.iter().zip(first.get()) {
                    canonical.insert(*old, *new);
                    let var = patch.tap(graph, *new)?;
                    patch.replace(*old, &var)?;
                }
                found += 1;
            }
        }
    }
    if found + merged > 0 {
        graph.apply(patch)?;
    }
    Ok(found)
}
