//! PNG and JPEG files as input tensors.

use std::path::Path;

use image::{DynamicImage, ImageReader, imageops::FilterType};
use lampyr::{DType, Device, Dim, Error, HostTensor, Port, Result, Tensor, TypeKind};

/// How a model wants pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wanted {
    channels: usize,
    height: Option<usize>,
    width: Option<usize>,
    /// Channels come after rows and columns.
    last: bool,
}

fn size(dim: &Dim) -> Option<usize> {
    dim.known().and_then(|n| usize::try_from(n).ok()).filter(|&n| n > 0)
}

fn channels(dim: &Dim) -> Option<usize> {
    size(dim).filter(|n| matches!(n, 1 | 3))
}

/// Reads the picture format off an input: `[batch, channels, rows, columns]` or with channels last; without batch or
/// without channels, too.
fn wanted(port: &Port) -> Result<Wanted> {
    let refuse = || {
        Error::shape(format!("input `{}` does not take a picture", port.name))
            .with_expected(format!("{} (a picture needs a batch of 1 and 1 or 3 channels)", port.fact))
            .with_help("use `lampyr bench` to run the model on made-up inputs")
    };
    let dims = match port.dims() {
        [batch, rest @ ..] if rest.len() == 3 && batch.known().is_none_or(|n| n == 1) => rest,
        dims if dims.len() < 4 => dims,
        _ => return Err(refuse()),
    };
    let (channels, height, width, last) = match dims {
        [c, h, w] if channels(c).is_some() => (channels(c), h, w, false),
        [h, w, c] if channels(c).is_some() => (channels(c), h, w, true),
        [h, w] => (Some(1), h, w, false),
        _ => return Err(refuse()),
    };
    let channels = channels.ok_or_else(refuse)?;
    Ok(Wanted { channels, height: size(height), width: size(width), last })
}

fn open(path: &Path) -> Result<DynamicImage> {
    let reader = ImageReader::open(path).and_then(ImageReader::with_guessed_format);
    reader.map_err(|e| Error::io(path, e).with_help("check the path of the picture"))?.decode().map_err(|e| {
        Error::format(format!("{}: {e}", path.display()))
            .with_source(e)
            .with_help("pictures must be complete PNG or JPEG files")
    })
}

/// The picture in `path` as the model wants it: gray or RGB, resized where sizes are fixed, values from 0 to 1.
///
/// # Errors
/// When the file is no picture, or the input takes none.
pub fn load(path: &Path, port: &Port) -> Result<Tensor> {
    let want = wanted(port)?;
    if port.dtype().kind() != TypeKind::Float {
        return Err(Error::dtype(format!("input `{}` is {}", port.name, port.dtype()))
            .with_expected("a floating-point input for a picture"));
    }
    let mut picture = open(path)?;
    let asked = |size: Option<usize>, own: u32| match size {
        Some(n) => u32::try_from(n).map_err(|_| Error::shape(format!("input `{}` is too large", port.name))),
        None => Ok(own),
    };
    let (width, height) = (asked(want.width, picture.width())?, asked(want.height, picture.height())?);
    if (width, height) != (picture.width(), picture.height()) {
        picture = picture.resize_exact(width, height, FilterType::Triangle);
    }
    let pixels = if want.channels == 1 { picture.to_luma8().into_raw() } else { picture.to_rgb8().into_raw() };
    let (h, w, c) = (height as usize, width as usize, want.channels);
    let value = |at: usize| f64::from(pixels[at]) / 255.0;
    let (values, mut shape): (Vec<f64>, _) = match want.last {
        true => ((0..pixels.len()).map(value).collect(), vec![h, w, c]),
        false => ((0..c).flat_map(|k| (0..h * w).map(move |i| i * c + k)).map(value).collect(), vec![c, h, w]),
    };
    match port.dims().len() {
        4 => shape.insert(0, 1),
        2 => shape = vec![h, w],
        _ => {}
    }
    let tensor = HostTensor::from_f64(DType::F32, &shape, &values)?;
    Tensor::from_host(&tensor.cast(port.dtype())?, Device::CPU)
}
