//! Diagonals, as a view.

use lampyr_base::{DType, Dim, Error, Layout, Result};
use lampyr_ir::case::{Case, CaseInput, View};
use lampyr_ir::{
    Arity, Attrs, Builder, Class, Fact, Facts, Gradient, HostValue, Op, OpType, Saved, Saves, TensorFact, Var,
};

use crate::{common, strided};

/// The diagonal of the matrices that two axes span, as a new last axis; the two axes go away. No copy.
#[derive(Clone, Debug, Attrs)]
pub struct Diagonal {
    /// Columns above the main diagonal; negative ones are below it.
    #[attr(default = 0)]
    pub offset: i64,
    /// The axis of the rows.
    #[attr(default = 0)]
    pub axis1: i64,
    /// The axis of the columns.
    #[attr(default = 1)]
    pub axis2: i64,
}

/// The diagonal of `x` over two axes.
pub fn diagonal(b: &mut dyn Builder, x: &Var, offset: i64, axis1: i64, axis2: i64) -> Result<Var> {
    b.one(&Diagonal { offset, axis1, axis2 }, std::slice::from_ref(x))
}

impl Diagonal {
    fn axes(&self, rank: usize) -> Result<(usize, usize)> {
        let (i, j) = (common::axis(self.axis1, rank)?, common::axis(self.axis2, rank)?);
        if i == j {
            return Err(Error::value(format!("axes {} and {} are the same one", self.axis1, self.axis2))
                .with_expected("two different axes"));
        }
        Ok((i, j))
    }

    fn layout(&self, base: &Layout) -> Result<Layout> {
        let (i, j) = self.axes(base.rank())?;
        let (rows, columns) = (base.shape[i] as i64, base.shape[j] as i64);
        let (down, right) = (self.offset.saturating_neg().max(0), self.offset.max(0));
        let count = rows.saturating_sub(down).min(columns.saturating_sub(right)).max(0);
        let mut layout = base.clone();
        if count > 0 {
            let start = down as isize * base.strides[i] + right as isize * base.strides[j];
            layout.offset = base.offset.wrapping_add_signed(start);
        }
        for axis in [i.max(j), i.min(j)] {
            layout.shape.remove(axis);
            layout.strides.remove(axis);
        }
        layout.shape.push(count as usize);
        layout.strides.push(base.strides[i] + base.strides[j]);
        Ok(layout)
    }
}

impl Op for Diagonal {
    fn arity(&self) -> Arity {
        Arity::exactly(1)
    }

    fn class(&self) -> Class {
        Class::View
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Facts> {
        let x = inputs[0].as_tensor()?;
        let (i, j) = self.axes(x.rank())?;
        let (down, right) = (Dim::Known(self.offset.saturating_neg().max(0)), Dim::Known(self.offset.max(0)));
        let count = x.shape[i].sub(&down).minimum(&x.shape[j].sub(&right)).maximum(&Dim::Known(0));
        let kept = x.shape.iter().enumerate().filter(|(a, _)| *a != i && *a != j).map(|(_, d)| d.clone());
        Ok(common::one(TensorFact::new(x.dtype, kept.chain([count]))))
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

impl OpType for Diagonal {
    const NAME: &'static str = "diagonal";
    const DOC: &'static str = "Diagonals over two axes, without a copy.";
    const DTYPES: &'static [DType] = DType::ALL;

    fn cases() -> Vec<Case> {
        let mut cases = Vec::new();
        let list: [(&str, &[usize], [i64; 3]); 8] = [
            ("square", &[3, 3], [0, 0, 1]),
            ("above", &[3, 5], [1, 0, 1]),
            ("below", &[4, 3], [-2, 0, 1]),
            ("outside", &[4, 3], [9, 0, 1]),
            ("far", &[4, 3], [i64::MIN, 0, 1]),
            ("inner", &[2, 3, 4, 3], [1, 3, -3]),
            ("outer", &[3, 2, 4], [0, 0, 2]),
            ("empty", &[0, 3], [0, 0, 1]),
        ];
        for (name, shape, [offset, axis1, axis2]) in list {
            let op = Diagonal { offset, axis1, axis2 };
            cases.push(Case::new(name, &op, vec![CaseInput::new(DType::F32, shape)]).with_gradient());
        }
        let op = Diagonal { offset: -1, axis1: 0, axis2: 1 };
        for &d in DType::ALL {
            cases.push(Case::new(format!("all-{d}"), &op, vec![CaseInput::new(d, &[3, 4])]));
        }
        for v in [View::Transposed, View::Strided, View::Reversed, View::Broadcast] {
            let x = CaseInput::new(DType::F64, &[3, 4]).view(v);
            cases.push(Case::new(format!("{v:?}").to_lowercase(), &op, vec![x]));
        }
        cases
    }
}
