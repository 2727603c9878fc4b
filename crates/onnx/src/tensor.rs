//! Tensors of the format and tensors in memory.

use std::sync::Arc;

use lampyr_base::{DType, Error, Result, num_elements};
use lampyr_ir::onnx::{dtype_from_onnx, dtype_to_onnx, unknown_dtype};
use lampyr_ir::{HostBytes, HostTensor, Numbers};

use crate::external::Files;
use crate::pb::{Dimension, DimensionValue, TensorProto, TensorShapeProto};

/// The element type with this number.
pub fn dtype(code: i32) -> Result<DType> {
    dtype_from_onnx(code).ok_or_else(|| Error::unsupported(unknown_dtype(code)))
}

/// Reads a tensor.
pub fn read(tensor: &TensorProto, files: &mut Files) -> Result<HostTensor> {
    elements(tensor, files).map_err(|e| {
        let name = if tensor.name.is_empty() { "a tensor attribute" } else { &tensor.name };
        e.with_op("tensor").with_node(name)
    })
}

fn elements(tensor: &TensorProto, files: &mut Files) -> Result<HostTensor> {
    let dtype = dtype(tensor.data_type)?;
    let wrong = |d: &i64| Error::format(format!("sizes {:?} hold {d}", tensor.dims)).with_expected("no negative size");
    let shape: Vec<usize> =
        tensor.dims.iter().map(|d| usize::try_from(*d).map_err(|_| wrong(d))).collect::<Result<_>>()?;
    let count = num_elements(&shape)?;
    let need = dtype.bytes_for(count).ok_or_else(|| Error::format(format!("sizes {shape:?} are too large")))?;
    if tensor.segment.is_some() {
        return Err(Error::unsupported("tensors in segments"));
    }
    if tensor.data_location == 1 {
        return from_bytes(dtype, &shape, files.bytes(tensor, need)?);
    }
    if let Some(raw) = &tensor.raw_data {
        return from_bytes(dtype, &shape, files.part(raw.clone()));
    }
    let checked = |have: usize| {
        let error = || Error::format(format!("{have} elements for shape {shape:?}")).with_expected(count.to_string());
        if have == count { Ok(()) } else { Err(error()) }
    };
    match dtype {
        DType::F32 => {
            checked(tensor.float_data.len())?;
            HostTensor::from_slice(&shape, &tensor.float_data)
        }
        DType::F64 => {
            checked(tensor.double_data.len())?;
            HostTensor::from_slice(&shape, &tensor.double_data)
        }
        DType::I64 => {
            checked(tensor.int64_data.len())?;
            HostTensor::from_slice(&shape, &tensor.int64_data)
        }
        DType::U32 | DType::U64 => {
            checked(tensor.uint64_data.len())?;
            HostTensor::from_numbers(dtype, &shape, &Numbers::U(tensor.uint64_data.clone()))
        }
        DType::F16 | DType::BF16 => {
            checked(tensor.int32_data.len())?;
            let bytes: Vec<u8> = tensor.int32_data.iter().flat_map(|&bits| (bits as u16).to_ne_bytes()).collect();
            HostTensor::copy_bytes(dtype, &shape, &bytes)
        }
        _ => {
            checked(tensor.int32_data.len())?;
            let wide = tensor.int32_data.iter().map(|&v| i64::from(v)).collect();
            HostTensor::from_numbers(dtype, &shape, &Numbers::I(wide))
        }
    }
}

/// A tensor over little-endian bytes, without a copy where their order and place allow it.
fn from_bytes(dtype: DType, shape: &[usize], bytes: Arc<dyn HostBytes>) -> Result<HostTensor> {
    let swapped = cfg!(target_endian = "big") && dtype.size() > 1;
    let stray = dtype == DType::Bool && bytes.bytes().iter().any(|&b| b > 1);
    let fixed = if swapped {
        bytes.bytes().chunks(dtype.size()).flat_map(|c| c.iter().rev().copied()).collect::<Vec<u8>>()
    } else if stray {
        bytes.bytes().iter().map(|&b| u8::from(b != 0)).collect()
    } else {
        return HostTensor::from_bytes(dtype, shape, bytes).map_err(as_format);
    };
    HostTensor::copy_bytes(dtype, shape, &fixed).map_err(as_format)
}

fn as_format(e: Error) -> Error {
    Error::format(e.to_string()).with_help("the file is damaged or was cut off")
}

/// Writes a tensor.
pub fn write(name: &str, value: &HostTensor) -> TensorProto {
    let little = if cfg!(target_endian = "big") {
        value.bytes().chunks(value.dtype().size()).flat_map(|c| c.iter().rev().copied()).collect()
    } else {
        value.bytes().to_vec()
    };
    TensorProto {
        dims: value.shape().iter().map(|&d| d as i64).collect(),
        data_type: dtype_to_onnx(value.dtype()),
        name: name.to_string(),
        raw_data: Some(little.into()),
        ..TensorProto::default()
    }
}

/// Sizes as numbers, names or nothing.
pub fn write_shape<'a>(dims: impl Iterator<Item = Option<&'a lampyr_base::Dim>>) -> TensorShapeProto {
    let size = |d: &lampyr_base::Dim| match d.known() {
        Some(n) => DimensionValue::DimValue(n),
        None => DimensionValue::DimParam(d.to_string()),
    };
    TensorShapeProto { dim: dims.map(|d| Dimension { value: d.map(size) }).collect() }
}
