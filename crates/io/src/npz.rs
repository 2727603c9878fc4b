//! The `.npz` format: a zip archive of `.npy` files.

use std::io::{Read, Seek, Write};

use lampyr_base::{Error, ErrorKind, Result};
use lampyr_ir::HostTensor;
use zip::result::ZipError;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use crate::{Named, read_npy, write_npy};

fn damaged(e: ZipError) -> Error {
    Error::format(format!("this is not a whole .npz file: {e}")).with_source(e)
}

/// Reads all arrays in the order of the archive, as `numpy.savez` and `numpy.savez_compressed` write them.
///
/// # Errors
/// When the archive is damaged, or an array in it cannot be read.
pub fn read_npz(file: impl Read + Seek) -> Result<Named> {
    let mut archive = ZipArchive::new(file).map_err(damaged)?;
    let mut all = Named::new();
    for i in 0..archive.len() {
        let entry = archive.by_index(i).map_err(damaged)?;
        let name = entry.name().map_err(damaged)?.to_string();
        let Some(name) = name.strip_suffix(".npy") else { continue };
        let name = name.to_string();
        let tensor = read_npy(entry)
            .map_err(|e| Error::new(e.kind().clone(), format!("array `{name}`: {}", e.message())).with_source(e))?;
        all.push((name, tensor));
    }
    Ok(all)
}

/// Writes arrays without compression, as `numpy.savez` does.
///
/// # Errors
/// When two have one name, or the writer fails.
pub fn write_npz(file: impl Write + Seek, tensors: &[(String, HostTensor)]) -> Result<()> {
    let failed = |e: ZipError| Error::new(ErrorKind::Io, format!("cannot write the archive: {e}")).with_source(e);
    let mut archive = ZipWriter::new(file);
    for (i, (name, tensor)) in tensors.iter().enumerate() {
        if tensors[..i].iter().any(|(other, _)| other == name) {
            return Err(Error::value(format!("two tensors are called `{name}`")));
        }
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Stored)
            .large_file(tensor.bytes().len() > 1 << 31);
        archive.start_file(format!("{name}.npy"), options).map_err(failed)?;
        write_npy(&mut archive, tensor)?;
    }
    archive.finish().map(drop).map_err(failed)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use lampyr_base::DType;

    use super::*;

    fn written() -> (Named, Vec<u8>) {
        let x = HostTensor::from_f64(DType::F32, &[2, 2], &[1.0, 2.0, 3.0, 4.0]).unwrap();
        let all = vec![("x".to_string(), x), ("a/b c".to_string(), HostTensor::ints(&[7]).unwrap())];
        let mut bytes = Cursor::new(Vec::new());
        write_npz(&mut bytes, &all).unwrap();
        (all, bytes.into_inner())
    }

    #[test]
    fn arrays_come_back_with_their_names() {
        let (all, bytes) = written();
        let back = read_npz(Cursor::new(bytes)).unwrap();
        for ((a, x), (b, y)) in all.iter().zip(&back) {
            assert_eq!((a, x.dtype(), x.shape(), x.bytes()), (b, y.dtype(), y.shape(), y.bytes()));
        }
        assert_eq!(back.len(), all.len());
    }

    #[test]
    fn damage_never_panics() {
        let (_, bytes) = written();
        for len in 0..bytes.len() {
            assert!(read_npz(Cursor::new(&bytes[..len])).is_err(), "{len}");
        }
        for at in 0..bytes.len() {
            for flip in [1, 0x80, 0xff] {
                let mut damaged = bytes.clone();
                damaged[at] ^= flip;
                let _ = read_npz(Cursor::new(damaged));
            }
        }
        let twice: Named = std::iter::repeat_n(("x".to_string(), HostTensor::ints(&[7]).unwrap()), 2).collect();
        assert!(write_npz(Cursor::new(Vec::new()), &twice).is_err());
    }
}
