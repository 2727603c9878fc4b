//! Ops registered at run time.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use lampyr_base::{DType, Error, Result};
use lampyr_ir::{AttrMap, Autocast, OpEntry, OpId, OpRef, Promote};
use lampyr_ops::registry;

static USER: RwLock<Option<HashMap<&'static str, OpRef>>> = RwLock::new(None);

fn refuse(_: AttrMap) -> Result<OpRef> {
    Err(Error::unsupported("making a registered op from the table of attributes").with_help("use make_op"))
}

/// Registers a user's op under `name`. `make` gets the id that [`lampyr_ir::OpAttrs::id`] of the op must return. The op
/// lives as long as the process.
///
/// # Errors
/// When the name is taken.
pub fn register_op(name: &str, doc: &str, make: impl FnOnce(OpId, &'static str) -> OpRef) -> Result<OpRef> {
    if registry::by_name(name).is_some() {
        return Err(Error::value(format!("an op called `{name}` exists already"))
            .with_help("choose another name, for example with your package's name in front"));
    }
    let name: &'static str = Box::leak(name.to_string().into_boxed_str());
    let id = registry::register(OpEntry {
        id: OpId(0),
        name,
        family: "user",
        doc: Box::leak(doc.to_string().into_boxed_str()),
        attrs: &[],
        dtypes: DType::ALL,
        version: 1,
        promote: Promote::No,
        autocast: Autocast::Keep,
        onnx: Vec::new,
        rules: Vec::new,
        cases: Vec::new,
        make: refuse,
    })?;
    let op = make(id, name);
    USER.write().unwrap_or_else(PoisonError::into_inner).get_or_insert_default().insert(name, op.clone());
    Ok(op)
}

/// The op called `name` with the attributes given.
///
/// # Errors
/// When there is no such op, or the attributes do not fit it.
pub fn make_op(name: &str, attrs: AttrMap) -> Result<OpRef> {
    let user = USER.read().unwrap_or_else(PoisonError::into_inner);
    if let Some(op) = user.as_ref().and_then(|all| all.get(name)) {
        return match attrs.keys().next() {
            None => Ok(op.clone()),
            Some(extra) => Err(Error::not_found(format!("there is no attribute `{extra}`")).with_op(name)),
        };
    }
    drop(user);
    let entry = registry::by_name(name).ok_or_else(|| unknown(name))?;
    (entry.make)(attrs)
}

fn unknown(name: &str) -> Error {
    let error = Error::not_found(format!("there is no op called `{name}`"));
    let all = registry::all();
    let near: Vec<&str> = all.iter().map(|e| e.name).filter(|n| n.contains(name) || name.contains(n)).take(5).collect();
    match near.is_empty() {
        true => error,
        false => error.with_help(format!("did you mean one of: {}?", near.join(", "))),
    }
}
