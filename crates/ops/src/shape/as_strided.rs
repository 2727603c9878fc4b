//! Any strides over a row-major tensor, as a view.

use lampyr_base::{DType, Error, Layout, Result, num_elements};
use lampyr_ir::case::{Case, CaseInput};
use lampyr_ir::{
    Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostValue, Op, OpType, Saved, Saves, TensorFact, Var,
};

use crate::{common, strided};

/// The elements of a tensor at `offset` plus all sums of multiples of `stride`, counted in its row-major order. No copy
/// of a row-major tensor.
#[derive(Clone, Debug, Attrs)]
pub struct AsStrided {
    /// Sizes of the result.
    pub size: Vec<i64>,
    /// Steps of the result's axes, in elements, 0 or more.
    pub stride: Vec<i64>,
    /// The first element.
    #[attr(default = 0)]
    pub offset: i64,
}

/// `x` under other sizes and strides.
pub fn as_strided(b: &mut dyn Builder, x: &Var, size: &[i64], stride: &[i64], offset: i64) -> Result<Var> {
    b.one(&AsStrided { size: size.to_vec(), stride: stride.to_vec(), offset }, std::slice::from_ref(x))
}

impl AsStrided {
    fn shape(&self) -> Result<Vec<usize>> {
        let sizes = self.size.iter().map(|&d| usize::try_from(d)).collect::<std::result::Result<Vec<_>, _>>();
        let fits = self.size.len() == self.stride.len() && self.stride.iter().all(|&s| s >= 0) && self.offset >= 0;
        match sizes {
            Ok(sizes) if fits => Ok(sizes),
            _ => Err(Error::value(format!(
                "sizes {:?}, strides {:?} and offset {} do not describe a view",
                self.size, self.stride, self.offset
            ))
            .with_expected("as many strides as sizes, and no negative numbers")),
        }
    }

    /// The layout over `base`, when all its elements lie among the elements of `base`.
    fn layout(&self, base: &Layout) -> Result<Layout> {
        let shape = self.shape()?;
        let empty = num_elements(&shape)? == 0;
        let reach = self.size.iter().zip(&self.stride).try_fold(self.offset, |at, (&d, &s)| {
            if empty { Some(at) } else { (d - 1).checked_mul(s)?.checked_add(at) }
        });
        let last = base.len() as i64 - i64::from(!empty);
        if reach.is_none_or(|reach| reach > last) {
            return Err(Error::shape(format!(
                "sizes {:?} with strides {:?} from element {} reach outside {} elements",
                self.size,
                self.stride,
                self.offset,
                base.len()
            )));
        }
        if !base.is_contiguous() {
            return Err(Error::shape("any strides need a row-major tensor"));
        }
        let strides = self.stride.iter().map(|&s| s as isize).collect();
        Ok(Layout { shape: shape.as_slice().into(), strides, offset: base.offset + self.offset as usize })
    }
}

impl Op for AsStrided {
    fn arity(&self) -> Arity {
        Arity::exactly(1)
    }

    fn class(&self) -> Class {
        Class::View
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        let x = inputs[0].as_tensor()?;
        let unknown = || Error::unsupported("strides over a tensor whose sizes are not known");
        self.layout(&Layout::contiguous(&x.fixed_shape().ok_or_else(unknown)?))?;
        Ok(common::one(TensorFact::fixed(x.dtype, &self.shape()?)))
    }

    fn reference(&self, inputs: &[HostValue]) -> Result<Vec<HostValue>> {
        let x = inputs[0].tensor()?;
        common::out(common::gather_layout(x, &self.layout(&Layout::contiguous(x.shape()))?)?)
    }

    fn gradient(&self) -> Gradient {
        Gradient::Vjp
    }

    fn saves(&self) -> Saves {
        Saves::NOTHING
    }

    fn vjp(&self, b: &mut dyn Builder, s: &Saved, grads: &[Option<Var>], _needs: &[bool]) -> Result<Vec<Option<Var>>> {
        let Some(g) = &grads[0] else { return Ok(vec![None]) };
        Ok(vec![Some(strided::adjoint(b, self, s.input_fact(0)?, g)?)])
    }

    fn view(&self, base: &Layout) -> Option<Layout> {
        self.layout(base).ok()
    }

    fn unview(&self, b: &mut dyn Builder, base: &Var, new: &Var) -> Option<Result<Var>> {
        Some(strided::replace(b, self, base, new))
    }
}

impl OpType for AsStrided {
    const NAME: &'static str = "as_strided";
    const DOC: &'static str = "Other sizes and strides over the elements of a tensor, without a copy.";
    const DTYPES: &'static [DType] = DType::ALL;

    fn cases() -> Vec<Case> {
        type Region = (&'static str, &'static [usize], &'static [i64], &'static [i64], i64);
        let mut cases = Vec::new();
        let list: [Region; 6] = [
            ("plain", &[4, 3], &[2, 2], &[3, 1], 1),
            ("overlapping", &[8], &[3, 4], &[2, 1], 0),
            ("repeated", &[5], &[2, 3], &[0, 1], 2),
            ("one", &[2, 2], &[], &[], 3),
            ("nothing", &[2, 2], &[0, 5], &[9, 1], 1),
            ("empty", &[0], &[0], &[1], 0),
        ];
        for (name, shape, size, stride, offset) in list {
            let op = AsStrided { size: size.to_vec(), stride: stride.to_vec(), offset };
            cases.push(Case::new(name, &op, vec![CaseInput::new(DType::F32, shape)]).with_gradient());
        }
        let op = AsStrided { size: vec![2, 3], stride: vec![1, 2], offset: 0 };
        for &d in DType::ALL {
            cases.push(Case::new(format!("all-{d}"), &op, vec![CaseInput::new(d, &[3, 4])]));
        }
        cases
    }
}
