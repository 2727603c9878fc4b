//! The adjoint of pooling regions.

use lampyr_base::{DType, Dim, Error, Result};
use lampyr_ir::case::{Case, CaseInput};
use lampyr_ir::{
    Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostTensor, HostValue, Op, OpRef, OpType, Saved, Saves,
    TensorFact, Var,
};

use crate::build::{RoiAlign, roi_align};
use crate::common;
use crate::vision::roi_align::{case_inputs, check_regions};
use crate::window;

/// The gradient of the feature maps that `roi_align` in mode `avg` read, from the gradient of its result, the regions and
/// their images; linear in the first.
#[derive(Clone, Debug, Attrs)]
pub struct RoiAlignGrad {
    /// The op, a `roi_align`.
    pub of: OpRef,
    /// Sizes of its first input, the result here.
    pub input: Vec<Dim>,
}

/// Gradient of the feature maps, of sizes `input`, of `of` from the gradient `g` of its result.
pub fn roi_align_grad(
    b: &mut dyn Builder,
    of: &RoiAlign,
    g: &Var,
    rois: &Var,
    batch_indices: &Var,
    input: Vec<Dim>,
) -> Result<Var> {
    let of = OpRef::new(of.clone());
    b.one(&RoiAlignGrad { of, input }, &[g.clone(), rois.clone(), batch_indices.clone()])
}

impl RoiAlignGrad {
    /// The op whose adjoint this is.
    ///
    /// # Errors
    /// When it is another one.
    pub fn forward(&self) -> Result<&RoiAlign> {
        let of = self.of.downcast::<RoiAlign>().filter(|op| op.mode == "avg");
        of.ok_or_else(|| Error::value(format!("`{}` does not take means of regions", self.of.name())))
    }
}

impl Op for RoiAlignGrad {
    fn arity(&self) -> Arity {
        Arity::exactly(3)
    }

    fn class(&self) -> Class {
        Class::Opaque
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        let f = common::tensors(inputs)?;
        common::check_dtype(f[0].dtype, Self::DTYPES)?;
        let of = self.forward()?;
        of.check()?;
        let count = check_regions(f[0].dtype, f[1], f[2])?;
        let want = [count, self.input.get(1).cloned().unwrap_or(Dim::Known(0))];
        let want = [&want[..], &window::known(&[of.output_height, of.output_width])].concat();
        let fits = f[0].rank() == 4 && want.iter().zip(&f[0].shape).all(|(a, b)| common::same_dim(a, b).is_ok());
        if self.input.len() != 4 || !fits {
            return Err(Error::shape(format!("the gradient is {} for maps [{}]", f[0], Dim::join(&self.input)))
                .with_expected(format!("[{}]", Dim::join(&want))));
        }
        Ok(common::one(TensorFact::new(f[0].dtype, self.input.iter().cloned())))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        let (t, of) = (common::host(inputs)?, self.forward()?);
        let sizes = common::sizes(&self.input)?;
        let &[n, c, h, w] = sizes.as_slice() else { return Err(Error::shape("not a batch of images")) };
        let bins = (of.output_height * of.output_width) as usize;
        let (g, rois) = (t[0].to_f64(), t[1].to_f64());
        let mut sums = vec![0.0; n * c * h * w];
        for (r, image) in t[2].to_i64().into_iter().enumerate() {
            let image = common::element(image, n)?;
            of.samples(&rois[4 * r..4 * r + 4], (h, w), t[0].dtype(), |bin, corners, samples| {
                for channel in 0..c {
                    let part = g[(r * c + channel) * bins + bin] / samples as f64;
                    let plane = &mut sums[(image * c + channel) * h * w..][..h * w];
                    for (i, weight) in corners {
                        if let Some(to) = plane.get_mut(i) {
                            *to += weight * part;
                        }
                    }
                }
            });
        }
        common::out(HostTensor::from_f64(t[0].dtype(), &sizes, &sums)?)
    }

    fn gradient(&self) -> Gradient {
        Gradient::Vjp
    }

    fn saves(&self) -> Saves {
        Saves { inputs: 0b110, outputs: 0 }
    }

    fn vjp(&self, b: &mut dyn Builder, s: &Saved, grads: &[Option<Var>], needs: &[bool]) -> Result<Vec<Option<Var>>> {
        let mut result = vec![None; 3];
        if let Some(x) = grads[0].as_ref().filter(|_| needs[0]) {
            result[0] = Some(roi_align(b, self.forward()?, x, s.input(1)?, s.input(2)?)?);
        }
        Ok(result)
    }
}

impl OpType for RoiAlignGrad {
    const NAME: &'static str = "roi_align_grad";
    const DOC: &'static str = "Gradient of feature maps whose regions were pooled.";
    const DTYPES: &'static [DType] = DType::FLOATS;

    fn cases() -> Vec<Case> {
        let of = |sampling_ratio: i64, aligned: bool| RoiAlign {
            output_height: 3,
            output_width: 2,
            sampling_ratio,
            spatial_scale: 0.5,
            mode: "avg".to_string(),
            aligned,
        };
        let case = |name: String, of: RoiAlign, d: DType, shape: &[usize]| {
            let mut inputs = case_inputs(d, shape);
            inputs[0] = CaseInput::new(d, &[4, shape[1], of.output_height as usize, of.output_width as usize]);
            let input = shape.iter().map(|&n| Dim::from(n)).collect();
            Case::new(name, &RoiAlignGrad { of: OpRef::new(of), input }, inputs)
        };
        let mut cases: Vec<Case> =
            Self::DTYPES.iter().map(|&d| case(format!("mean-{d}"), of(2, true), d, &[2, 3, 6, 5])).collect();
        cases.push(case("adaptive".to_string(), of(0, false), DType::F32, &[2, 3, 6, 5]));
        cases.push(case("large".to_string(), of(2, true), DType::F32, &[2, 21, 25, 30]));
        let mut one = case("one-pixel".to_string(), of(2, false), DType::F64, &[2, 3, 1, 1]);
        one.inputs[1] = one.inputs[1].clone().values(&[0.1, 0.2, 0.8, 0.9]);
        cases.push(one.with_gradient());
        cases
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum_of_products(a: &HostTensor, b: &HostTensor) -> f64 {
        a.to_f64().iter().zip(b.to_f64()).map(|(x, y)| x * y).sum()
    }

    /// `<align(x), g> = <x, grad(g)>` for regions of all kinds.
    #[test]
    fn it_is_the_adjoint() -> Result<()> {
        for case in RoiAlign::cases() {
            let Some(op) = case.op.downcast::<RoiAlign>().filter(|op| op.mode == "avg") else { continue };
            if case.inputs[0].dtype != DType::F32 {
                continue;
            }
            let values = case.values()?;
            let (x, y) = (values[0].tensor()?, case.op.reference(&values)?);
            let y = y[0].tensor()?;
            let g = CaseInput::new(DType::F64, y.shape()).value()?;
            let input = x.shape().iter().map(|&n| Dim::from(n)).collect();
            let adjoint = RoiAlignGrad { of: OpRef::new(op.clone()), input };
            let grad = adjoint.reference(&[g.clone(), values[1].clone(), values[2].clone()])?;
            let (one, other) = (sum_of_products(y, g.tensor()?), sum_of_products(x, grad[0].tensor()?));
            assert!((one - other).abs() < 1e-4 * (1.0 + one.abs()), "{}: {one} and {other}", case.name);
        }
        Ok(())
    }
}
