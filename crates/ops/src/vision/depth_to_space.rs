//! Channels spread over blocks of pixels.

use lampyr_base::{DType, Dim, Error, Result};
use lampyr_ir::case::{Case, CaseInput, View};
use lampyr_ir::onnx::{OnnxAttr, OnnxExport, OnnxMapping, required};
use lampyr_ir::{
    Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostTensor, HostValue, Op, OpType, TensorFact, Var, Vars,
};
use smallvec::smallvec;

use crate::build::{reshape, transpose};
use crate::common;

/// `x` `[N, C * b * b, H, W]` as `[N, C, H * b, W * b]` for blocks of `b` by `b` pixels (ONNX DepthToSpace; torch
/// `pixel_shuffle` in mode `CRD`).
#[derive(Clone, Debug, Attrs)]
pub struct DepthToSpace {
    /// Side of a block.
    pub blocksize: i64,
    /// Which channel holds pixel `(i, j)` of the block of channel `c`: `(i * b + j) * C + c` in `DCR`,
    /// `(c * b + i) * b + j` in `CRD`.
    #[attr(default = "DCR".to_string())]
    pub mode: String,
}

/// Channels of `x` spread over blocks of pixels, see [`DepthToSpace`].
pub fn depth_to_space(b: &mut dyn Builder, x: &Var, blocksize: i64, mode: &str) -> Result<Var> {
    b.one(&DepthToSpace { blocksize, mode: mode.to_string() }, std::slice::from_ref(x))
}

/// Fails unless `x` is a batch of images, `blocksize` is positive and `mode` is one of both; gives whether it is `DCR`.
pub(crate) fn check_blocks(x: &TensorFact, blocksize: i64, mode: &str) -> Result<bool> {
    if x.rank() != 4 {
        return Err(Error::shape(format!("got a tensor of rank {}", x.rank()))
            .with_expected("rank 4: batch, channels, height and width"));
    }
    if !(1..=1 << 15).contains(&blocksize) {
        return Err(Error::value(format!("blocksize is {blocksize}")).with_expected("a number from 1 to 32768"));
    }
    match mode {
        "DCR" => Ok(true),
        "CRD" => Ok(false),
        _ => Err(Error::value(format!("mode is `{mode}`")).with_expected("DCR or CRD")),
    }
}

impl Op for DepthToSpace {
    fn arity(&self) -> Arity {
        Arity::exactly(1)
    }

    fn class(&self) -> Class {
        Class::Opaque
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        let x = inputs[0].as_tensor()?;
        check_blocks(x, self.blocksize, &self.mode)?;
        let (b, square) = (Dim::Known(self.blocksize), self.blocksize * self.blocksize);
        if x.shape[1].known().is_some_and(|c| c % square != 0) {
            return Err(Error::shape(format!("{} channels do not make blocks", x.shape[1]))
                .with_expected(format!("a multiple of {square} channels")));
        }
        let channels = x.shape[1].floor_div(&Dim::Known(square));
        let shape = [x.shape[0].clone(), channels, x.shape[2].mul(&b), x.shape[3].mul(&b)];
        Ok(common::one(TensorFact::new(x.dtype, shape)))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        let x = inputs[0].tensor()?;
        let b = self.blocksize as usize;
        let &[n, c, h, w] = x.shape() else { return Err(Error::shape("not a batch of images")) };
        let size = x.dtype().size();
        let shape = [n, c / (b * b), h * b, w * b];
        let mut bytes = Vec::with_capacity(x.bytes().len());
        for flat in 0..shape.iter().product::<usize>() {
            let at = common::unravel(flat, &shape);
            let (i, j) = (at[2] % b, at[3] % b);
            let channel = if self.mode == "DCR" { (i * b + j) * shape[1] + at[1] } else { (at[1] * b + i) * b + j };
            let from = (((at[0] * c + channel) * h + at[2] / b) * w + at[3] / b) * size;
            bytes.extend_from_slice(&x.bytes()[from..from + size]);
        }
        common::out(HostTensor::copy_bytes(x.dtype(), &shape, &bytes)?)
    }

    fn gradient(&self) -> Gradient {
        Gradient::Decompose
    }

    fn decompose(&self, b: &mut dyn Builder, inputs: &[Var]) -> Option<Result<Vars>> {
        let made = |b: &mut dyn Builder| {
            let x = b.tensor_fact(&inputs[0])?;
            let dcr = check_blocks(&x, self.blocksize, &self.mode)?;
            let side = Dim::Known(self.blocksize);
            let [n, c, h, w] = [0, 1, 2, 3].map(|a| x.shape[a].clone());
            let c = c.floor_div(&side.mul(&side));
            let (parts, order) = match dcr {
                true => {
                    (vec![n.clone(), side.clone(), side.clone(), c.clone(), h.clone(), w.clone()], [0, 3, 4, 1, 5, 2])
                }
                false => {
                    (vec![n.clone(), c.clone(), side.clone(), side.clone(), h.clone(), w.clone()], [0, 1, 4, 2, 5, 3])
                }
            };
            let parts = reshape(b, &inputs[0], parts)?;
            let turned = transpose(b, &parts, &order)?;
            Ok(smallvec![reshape(b, &turned, vec![n, c, h.mul(&side), w.mul(&side)])?])
        };
        Some(made(b))
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        let export = OnnxExport::new("DepthToSpace", 13)
            .attr("blocksize", OnnxAttr::Int(self.blocksize))
            .attr("mode", OnnxAttr::Str(self.mode.clone()));
        Some(export)
    }
}

impl OpType for DepthToSpace {
    const NAME: &'static str = "depth_to_space";
    const DOC: &'static str = "Channels spread over blocks of pixels.";
    const DTYPES: &'static [DType] = DType::ALL;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("DepthToSpace", 1, |node, b, x| {
            let blocksize = node.int("blocksize", 0)?;
            Ok(smallvec![depth_to_space(b, &required(x, 0)?, blocksize, &node.text("mode", "DCR")?)?])
        })]
    }

    fn cases() -> Vec<Case> {
        let mut cases = Vec::new();
        for mode in ["DCR", "CRD"] {
            let op = |blocksize| DepthToSpace { blocksize, mode: mode.to_string() };
            for &d in Self::DTYPES {
                let case = Case::new(format!("{mode}-{d}"), &op(2), vec![CaseInput::new(d, &[2, 8, 2, 3])]);
                let case = if matches!(d, DType::F32 | DType::F64) { case.with_gradient() } else { case };
                cases.push(case.symbol(0, 0, "batch").symbol(0, 2, "height").symbol(0, 3, "width"));
            }
            for (name, blocksize, shape) in
                [("three", 3, [1, 9, 2, 1]), ("one", 1, [1, 2, 2, 3]), ("no-batch", 2, [0, 4, 2, 2])]
            {
                let x = CaseInput::new(DType::F64, &shape);
                cases.push(Case::new(format!("{mode}-{name}"), &op(blocksize), vec![x]).with_gradient());
            }
            let x = CaseInput::new(DType::F32, &[2, 8, 3, 4]).view(View::Transposed);
            cases.push(Case::new(format!("{mode}-transposed"), &op(2), vec![x]).with_gradient());
        }
        cases
    }
}
