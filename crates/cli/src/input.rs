//! Inputs of a model: from the files of the command line, or made up.

use std::fmt;
use std::path::{Path, PathBuf};

use lampyr::{Device, Dim, Error, HostTensor, Port, Result, Tensor, TypeKind};

use crate::model::{Loaded, made_up};
use crate::picture;

/// Where an input comes from.
pub enum Source {
    /// A `.npy` or `.npz` file.
    Array(PathBuf),
    /// A PNG or JPEG file.
    Picture(PathBuf),
    /// Nowhere: the same numbers every time.
    MadeUp,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Array(path) | Source::Picture(path) => path.display().fmt(f),
            Source::MadeUp => f.write_str("made up"),
        }
    }
}

/// One input.
pub struct Input {
    /// Name in the model.
    pub name: String,
    /// Value.
    pub tensor: Tensor,
    /// Where it comes from.
    pub source: Source,
}

/// What the command line gives for one input.
enum Given {
    Array(PathBuf, HostTensor),
    Picture(PathBuf),
}

fn names(ports: &[Port]) -> String {
    ports.iter().map(|p| format!("`{}`", p.name)).collect::<Vec<_>>().join(", ")
}

/// The inputs of `loaded` in order. With no file at all they are made up, with the symbolic sizes `dims`.
///
/// # Errors
/// When a file cannot be read, fits no input or comes twice, or an input has none.
pub fn gather(loaded: &Loaded, given: &[String], dims: &[(String, usize)]) -> Result<Vec<Input>> {
    let ports = loaded.model.inputs();
    if given.is_empty() {
        let shapes = loaded.shapes(dims)?;
        let make = |(port, shape): (&Port, &Vec<usize>)| {
            let tensor = made_up(port.dtype(), shape)?;
            Ok(Input { name: port.name.clone(), tensor, source: Source::MadeUp })
        };
        return ports.iter().zip(&shapes).map(make).collect();
    }
    let mut slots: Vec<Option<Given>> = ports.iter().map(|_| None).collect();
    for text in given {
        place(text, ports, &mut slots)?;
    }
    let read = |(port, slot): (&Port, Option<Given>)| match slot {
        Some(Given::Picture(path)) => {
            let tensor = picture::load(&path, port)?;
            Ok(Input { name: port.name.clone(), tensor, source: Source::Picture(path) })
        }
        Some(Given::Array(path, value)) => {
            let tensor = Tensor::from_host(&fit(value, port)?, Device::CPU)?;
            Ok(Input { name: port.name.clone(), tensor, source: Source::Array(path) })
        }
        None => Err(Error::not_found(format!("no file was given for input `{}`", port.name))
            .with_help(format!("add --input {}=FILE", port.name))),
    };
    let inputs = ports.iter().zip(slots).map(read).collect::<Result<Vec<_>>>()?;
    agree(ports, &inputs, dims)?;
    Ok(inputs)
}

/// Sizes that `--dim` names are those of the files.
fn agree(ports: &[Port], inputs: &[Input], dims: &[(String, usize)]) -> Result<()> {
    for (name, size) in dims {
        let mut found = false;
        for (port, input) in ports.iter().zip(inputs) {
            for (dim, &actual) in port.dims().iter().zip(input.tensor.shape()) {
                if dim.symbol().is_some_and(|s| s.name() == name) {
                    found = true;
                    if actual != *size {
                        return Err(Error::shape(format!("`{name}` is {actual} in input `{}`", port.name))
                            .with_expected(format!("{size}, as --dim says")));
                    }
                }
            }
        }
        if !found {
            let symbols = ports.iter().flat_map(Port::dims).flat_map(Dim::symbols);
            let mut known: Vec<String> = symbols.map(|s| s.name().to_string()).collect();
            known.sort();
            known.dedup();
            return Err(Error::not_found(format!("the model has no symbolic size `{name}`"))
                .with_expected(if known.is_empty() { "none".to_string() } else { known.join(", ") }));
        }
    }
    Ok(())
}

/// Puts the file (or the files of an archive) of one `--input` where it belongs.
fn place(text: &str, ports: &[Port], slots: &mut [Option<Given>]) -> Result<()> {
    let named = text.split_once('=').and_then(|(name, file)| Some((ports.iter().position(|p| p.name == name)?, file)));
    if let (None, Some((name, _)), false) = (named, text.split_once('='), Path::new(text).exists()) {
        return Err(Error::not_found(format!("the model has no input `{name}`")).with_expected(names(ports)));
    }
    let (at, path) = match named {
        Some((at, file)) => (Some(at), PathBuf::from(file)),
        None => (None, PathBuf::from(text)),
    };
    let extension = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let (first_free, total) = (slots.iter().position(Option::is_none), slots.len());
    let mut put = |at: Option<usize>, value: Given| match at.and_then(|at| slots.get_mut(at)) {
        Some(slot @ None) => {
            *slot = Some(value);
            Ok(())
        }
        Some(Some(_)) => Err(Error::value(format!("`{text}`: this input was given twice"))),
        None => Err(Error::value(format!("`{text}` is one input too many"))
            .with_expected(format!("{total} in all: {}", names(ports)))),
    };
    if !matches!(extension.as_str(), "npy" | "npz") {
        return put(at.or(first_free), Given::Picture(path));
    }
    let mut arrays = lampyr::io::load(&path)?;
    if extension == "npy" || at.is_some() {
        let wanted = at.and_then(|at| ports.get(at)).map(|p| p.name.as_str());
        let pick = arrays.iter().position(|(n, _)| Some(n.as_str()) == wanted).or((arrays.len() == 1).then_some(0));
        let Some(pick) = pick else {
            let all: Vec<_> = arrays.iter().map(|(n, _)| format!("`{n}`")).collect();
            return Err(Error::not_found(format!("{} has no single array for `{text}`", path.display()))
                .with_expected(format!("one of the arrays {}", all.join(", "))));
        };
        return put(at.or(first_free), Given::Array(path, arrays.swap_remove(pick).1));
    }
    for (name, value) in arrays {
        // numpy.savez calls arrays without a name arr_0, arr_1, ...
        let by_number = || name.strip_prefix("arr_").and_then(|n| n.parse::<usize>().ok()).filter(|&n| n < total);
        let at = ports.iter().position(|p| p.name == name).or_else(by_number);
        if at.is_none() {
            return Err(Error::not_found(format!("{}: the model has no input `{name}`", path.display()))
                .with_expected(names(ports)));
        }
        put(at, Given::Array(path.clone(), value))?;
    }
    Ok(())
}

/// `value` in the element type of `port`: floats of any width become its floats, integers its integers where they fit.
fn fit(value: HostTensor, port: &Port) -> Result<HostTensor> {
    let (have, want) = (value.dtype(), port.dtype());
    if have == want {
        return Ok(value);
    }
    let refuse = || {
        Error::dtype(format!("the array for input `{}` is {have}", port.name))
            .with_expected(want.to_string())
            .with_help(format!("convert it: array.astype(\"{want}\")"))
    };
    let integer = |kind| matches!(kind, TypeKind::Signed | TypeKind::Unsigned);
    match (have.kind(), want.kind()) {
        (TypeKind::Float, TypeKind::Float) => value.cast(want),
        (a, b) if integer(a) && integer(b) => {
            let cast = value.cast(want)?;
            if cast.cast(have)?.bytes() == value.bytes() { Ok(cast) } else { Err(refuse()) }
        }
        _ => Err(refuse()),
    }
}
