//! Small work to count the instructions of: `cargo xtask instructions`.
//!
//! The arguments are a name and how often it is done. Without a name the names are printed.

use lampyr::functional::{self, Window};
use lampyr::{Device, Error, Model, Result, Tensor};

/// Prepares one piece of work and returns it.
type Prepare = fn() -> Result<Box<dyn Fn() -> Result<()>>>;

const WORK: [(&str, Prepare); 5] =
    [("add", add), ("matmul", matmul), ("conv", conv), ("softmax", softmax), ("digits", digits)];

fn main() -> Result<()> {
    // `cargo bench` adds `--bench`.
    let mut words = std::env::args().skip(1).filter(|word| !word.starts_with("--"));
    let Some(name) = words.next() else {
        WORK.iter().for_each(|(name, _)| println!("{name}"));
        return Ok(());
    };
    let count: usize = words.next().and_then(|word| word.parse().ok()).unwrap_or(1);
    let found = WORK.iter().find(|(known, _)| *known == name);
    let (_, prepare) = found.ok_or_else(|| Error::value(format!("there is no work called {name}")))?;
    lampyr::init();
    lampyr::set_num_threads(1);
    let work = prepare()?;
    (0..count).try_for_each(|_| work())
}

fn filled(shape: &[usize]) -> Result<Tensor> {
    let values: Vec<f32> = (0..shape.iter().product()).map(|i: usize| (i % 17) as f32 / 17.0 - 0.5).collect();
    Tensor::from_slice(&values, shape)?.to_device(Device::CPU)
}

/// Sum of two tensors of four elements.
fn add() -> Result<Box<dyn Fn() -> Result<()>>> {
    let (x, y) = (filled(&[4])?, filled(&[4])?);
    Ok(Box::new(move || x.add(&y).map(drop)))
}

fn matmul() -> Result<Box<dyn Fn() -> Result<()>>> {
    let (x, y) = (filled(&[64, 64])?, filled(&[64, 64])?);
    Ok(Box::new(move || functional::matmul(&x, &y).map(drop)))
}

fn conv() -> Result<Box<dyn Fn() -> Result<()>>> {
    let (x, weight) = (filled(&[1, 16, 14, 14])?, filled(&[16, 16, 3, 3])?);
    let window = Window { stride: vec![1, 1], padding: vec![1, 1], dilation: vec![1, 1] };
    Ok(Box::new(move || functional::conv(&x, &weight, None, &window, 1).map(drop)))
}

fn softmax() -> Result<Box<dyn Fn() -> Result<()>>> {
    let x = filled(&[64, 64])?;
    Ok(Box::new(move || x.softmax(-1).map(drop)))
}

/// The model of `examples/digits`, one image.
fn digits() -> Result<Box<dyn Fn() -> Result<()>>> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/digits/digits.onnx");
    let model = Model::load(path)?;
    let image = filled(&[1, 1, 8, 8])?;
    Ok(Box::new(move || model.run(std::slice::from_ref(&image)).map(drop)))
}
