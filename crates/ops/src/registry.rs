//! Looking ops up, and registering more at run time.

use std::collections::HashMap;
use std::sync::{OnceLock, PoisonError, RwLock};

use lampyr_base::{Error, Result};
use lampyr_ir::onnx::OnnxMapping;
use lampyr_ir::{OpEntry, OpId};

static USER: RwLock<Vec<&'static OpEntry>> = RwLock::new(Vec::new());

/// The ops of this crate, in id order.
pub fn builtin() -> &'static [OpEntry] {
    crate::ENTRIES
}

/// Number of ids in use; ids are below it.
pub fn count() -> usize {
    crate::ENTRIES.len() + USER.read().unwrap_or_else(PoisonError::into_inner).len()
}

/// All ops, those registered at run time last.
pub fn all() -> Vec<&'static OpEntry> {
    let user = USER.read().unwrap_or_else(PoisonError::into_inner);
    crate::ENTRIES.iter().chain(user.iter().copied()).collect()
}

/// The op called `name`.
pub fn by_name(name: &str) -> Option<&'static OpEntry> {
    all().into_iter().find(|e| e.name == name)
}

/// The op with this id.
pub fn by_id(id: OpId) -> Option<&'static OpEntry> {
    let i = id.0 as usize;
    crate::ENTRIES
        .get(i)
        .or_else(|| USER.read().unwrap_or_else(PoisonError::into_inner).get(i - crate::ENTRIES.len()).copied())
}

/// Adds an op; the id in `entry` is replaced by the one returned. Registered ops live as long as the process.
///
/// # Errors
/// When the name is taken, or 65,536 ops exist.
pub fn register(mut entry: OpEntry) -> Result<OpId> {
    let mut user = USER.write().unwrap_or_else(PoisonError::into_inner);
    if crate::ENTRIES.iter().chain(user.iter().copied()).any(|e| e.name == entry.name) {
        return Err(Error::value(format!("an op called `{}` exists already", entry.name))
            .with_help("choose another name, for example with your package's name in front"));
    }
    let id =
        u16::try_from(crate::ENTRIES.len() + user.len()).map_err(|_| Error::value("too many ops are registered"))?;
    entry.id = OpId(id);
    entry.family = "user";
    user.push(Box::leak(Box::new(entry)));
    Ok(OpId(id))
}

/// Names of all operators of the standard domain that some op implements, each once.
pub fn onnx_operators() -> &'static [&'static str] {
    static ALL: OnceLock<Vec<&'static str>> = OnceLock::new();
    ALL.get_or_init(|| {
        let mappings = crate::ENTRIES.iter().flat_map(|e| (e.onnx)()).filter(|m| m.domain.is_empty());
        let mut all: Vec<_> = mappings.map(|m| m.op_type).collect();
        all.sort_unstable();
        all.dedup();
        all
    })
}

/// The translation of an ONNX operator at an opset: the mapping with the highest `since` not above it.
pub fn onnx(domain: &str, op_type: &str, opset: u32) -> Option<OnnxMapping> {
    type Table = HashMap<(&'static str, &'static str), Vec<OnnxMapping>>;
    static TABLE: OnceLock<Table> = OnceLock::new();
    let table = TABLE.get_or_init(|| {
        let mut table: Table = HashMap::new();
        for mapping in crate::ENTRIES.iter().flat_map(|e| (e.onnx)()) {
            table.entry((mapping.domain, mapping.op_type)).or_default().push(mapping);
        }
        table
    });
    let domain = if domain == "ai.onnx" { "" } else { domain };
    table
        .get(&(domain, op_type))?
        .iter()
        .filter(|m| m.since <= opset && m.until.is_none_or(|u| opset <= u))
        .max_by_key(|m| m.since)
        .copied()
}
