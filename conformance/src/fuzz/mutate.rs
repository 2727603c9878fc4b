//! Changes of models that keep them readable as protobuf.

use lampyr_ir::case::SplitMix;
use lampyr_onnx::pb::{
    AttributeProto, Dimension, DimensionValue, GraphProto, ModelProto, NodeProto, TensorProto, TensorShapeProto,
    TypeValue, ValueInfoProto,
};
use lampyr_ops::registry;

const NUMBERS: [i64; 22] = [
    0,
    1,
    -1,
    2,
    -2,
    3,
    5,
    7,
    8,
    16,
    64,
    127,
    255,
    -128,
    1 << 16,
    i32::MAX as i64,
    i32::MIN as i64,
    1 << 40,
    1 << 60,
    i64::MAX,
    i64::MIN,
    i64::MAX - 1,
];
const FLOATS: [f32; 9] = [0.0, -0.0, 1.0, -1.5, 1e30, f32::MIN_POSITIVE, f32::INFINITY, f32::NEG_INFINITY, f32::NAN];
const WORDS: [&str; 10] =
    ["", "NOTSET", "SAME_UPPER", "VALID", "linear", "cubic", "reflect", "none", "bidirectional", "\u{1f40c}"];

fn below(rng: &mut SplitMix, n: usize) -> usize {
    (rng.next_u64() % n.max(1) as u64) as usize
}

fn pick<'a, T>(rng: &mut SplitMix, all: &'a mut [T]) -> Option<&'a mut T> {
    let at = below(rng, all.len());
    all.get_mut(at)
}

fn number(rng: &mut SplitMix) -> i64 {
    NUMBERS[below(rng, NUMBERS.len())]
}

/// One change somewhere in the model.
pub fn structure(model: &mut ModelProto, corpus: &[ModelProto], rng: &mut SplitMix) {
    match below(rng, 24) {
        0 => {
            if let Some(set) = pick(rng, &mut model.opset_import) {
                set.version = [7, 9, 11, 13, 18, 21, 23, 0, -1, i64::MAX][below(rng, 10)];
            }
        }
        1 => {
            if let Some(function) = pick(rng, &mut model.functions) {
                change(rng, &mut function.node, &[]);
            }
        }
        2 => {
            let other = &corpus[below(rng, corpus.len())];
            if let (Some(to), Some(from)) = (&mut model.graph, &other.graph) {
                splice(to, from, rng);
            }
        }
        _ => {
            if let Some(g) = &mut model.graph {
                graph(g, rng);
            }
        }
    }
}

/// Appends another model's graph, its inputs taken from here.
fn splice(to: &mut GraphProto, from: &GraphProto, rng: &mut SplitMix) {
    let names = names(to);
    let Some(name) = names.get(below(rng, names.len())) else { return };
    let renamed = |n: &String| format!("{n}_");
    for node in &from.node {
        let mut node = node.clone();
        for input in node.input.iter_mut().filter(|n| !n.is_empty()) {
            let own = from.input.iter().any(|i| i.name == *input);
            *input = if own { name.clone() } else { renamed(input) };
        }
        node.output.iter_mut().filter(|n| !n.is_empty()).for_each(|n| *n = renamed(n));
        to.node.push(node);
    }
    to.initializer.extend(from.initializer.iter().map(|t| TensorProto { name: renamed(&t.name), ..t.clone() }));
    to.output.extend(from.output.iter().map(|o| ValueInfoProto { name: renamed(&o.name), ..o.clone() }));
}

fn names(graph: &GraphProto) -> Vec<String> {
    let inputs = graph.input.iter().map(|i| &i.name);
    let made = graph.node.iter().flat_map(|n| &n.output).filter(|n| !n.is_empty());
    inputs.chain(graph.initializer.iter().map(|t| &t.name)).chain(made).cloned().collect()
}

fn graph(g: &mut GraphProto, rng: &mut SplitMix) {
    let names = names(g);
    match below(rng, 16) {
        0..=6 => change(rng, &mut g.node, &names),
        7..=8 => {
            if let Some(t) = pick(rng, &mut g.initializer) {
                tensor(t, rng);
            }
        }
        9..=11 => {
            if let Some(info) = pick(rng, &mut g.input) {
                declared(info, rng);
            }
        }
        12 => {
            if let Some(info) = pick(rng, &mut g.output) {
                declared(info, rng);
            }
        }
        13 => {
            let at = below(rng, g.output.len());
            match below(rng, 3) {
                0 if at < g.output.len() => drop(g.output.remove(at)),
                1 if !names.is_empty() => {
                    let name = names[below(rng, names.len())].clone();
                    g.output.push(ValueInfoProto { name, ..ValueInfoProto::default() });
                }
                _ => {
                    if let Some(o) = g.output.get(at).cloned() {
                        g.output.push(o);
                    }
                }
            }
        }
        14 => {
            // An input gets a value in the file, or loses it.
            if g.initializer.is_empty() || rng.next_u64().is_multiple_of(2) {
                if let Some(name) = g.input.get(below(rng, g.input.len())).map(|i| i.name.clone()) {
                    let data = vec![1.0; below(rng, 5)];
                    let dims = vec![data.len() as i64];
                    g.initializer.push(TensorProto {
                        name,
                        dims,
                        data_type: 1,
                        float_data: data,
                        ..Default::default()
                    });
                }
            } else {
                let t = g.initializer.remove(below(rng, g.initializer.len()));
                g.input.push(ValueInfoProto { name: t.name, ..ValueInfoProto::default() });
            }
        }
        _ => {
            if let Some(node) = pick(rng, &mut g.node)
                && let Some(body) = node.attribute.iter_mut().find_map(|a| a.g.as_mut())
            {
                graph(body, rng);
            }
        }
    }
}

fn change(rng: &mut SplitMix, nodes: &mut Vec<NodeProto>, names: &[String]) {
    let at = below(rng, nodes.len());
    match below(rng, 12) {
        0 if !nodes.is_empty() => drop(nodes.remove(at)),
        1 => {
            if let Some(node) = nodes.get(at) {
                let mut copy = node.clone();
                copy.output.iter_mut().for_each(|o| o.push('\''));
                nodes.push(copy);
            }
        }
        2 => {
            let all = registry::onnx_operators();
            if let Some(node) = nodes.get_mut(at) {
                node.op_type = all[below(rng, all.len())].to_string();
            }
        }
        3..=4 => {
            if let Some(node) = nodes.get_mut(at) {
                wire(rng, node, names);
            }
        }
        _ => {
            if let Some(node) = nodes.get_mut(at) {
                attribute(rng, node);
            }
        }
    }
}

fn wire(rng: &mut SplitMix, node: &mut NodeProto, names: &[String]) {
    let name = || names.first().cloned().unwrap_or_default();
    let other = names.get(below(rng, names.len())).cloned().unwrap_or_else(name);
    match below(rng, 6) {
        0 => drop(node.input.pop()),
        1 => node.input.push(other),
        2 => {
            if let Some(input) = pick(rng, &mut node.input) {
                input.clear();
            }
        }
        3 => drop(node.output.pop()),
        _ => {
            if let Some(input) = pick(rng, &mut node.input) {
                *input = other;
            }
        }
    }
}

fn attribute(rng: &mut SplitMix, node: &mut NodeProto) {
    let at = below(rng, node.attribute.len());
    if below(rng, 10) == 0 && !node.attribute.is_empty() {
        node.attribute.remove(at);
        return;
    }
    if node.attribute.is_empty() || below(rng, 10) == 0 {
        let name =
            ["axis", "axes", "pads", "kernel_shape", "strides", "group", "keepdims", "perm", "to", "alpha", "mode"];
        let name = name[below(rng, name.len())].to_string();
        let value = match below(rng, 3) {
            0 => AttributeProto { i: Some(number(rng)), r#type: Some(2), ..AttributeProto::default() },
            1 => AttributeProto { ints: ints(rng), r#type: Some(7), ..AttributeProto::default() },
            _ => AttributeProto {
                f: Some(FLOATS[below(rng, FLOATS.len())]),
                r#type: Some(1),
                ..AttributeProto::default()
            },
        };
        node.attribute.push(AttributeProto { name, ..value });
        return;
    }
    let Some(a) = node.attribute.get_mut(at) else { return };
    if a.i.is_some() {
        a.i = Some(number(rng));
    } else if a.f.is_some() {
        a.f = Some(FLOATS[below(rng, FLOATS.len())]);
    } else if a.s.is_some() {
        a.s = Some(WORDS[below(rng, WORDS.len())].as_bytes().to_vec().into());
    } else if !a.ints.is_empty() {
        match below(rng, 4) {
            0 => a.ints = ints(rng),
            1 => drop(a.ints.pop()),
            _ => {
                let n = number(rng);
                if let Some(slot) = pick(rng, &mut a.ints) {
                    *slot = n;
                }
            }
        }
    } else if let Some(t) = &mut a.t {
        tensor(t, rng);
    } else if let Some(g) = &mut a.g {
        graph(g, rng);
    } else {
        a.r#type = Some(below(rng, 15) as i32);
    }
}

fn ints(rng: &mut SplitMix) -> Vec<i64> {
    (0..below(rng, 9)).map(|_| number(rng)).collect()
}

fn tensor(t: &mut TensorProto, rng: &mut SplitMix) {
    match below(rng, 8) {
        0 => t.data_type = below(rng, 30) as i32,
        1 => t.dims.push(number(rng)),
        2 => drop(t.dims.pop()),
        3 => {
            let n = number(rng);
            if let Some(d) = pick(rng, &mut t.dims) {
                *d = n;
            }
        }
        4 => t.raw_data = Some(vec![0xff; below(rng, 40)].into()),
        _ => {
            // Other elements of the same length: shapes, axes and indices become wild.
            if let Some(raw) = &t.raw_data {
                let mut bytes = raw.to_vec();
                if bytes.len() >= 8 && bytes.len().is_multiple_of(8) {
                    let at = 8 * below(rng, bytes.len() / 8);
                    bytes[at..at + 8].copy_from_slice(&number(rng).to_le_bytes());
                } else if !bytes.is_empty() {
                    let at = below(rng, bytes.len());
                    bytes[at] = rng.next_u64() as u8;
                }
                t.raw_data = Some(bytes.into());
            } else if let Some(v) = pick(rng, &mut t.float_data) {
                *v = FLOATS[below(rng, FLOATS.len())];
            }
        }
    }
}

fn declared(info: &mut ValueInfoProto, rng: &mut SplitMix) {
    let Some(TypeValue::TensorType(t)) = info.r#type.as_mut().and_then(|t| t.value.as_mut()) else {
        info.r#type = None;
        return;
    };
    let named = |rng: &mut SplitMix| DimensionValue::DimParam(["n", "m", "", "a+b"][below(rng, 4)].to_string());
    let value = if below(rng, 3) == 0 { named(rng) } else { DimensionValue::DimValue(number(rng)) };
    let shape = t.shape.get_or_insert_with(TensorShapeProto::default);
    match below(rng, 8) {
        0 => t.elem_type = below(rng, 30) as i32,
        1 => t.shape = None,
        2 => shape.dim.push(Dimension { value: Some(value) }),
        3 => drop(shape.dim.pop()),
        _ => {
            if let Some(d) = pick(rng, &mut shape.dim) {
                d.value = Some(value);
            }
        }
    }
}

/// Changes that know nothing: flipped bits, a missing tail, a repeated part.
pub fn bytes(bytes: &mut Vec<u8>, rng: &mut SplitMix) {
    if bytes.is_empty() {
        return;
    }
    match below(rng, 4) {
        0 => bytes.truncate(below(rng, bytes.len())),
        1 => {
            let (from, to) = (below(rng, bytes.len()), below(rng, bytes.len()));
            let part = bytes[from.min(to)..from.max(to)].to_vec();
            let at = below(rng, bytes.len());
            bytes.splice(at..at, part);
        }
        _ => {
            for _ in 0..1 + below(rng, 3) {
                let at = below(rng, bytes.len());
                bytes[at] ^= 1 << below(rng, 8);
            }
        }
    }
}
