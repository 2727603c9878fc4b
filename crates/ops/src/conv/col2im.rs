//! Columns of windows added up into an image.

use lampyr_base::{DType, Dim, Error, Result};
use lampyr_ir::case::{Case, CaseInput, View};
use lampyr_ir::onnx::{OnnxExport, OnnxMapping, OnnxNode, required};
use lampyr_ir::{
    Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostTensor, HostValue, Op, OpType, TensorFact, Var, Vars,
};
use smallvec::smallvec;

use crate::build::{Conv, conv_input_grad};
use crate::common;
use crate::gradient::to_shape;
use crate::window::{self, Window};

/// Columns `x` `[N, C * K, L]`, one for every window of `K` elements over an image of sizes `image`, added up where they lie:
/// `[N, C, ...]` (ONNX Col2Im, torch `fold`); the adjoint of taking windows apart.
#[derive(Clone, Debug, Attrs)]
pub struct Col2im {
    /// Spatial sizes of the image.
    pub image: Vec<Dim>,
    /// Size of the window.
    pub block: Vec<i64>,
    /// Steps between windows.
    pub strides: Vec<i64>,
    /// Padding in front of every spatial axis, then behind.
    pub pads: Vec<Dim>,
    /// Steps between the elements of a window.
    pub dilations: Vec<i64>,
}

/// An image from the columns `x`, see [`Col2im`].
pub fn col2im(b: &mut dyn Builder, op: &Col2im, x: &Var) -> Result<Var> {
    b.one(op, std::slice::from_ref(x))
}

impl Col2im {
    fn window(&self) -> Result<Window> {
        let window = Window::new(&window::known(&self.block), &self.strides, &self.pads, &self.dilations)?;
        if self.image.len() != self.block.len() || self.image.is_empty() {
            return Err(Error::value(format!("an image [{}] and a block {:?}", Dim::join(&self.image), self.block))
                .with_expected("equally many sizes, at least one"));
        }
        Ok(window)
    }

    /// Elements of a window.
    fn taps(&self) -> i64 {
        self.block.iter().fold(1i64, |p, &n| p.saturating_mul(n))
    }
}

fn import(node: &dyn OnnxNode, b: &mut dyn Builder, inputs: &[Option<Var>]) -> Result<Vars> {
    let (x, image, block) = (required(inputs, 0)?, required(inputs, 1)?, required(inputs, 2)?);
    let (image, block) = (b.dims(&image)?, common::fixed_ints(b, &block)?);
    let rank = block.len();
    let op = Col2im {
        image,
        strides: node.ints("strides")?.unwrap_or_else(|| vec![1; rank]),
        pads: window::known(&node.ints("pads")?.unwrap_or_else(|| vec![0; 2 * rank])),
        dilations: node.ints("dilations")?.unwrap_or_else(|| vec![1; rank]),
        block,
    };
    Ok(smallvec![col2im(b, &op, &x)?])
}

impl Op for Col2im {
    fn arity(&self) -> Arity {
        Arity::exactly(1)
    }

    fn class(&self) -> Class {
        Class::Opaque
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        let x = inputs[0].as_tensor()?;
        common::check_dtype(x.dtype, Self::DTYPES)?;
        let outputs = self.window()?.outputs(&self.image, false)?;
        let taps = self.taps();
        if x.rank() != 3 || x.shape[1].known().is_some_and(|c| c % taps != 0) {
            return Err(Error::shape(format!("got columns {x} for windows of {taps} elements"))
                .with_expected(format!("[N, C * {taps}, {}]", Dim::product(&outputs))));
        }
        window::check_equal("the number of columns", &x.shape[2], &Dim::product(&outputs))?;
        let shape = [x.shape[0].clone(), x.shape[1].floor_div(&Dim::Known(taps))];
        Ok(common::one(TensorFact::new(x.dtype, shape.into_iter().chain(self.image.iter().cloned()))))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        let x = inputs[0].tensor()?;
        let window = self.window()?;
        let image = common::sizes(&self.image)?;
        let outputs = common::sizes(&window.outputs(&self.image, false)?)?;
        let taps = window.taps(&image, &outputs)?;
        let (count, plane) = (self.taps() as usize, image.iter().product::<usize>());
        let (n, columns) = (x.shape()[0] * (x.shape()[1] / count), x.shape()[2]);
        let values = x.to_f64();
        let mut sums = vec![0.0; n * plane];
        for i in 0..n {
            taps.iter().for_each(|&(o, k, at)| sums[i * plane + at] += values[(i * count + k) * columns + o]);
        }
        let shape = [&[x.shape()[0], x.shape()[1] / count], image.as_slice()].concat();
        common::out(HostTensor::from_f64(x.dtype(), &shape, &sums)?)
    }

    fn gradient(&self) -> Gradient {
        Gradient::Decompose
    }

    fn decompose(&self, b: &mut dyn Builder, inputs: &[Var]) -> Option<Result<Vars>> {
        let made = |b: &mut dyn Builder| {
            let x = b.tensor_fact(&inputs[0])?;
            let taps = usize::try_from(self.taps()).ok().filter(|&n| n <= 1 << 12);
            let taps = taps.ok_or_else(|| Error::unsupported(format!("windows of {} elements", self.taps())))?;
            let channels = x.shape[1].floor_div(&Dim::from(taps));
            let images = x.shape[0].mul(&channels);
            let outputs = self.window()?.outputs(&self.image, false)?;
            // The adjoint of a convolution whose filters pick one element of the window each.
            let picks: Vec<f64> = (0..taps * taps).map(|i| f64::from(i % (taps + 1) == 0)).collect();
            let picks = b.constant(HostTensor::from_f64(x.dtype, &[taps, taps], &picks)?)?;
            let block = [&[taps as i64, 1], self.block.as_slice()].concat();
            let picks = to_shape(b, &picks, window::known(&block))?;
            let columns = [images, Dim::from(taps)].into_iter().chain(outputs).collect();
            let columns = to_shape(b, &inputs[0], columns)?;
            let of = Conv {
                strides: self.strides.clone(),
                pads: self.pads.clone(),
                dilations: self.dilations.clone(),
                group: 1,
                channels_last: false,
            };
            let y = conv_input_grad(b, &of, &columns, &picks, self.image.clone())?;
            let shape = [x.shape[0].clone(), channels].into_iter().chain(self.image.iter().cloned()).collect();
            Ok(smallvec![to_shape(b, &y, shape)?])
        };
        Some(made(b))
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        let image: Vec<i64> = self.image.iter().map(Dim::known).collect::<Option<_>>()?;
        let export = self.window().ok()?.to_onnx(OnnxExport::new("Col2Im", 18))?;
        Some(export.input(HostTensor::ints(&image).ok()?).input(HostTensor::ints(&self.block).ok()?))
    }
}

impl OpType for Col2im {
    const NAME: &'static str = "col2im";
    const DOC: &'static str = "Columns of windows added up into an image.";
    const DTYPES: &'static [DType] = DType::FLOATS;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("Col2Im", 18, import)]
    }

    fn cases() -> Vec<Case> {
        let op = |image: &[i64], block: &[i64], strides: &[i64], pads: &[i64], dilations: &[i64]| Col2im {
            image: window::known(image),
            block: block.to_vec(),
            strides: strides.to_vec(),
            pads: window::known(pads),
            dilations: dilations.to_vec(),
        };
        let plane = op(&[5, 6], &[2, 3], &[1, 1], &[0; 4], &[1, 1]);
        let mut cases = Vec::new();
        for &d in Self::DTYPES {
            let case = Case::new(format!("plane-{d}"), &plane, vec![CaseInput::new(d, &[2, 12, 16])]);
            let case = if matches!(d, DType::F32 | DType::F64) { case.with_gradient() } else { case };
            cases.push(case.symbol(0, 0, "batch"));
        }
        for (name, op, shape) in [
            ("padded", op(&[5, 5], &[3, 3], &[2, 2], &[1; 4], &[1, 1]), [1, 18, 9]),
            ("dilated", op(&[6, 6], &[2, 2], &[1, 2], &[0, 1, 0, 1], &[2, 3]), [1, 4, 12]),
            ("line", op(&[7], &[3], &[2], &[0, 0], &[1]), [2, 6, 3]),
            ("volume", op(&[3, 3, 4], &[1, 2, 2], &[1; 3], &[0; 6], &[1; 3]), [1, 8, 18]),
            ("no-batch", plane.clone(), [0, 12, 16]),
        ] {
            cases.push(Case::new(name, &op, vec![CaseInput::new(DType::F64, &shape)]).with_gradient());
        }
        let x = CaseInput::new(DType::F32, &[2, 12, 16]).view(View::Transposed);
        cases.push(Case::new("transposed", &plane, vec![x]).with_gradient());
        cases
    }
}
