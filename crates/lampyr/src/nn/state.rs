//! The state of a module by name.

use std::collections::HashMap;
use std::path::Path;

use lampyr_base::{Device, Error, ErrorKind, Result};
use lampyr_runtime::{Tensor, no_grad};

/// Tensors by path, in the order of the module.
#[derive(Clone, Debug, Default)]
pub struct StateDict {
    items: Vec<(String, Tensor)>,
    places: HashMap<String, usize>,
}

/// What a state dict and a module do not have in common.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Incompatible {
    /// Paths of the module that the state dict does not have.
    pub missing: Vec<String>,
    /// Keys of the state dict that the module does not have.
    pub unexpected: Vec<String>,
}

impl StateDict {
    /// Puts `tensor` at `key`, in place of what was there.
    pub fn insert(&mut self, key: impl Into<String>, tensor: Tensor) {
        let key = key.into();
        match self.places.get(&key).and_then(|&i| self.items.get_mut(i)) {
            Some(item) => item.1 = tensor,
            None => {
                self.places.insert(key.clone(), self.items.len());
                self.items.push((key, tensor));
            }
        }
    }

    /// The tensor at `key`.
    pub fn get(&self, key: &str) -> Option<&Tensor> {
        self.places.get(key).and_then(|&i| self.items.get(i)).map(|(_, t)| t)
    }

    /// Keys and tensors in order.
    pub fn iter(&self) -> std::slice::Iter<'_, (String, Tensor)> {
        self.items.iter()
    }

    /// Number of tensors.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// True without tensors.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Writes the tensors to a `.npz` file.
    ///
    /// # Errors
    /// When the file cannot be written or has another extension.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let host = self.iter().map(|(name, t)| Ok((name.clone(), t.to_host()?))).collect::<Result<Vec<_>>>()?;
        lampyr_io::save(path, &host)
    }

    /// The tensors of a `.npz` file.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged.
    pub fn read(path: impl AsRef<Path>) -> Result<StateDict> {
        crate::init();
        let named = lampyr_io::load(path)?.into_iter();
        named.map(|(name, value)| Ok((name, Tensor::from_host(&value, Device::CPU)?))).collect()
    }
}

impl FromIterator<(String, Tensor)> for StateDict {
    fn from_iter<I: IntoIterator<Item = (String, Tensor)>>(items: I) -> StateDict {
        let mut state = StateDict::default();
        items.into_iter().for_each(|(key, tensor)| state.insert(key, tensor));
        state
    }
}

impl<'a> IntoIterator for &'a StateDict {
    type Item = &'a (String, Tensor);
    type IntoIter = std::slice::Iter<'a, (String, Tensor)>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl IntoIterator for StateDict {
    type Item = (String, Tensor);
    type IntoIter = std::vec::IntoIter<(String, Tensor)>;

    fn into_iter(self) -> Self::IntoIter {
        self.items.into_iter()
    }
}

/// A checkpoint may hold one number as a vector of one element.
fn fits(target: &Tensor, source: &Tensor) -> bool {
    source.shape() == target.shape() || (target.rank() == 0 && source.shape() == [1])
}

/// See [`super::Module::load_state_dict`]; `own` are the tensors of the module.
pub(super) fn load(own: &[(String, Tensor)], state: &StateDict, strict: bool) -> Result<Incompatible> {
    let known: std::collections::HashSet<&str> = own.iter().map(|(path, _)| path.as_str()).collect();
    let missing = own.iter().filter(|(path, _)| state.get(path).is_none()).map(|(path, _)| path.clone()).collect();
    let unexpected =
        state.iter().filter(|(key, _)| !known.contains(key.as_str())).map(|(key, _)| key.clone()).collect();
    let pairs = || own.iter().filter_map(|(path, target)| Some((path, target, state.get(path)?)));
    let wrong: Vec<String> = pairs()
        .filter(|(_, target, source)| !fits(target, source))
        .map(|(path, target, source)| format!("{path}: {:?} in the module, {:?} given", target.shape(), source.shape()))
        .collect();
    let found = Incompatible { missing, unexpected };
    refuse(&found, &wrong, strict)?;
    no_grad(|| {
        let ready = pairs()
            .map(|(_, target, source)| {
                let shape: Vec<i64> = target.shape().iter().map(|&d| d as i64).collect();
                Ok((target, source.detach().to_dtype(target.dtype())?.reshape(&shape)?))
            })
            .collect::<Result<Vec<_>>>()?;
        ready.iter().try_for_each(|(target, value)| target.assign_(value))
    })?;
    Ok(found)
}

fn refuse(found: &Incompatible, wrong: &[String], strict: bool) -> Result<()> {
    let keys = strict && !(found.missing.is_empty() && found.unexpected.is_empty());
    if !keys && wrong.is_empty() {
        return Ok(());
    }
    let mut text = "the state does not fit the module:".to_string();
    let mut line = |what: &str, names: &[String]| {
        if !names.is_empty() {
            text.push_str(&format!("\n  {what}: {}", names.join(", ")));
        }
    };
    if strict {
        line("missing", &found.missing);
        line("unexpected", &found.unexpected);
    }
    line("different shapes", wrong);
    let error = Error::new(if keys { ErrorKind::NotFound } else { ErrorKind::Shape }, text);
    Err(if keys { error.with_help("strict = false accepts missing and unexpected keys") } else { error })
}
