//! Sliding windows, as a view.

use lampyr_base::{DType, Dim, Error, Layout, Result};
use lampyr_ir::case::{Case, CaseInput, View};
use lampyr_ir::{
    Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostValue, Op, OpType, Saved, Saves, TensorFact, Var,
};

use crate::{common, strided};

/// Windows of `size` elements along one axis, `step` apart: the axis counts the windows, and a new last axis the
/// elements of each. No copy.
#[derive(Clone, Debug, Attrs)]
pub struct Unfold {
    /// The axis; a negative one counts from the last.
    pub axis: i64,
    /// Elements of a window.
    pub size: i64,
    /// Distance of the windows' starts, 1 or more.
    pub step: i64,
}

/// Windows of `size` elements of `x` along `axis`.
pub fn unfold(b: &mut dyn Builder, x: &Var, axis: i64, size: i64, step: i64) -> Result<Var> {
    b.one(&Unfold { axis, size, step }, std::slice::from_ref(x))
}

impl Unfold {
    /// A 0-d tensor counts as one of one element, of which the windows are taken.
    fn axis_of(&self, rank: usize) -> Result<usize> {
        if self.size < 0 || self.step < 1 {
            return Err(Error::value(format!("windows of {} elements, {} apart", self.size, self.step))
                .with_expected("a size of 0 or more and a step of 1 or more"));
        }
        common::axis(self.axis, rank.max(1))
    }

    fn check(&self, length: i64) -> Result<()> {
        if self.size > length {
            return Err(Error::shape(format!("windows of {} elements on an axis of {length}", self.size))
                .with_expected("windows that fit the axis"));
        }
        Ok(())
    }

    fn layout(&self, base: &Layout) -> Result<Layout> {
        let axis = self.axis_of(base.rank())?;
        let length = base.shape.get(axis).map_or(1, |&d| d as i64);
        let stride = base.strides.get(axis).copied().unwrap_or(1);
        self.check(length)?;
        let count = (length - self.size) / self.step + 1;
        let mut layout = base.clone();
        if base.rank() > 0 {
            layout.shape[axis] = count as usize;
            // The step between single windows may be too large to multiply with.
            layout.strides[axis] = if count > 1 { stride * self.step as isize } else { stride };
        }
        layout.shape.push(self.size as usize);
        layout.strides.push(stride);
        Ok(layout)
    }
}

impl Op for Unfold {
    fn arity(&self) -> Arity {
        Arity::exactly(1)
    }

    fn class(&self) -> Class {
        Class::View
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        let x = inputs[0].as_tensor()?;
        let axis = self.axis_of(x.rank())?;
        let mut shape: Vec<Dim> = x.shape.to_vec();
        match shape.get_mut(axis) {
            Some(length) => {
                if let Some(n) = length.known() {
                    self.check(n)?;
                }
                *length = length.sub(&Dim::Known(self.size)).floor_div(&Dim::Known(self.step)).add(&Dim::Known(1));
            }
            None => self.check(1)?,
        }
        shape.push(Dim::Known(self.size));
        Ok(common::one(TensorFact::new(x.dtype, shape)))
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

impl OpType for Unfold {
    const NAME: &'static str = "unfold";
    const DOC: &'static str = "Sliding windows along an axis, without a copy.";
    const DTYPES: &'static [DType] = DType::ALL;

    fn cases() -> Vec<Case> {
        let mut cases = Vec::new();
        let list: [(&str, &[usize], [i64; 3]); 8] = [
            ("overlapping", &[7], [0, 3, 1]),
            ("apart", &[3, 8], [-1, 2, 3]),
            ("inner", &[2, 6, 3], [1, 4, 2]),
            ("whole", &[4, 2], [0, 4, i64::MAX]),
            ("nothing", &[4, 2], [0, 0, 1]),
            ("scalar", &[], [0, 1, 1]),
            ("scalar-nothing", &[], [-1, 0, 2]),
            ("empty", &[0, 3], [1, 2, 1]),
        ];
        for (name, shape, [axis, size, step]) in list {
            let op = Unfold { axis, size, step };
            cases.push(Case::new(name, &op, vec![CaseInput::new(DType::F32, shape)]).with_gradient());
        }
        let op = Unfold { axis: 1, size: 3, step: 2 };
        for &d in DType::ALL {
            cases.push(Case::new(format!("all-{d}"), &op, vec![CaseInput::new(d, &[2, 6])]));
        }
        for v in [View::Transposed, View::Strided, View::Reversed, View::Broadcast] {
            let x = CaseInput::new(DType::F64, &[3, 6]).view(v);
            cases.push(Case::new(format!("{v:?}").to_lowercase(), &op, vec![x]));
        }
        cases
    }
}
