//! Blocks of pixels gathered into channels.

use lampyr_base::{DType, Dim, Error, Result};
use lampyr_ir::case::{Case, CaseInput, View};
use lampyr_ir::onnx::{OnnxAttr, OnnxExport, OnnxMapping, required};
use lampyr_ir::{
    Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostTensor, HostValue, Op, OpType, TensorFact, Var, Vars,
};
use smallvec::smallvec;

use crate::build::{reshape, transpose};
use crate::common;
use crate::vision::depth_to_space::check_blocks;

/// `x` `[N, C, H * b, W * b]` as `[N, C * b * b, H, W]` for blocks of `b` by `b` pixels (ONNX SpaceToDepth in mode `DCR`,
/// torch `pixel_unshuffle` in mode `CRD`); the inverse of `depth_to_space`.
#[derive(Clone, Debug, Attrs)]
pub struct SpaceToDepth {
    /// Side of a block.
    pub blocksize: i64,
    /// Which channel gets pixel `(i, j)` of the block of channel `c`: `(i * b + j) * C + c` in `DCR`,
    /// `(c * b + i) * b + j` in `CRD`.
    #[attr(default = "DCR".to_string())]
    pub mode: String,
}

/// Blocks of pixels of `x` gathered into channels, see [`SpaceToDepth`].
pub fn space_to_depth(b: &mut dyn Builder, x: &Var, blocksize: i64, mode: &str) -> Result<Var> {
    b.one(&SpaceToDepth { blocksize, mode: mode.to_string() }, std::slice::from_ref(x))
}

impl Op for SpaceToDepth {
    fn arity(&self) -> Arity {
        Arity::exactly(1)
    }

    fn class(&self) -> Class {
        Class::Opaque
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        let x = inputs[0].as_tensor()?;
        check_blocks(x, self.blocksize, &self.mode)?;
        let b = Dim::Known(self.blocksize);
        if let Some(size) = x.shape[2..].iter().find(|d| d.known().is_some_and(|n| n % self.blocksize != 0)) {
            return Err(Error::shape(format!("{size} pixels do not fall into blocks"))
                .with_expected(format!("a multiple of {b}")));
        }
        let channels = x.shape[1].mul(&Dim::Known(self.blocksize * self.blocksize));
        let shape = [x.shape[0].clone(), channels, x.shape[2].floor_div(&b), x.shape[3].floor_div(&b)];
        Ok(common::one(TensorFact::new(x.dtype, shape)))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        let x = inputs[0].tensor()?;
        let b = self.blocksize as usize;
        let &[n, c, h, w] = x.shape() else { return Err(Error::shape("not a batch of images")) };
        if h % b != 0 || w % b != 0 {
            return Err(Error::shape(format!("{h} by {w} pixels do not fall into blocks of {b} by {b}")));
        }
        let size = x.dtype().size();
        let shape = [n, c * b * b, h / b, w / b];
        let mut bytes = Vec::with_capacity(x.bytes().len());
        for flat in 0..shape.iter().product::<usize>() {
            let at = common::unravel(flat, &shape);
            let (block, channel) =
                if self.mode == "DCR" { (at[1] / c, at[1] % c) } else { (at[1] % (b * b), at[1] / (b * b)) };
            let (i, j) = (block / b, block % b);
            let from = (((at[0] * c + channel) * h + at[2] * b + i) * w + at[3] * b + j) * size;
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
            let (h, w) = (h.floor_div(&side), w.floor_div(&side));
            let parts = vec![n.clone(), c.clone(), h.clone(), side.clone(), w.clone(), side.clone()];
            let parts = reshape(b, &inputs[0], parts)?;
            let order = if dcr { [0, 3, 5, 1, 2, 4] } else { [0, 1, 3, 5, 2, 4] };
            let turned = transpose(b, &parts, &order)?;
            Ok(smallvec![reshape(b, &turned, vec![n, c.mul(&side).mul(&side), h, w])?])
        };
        Some(made(b))
    }

    fn to_onnx(&self, _inputs: &[&Fact]) -> Option<OnnxExport> {
        let export = OnnxExport::new("SpaceToDepth", 13).attr("blocksize", OnnxAttr::Int(self.blocksize));
        (self.mode == "DCR").then_some(export)
    }
}

impl OpType for SpaceToDepth {
    const NAME: &'static str = "space_to_depth";
    const DOC: &'static str = "Blocks of pixels gathered into channels.";
    const DTYPES: &'static [DType] = DType::ALL;

    fn onnx() -> Vec<OnnxMapping> {
        vec![OnnxMapping::new("SpaceToDepth", 1, |node, b, x| {
            Ok(smallvec![space_to_depth(b, &required(x, 0)?, node.int("blocksize", 0)?, &node.text("mode", "DCR")?)?])
        })]
    }

    fn cases() -> Vec<Case> {
        let mut cases = Vec::new();
        for mode in ["DCR", "CRD"] {
            let op = |blocksize| SpaceToDepth { blocksize, mode: mode.to_string() };
            for &d in Self::DTYPES {
                let case = Case::new(format!("{mode}-{d}"), &op(2), vec![CaseInput::new(d, &[2, 3, 4, 6])]);
                let case = if matches!(d, DType::F32 | DType::F64) { case.with_gradient() } else { case };
                cases.push(case.symbol(0, 0, "batch").symbol(0, 1, "channels"));
            }
            for (name, blocksize, shape) in
                [("three", 3, [1, 2, 3, 6]), ("one", 1, [1, 2, 2, 3]), ("no-batch", 2, [0, 4, 2, 2])]
            {
                let x = CaseInput::new(DType::F64, &shape);
                cases.push(Case::new(format!("{mode}-{name}"), &op(blocksize), vec![x]).with_gradient());
            }
            let x = CaseInput::new(DType::F32, &[2, 3, 4, 8]).view(View::Transposed);
            cases.push(Case::new(format!("{mode}-transposed"), &op(2), vec![x]).with_gradient());
        }
        cases
    }
}
