//! The `.npy` format (NumPy enhancement proposal 1, `numpy.lib.format`), versions 1 to 3.

use std::io::{Read, Write};

use lampyr_base::{DType, Error, Layout, Result, num_elements};
use lampyr_ir::HostTensor;

const MAGIC: &[u8; 6] = b"\x93NUMPY";
/// NumPy itself refuses longer headers.
const LONGEST_HEADER: usize = 10_000;

fn damaged(what: &str) -> Error {
    Error::format(format!("this is not a whole .npy file: {what}"))
}

fn io(e: std::io::Error) -> Error {
    Error::format(format!("the data ends early or cannot be read: {e}")).with_source(e)
}

/// What the header says.
#[derive(Debug, PartialEq)]
struct Header {
    dtype: DType,
    swapped: bool,
    columns_first: bool,
    shape: Vec<usize>,
}

fn type_of(descr: &str) -> Result<(DType, bool)> {
    let refuse = || {
        Error::unsupported(format!("NumPy type `{descr}`"))
            .with_expected("bool, signed or unsigned integers of 1 to 8 bytes, floats of 2 to 8 bytes")
    };
    let (order, rest) = descr.split_at_checked(1).ok_or_else(refuse)?;
    let dtype = match rest {
        "b1" => DType::Bool,
        "i1" => DType::I8,
        "i2" => DType::I16,
        "i4" => DType::I32,
        "i8" => DType::I64,
        "u1" => DType::U8,
        "u2" => DType::U16,
        "u4" => DType::U32,
        "u8" => DType::U64,
        "f2" => DType::F16,
        "f4" => DType::F32,
        "f8" => DType::F64,
        _ => return Err(refuse()),
    };
    let big = match order {
        "<" => false,
        ">" => true,
        "|" | "=" => cfg!(target_endian = "big"),
        _ => return Err(refuse()),
    };
    Ok((dtype, big != cfg!(target_endian = "big") && dtype.size() > 1))
}

/// The text behind `'key':` in a dictionary literal.
fn field<'a>(text: &'a str, key: &str) -> Result<&'a str> {
    let quoted = [format!("'{key}'"), format!("\"{key}\"")];
    let at = quoted.iter().find_map(|q| text.find(q.as_str()).map(|at| at + q.len()));
    let rest = at.and_then(|at| text.get(at..)).and_then(|rest| rest.trim_start().strip_prefix(':'));
    rest.map(str::trim_start).ok_or_else(|| damaged(&format!("its header has no `{key}`")))
}

fn parse(text: &str) -> Result<Header> {
    let descr = field(text, "descr")?;
    let quote = descr.chars().next().filter(|c| matches!(c, '\'' | '"'));
    let Some(descr) = quote.and_then(|q| descr.get(1..)?.split_once(q)) else {
        return Err(Error::unsupported("NumPy arrays of records").with_expected("one number per element"));
    };
    let (dtype, swapped) = type_of(descr.0)?;
    let order = field(text, "fortran_order")?;
    let columns_first = match (order.starts_with("True"), order.starts_with("False")) {
        (true, _) => true,
        (_, true) => false,
        _ => return Err(damaged("`fortran_order` is neither True nor False")),
    };
    let sizes = field(text, "shape")?.strip_prefix('(').and_then(|s| s.split_once(')'));
    let (sizes, _) = sizes.ok_or_else(|| damaged("`shape` is no tuple"))?;
    let sizes = sizes.split(',').map(|s| s.trim().trim_end_matches('L')).filter(|s| !s.is_empty());
    let shape = sizes.map(|s| s.parse().map_err(|_| damaged(&format!("its shape has a size `{s}`"))));
    Ok(Header { dtype, swapped, columns_first, shape: shape.collect::<Result<_>>()? })
}

fn header(file: &mut impl Read) -> Result<Header> {
    let mut start = [0; 8];
    file.read_exact(&mut start).map_err(io)?;
    if &start[..6] != MAGIC {
        return Err(damaged("it does not begin as one"));
    }
    let len = match start[6] {
        1 => {
            let mut len = [0; 2];
            file.read_exact(&mut len).map_err(io)?;
            usize::from(u16::from_le_bytes(len))
        }
        2 | 3 => {
            let mut len = [0; 4];
            file.read_exact(&mut len).map_err(io)?;
            u32::from_le_bytes(len) as usize
        }
        version => return Err(Error::unsupported(format!("version {version} of the .npy format"))),
    };
    if len > LONGEST_HEADER {
        return Err(damaged(&format!("its header has {len} bytes")));
    }
    let mut text = vec![0; len];
    file.read_exact(&mut text).map_err(io)?;
    parse(&String::from_utf8_lossy(&text))
}

/// Reads one array. `bfloat16`, which NumPy does not know, is not in such files.
///
/// # Errors
/// When the data is damaged or cut off, or holds elements that no tensor can have (objects, texts, complex numbers).
pub fn read_npy(mut file: impl Read) -> Result<HostTensor> {
    let Header { dtype, swapped, columns_first, shape } = header(&mut file)?;
    let need = num_elements(&shape)
        .ok()
        .and_then(|n| n.checked_mul(dtype.size()))
        .ok_or_else(|| Error::shape(format!("an array of shape {shape:?} is too large")))?;
    // Grows with what is there, whatever the header claims.
    let mut bytes = Vec::new();
    file.take(need as u64).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() < need {
        return Err(damaged(&format!("it has {} bytes of elements, not {need}", bytes.len())));
    }
    if swapped {
        bytes.chunks_exact_mut(dtype.size()).for_each(<[u8]>::reverse);
    }
    if dtype == DType::Bool {
        bytes.iter_mut().for_each(|b| *b = u8::from(*b != 0));
    }
    if !columns_first || shape.len() < 2 {
        return HostTensor::copy_bytes(dtype, &shape, &bytes);
    }
    let reversed: Vec<usize> = shape.iter().rev().copied().collect();
    let mut layout = Layout::contiguous(&reversed);
    layout.shape.reverse();
    layout.strides.reverse();
    HostTensor::build(dtype, &shape, |out| {
        let size = dtype.size();
        for (to, from) in out.chunks_exact_mut(size).zip(layout.indices()) {
            to.copy_from_slice(&bytes[from * size..(from + 1) * size]);
        }
    })
}

fn descr(dtype: DType) -> &'static str {
    match dtype {
        DType::Bool => "|b1",
        DType::I8 => "|i1",
        DType::U8 => "|u1",
        DType::I16 => "<i2",
        DType::I32 => "<i4",
        DType::I64 => "<i8",
        DType::U16 => "<u2",
        DType::U32 => "<u4",
        DType::U64 => "<u8",
        DType::F16 => "<f2",
        DType::F32 | DType::BF16 => "<f4",
        DType::F64 => "<f8",
    }
}

/// Writes one array, row-major. `bfloat16` is written as `float32`, which holds each of its numbers.
///
/// # Errors
/// When the writer fails.
pub fn write_npy(mut file: impl Write, tensor: &HostTensor) -> Result<()> {
    let widened;
    let tensor = if tensor.dtype() == DType::BF16 {
        widened = tensor.cast(DType::F32)?;
        &widened
    } else {
        tensor
    };
    let sizes: String = tensor.shape().iter().map(|d| format!("{d},")).collect();
    let mut text = format!("{{'descr': '{}', 'fortran_order': False, 'shape': ({sizes}), }}", descr(tensor.dtype()));
    let before = MAGIC.len() + 4;
    while !(before + text.len() + 1).is_multiple_of(64) {
        text.push(' ');
    }
    text.push('\n');
    let len = u16::try_from(text.len()).map_err(|_| Error::shape("an array of this many axes does not fit"))?;
    let write = |file: &mut dyn Write| -> std::io::Result<()> {
        file.write_all(MAGIC)?;
        file.write_all(&[1, 0])?;
        file.write_all(&len.to_le_bytes())?;
        file.write_all(text.as_bytes())?;
        if cfg!(target_endian = "little") {
            return file.write_all(tensor.bytes());
        }
        let mut bytes = tensor.bytes().to_vec();
        bytes.chunks_exact_mut(tensor.dtype().size()).for_each(<[u8]>::reverse);
        file.write_all(&bytes)
    };
    write(&mut file)
        .map_err(|e| Error::new(lampyr_base::ErrorKind::Io, format!("cannot write the array: {e}")).with_source(e))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(header: &str, data: &[u8]) -> Vec<u8> {
        let mut all = MAGIC.to_vec();
        all.extend([1, 0]);
        all.extend((header.len() as u16).to_le_bytes());
        all.extend(header.as_bytes());
        all.extend(data);
        all
    }

    #[test]
    fn every_type_and_shape_comes_back() {
        for &dtype in DType::ALL {
            for shape in [&[][..], &[0], &[3], &[2, 3], &[2, 0, 4]] {
                let n = shape.iter().product::<usize>();
                let values: Vec<f64> = (0..n).map(|i| (i % 2) as f64).collect();
                let tensor = HostTensor::from_f64(dtype, shape, &values).unwrap();
                let mut bytes = Vec::new();
                write_npy(&mut bytes, &tensor).unwrap();
                assert_eq!(
                    (bytes.len() - n * tensor.dtype().size().max(1) * (1 + usize::from(dtype == DType::BF16))) % 64,
                    0
                );
                let back = read_npy(&bytes[..]).unwrap();
                let want = if dtype == DType::BF16 { DType::F32 } else { dtype };
                assert_eq!((back.dtype(), back.shape(), back.to_f64()), (want, shape, values));
            }
        }
    }

    #[test]
    fn other_orders_are_turned_around() {
        let columns =
            file("{'descr': '>i2', 'fortran_order': True, 'shape': (2, 3), }", &[0, 1, 0, 4, 0, 2, 0, 5, 0, 3, 1, 6]);
        let read = read_npy(&columns[..]).unwrap();
        assert_eq!((read.shape(), read.to_i64()), (&[2, 3][..], vec![1, 2, 3, 4, 5, 262]));
        let old = file("{\"shape\": (2L,), \"fortran_order\": False, \"descr\": \"|b1\"}", &[7, 0]);
        assert_eq!(read_npy(&old[..]).unwrap().to_i64(), [1, 0]);
    }

    #[test]
    fn damage_is_an_error() {
        let good = file("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", &[0; 8]);
        assert!(read_npy(&good[..]).is_ok());
        for len in 0..good.len() {
            assert!(read_npy(&good[..len]).is_err(), "{len}");
        }
        for header in [
            "{'descr': '|O', 'fortran_order': False, 'shape': (2,), }",
            "{'descr': '<U4', 'fortran_order': False, 'shape': (2,), }",
            "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,), }",
            "{'descr': '<f4', 'fortran_order': Maybe, 'shape': (2,), }",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (-2,), }",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (1152921504606846976, 64), }",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,), }",
            "{'descr': '', 'fortran_order': False, 'shape': (2,), }",
            "{'descr': 'é4', 'fortran_order': False, 'shape': (2,), }",
            "{'fortran_order': False, 'shape': (2,), }",
        ] {
            assert!(read_npy(&file(header, &[0; 8])[..]).is_err(), "{header}");
        }
    }
}
