use std::collections::{HashMap, HashSet};

use lampyr_base::Result;
use smallvec::SmallVec;

use crate::{Class, Graph, HostTensor, OpRef, Patch, Source, ValueId};

/// Larger constants are compared by identity only.
const COMPARE_LIMIT: usize = 4096;

/// An op with its inputs.
type Call = (OpRef, SmallVec<[ValueId; 3]>);

/// Makes nodes with equal ops and equal inputs one; the number of nodes that went. Ops that are not deterministic stay.
pub fn common_subexpressions(graph: &mut Graph) -> Result<usize> {
    let mut canonical: HashMap<ValueId, ValueId> = HashMap::new();
    let mut constants: HashMap<HostTensor, ValueId> = HashMap::new();
    let mut seen: HashMap<Call, SmallVec<[ValueId; 2]>> = HashMap::new();
    let outputs: HashSet<ValueId> = graph.outputs().iter().copied().collect();
    let mut patch = Patch::new("common subexpressions");
    let mut found = 0;
    for id in graph.order()? {
        let node = graph.node(id)?;
        let mut inputs: SmallVec<[ValueId; 3]> = SmallVec::new();
        for v in &node.inputs {
            let same = match (canonical.get(v), &graph.value(*v).source) {
                (Some(same), _) => *same,
                (None, Source::Constant(t)) if t.bytes().len() <= COMPARE_LIMIT => {
                    let same = *constants.entry(t.clone()).or_insert(*v);
                    canonical.insert(*v, same);
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
    if found > 0 {
        graph.apply(patch)?;
    }
    Ok(found)
}
