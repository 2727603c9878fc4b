//! Tensor methods: PyTorch's names and promotion over the strict ops.

use lampyr_base::{DType, Dim, Error, Layout, Result, Shape, num_elements};
use lampyr_ir::Op;
use lampyr_ops::build::*;
use smallvec::SmallVec;

pub(crate) use crate::eager::apply_one as one;
use crate::eager::{Cut, How, strided_view, view_as};
use crate::promote::{Scalar, default_dtype, result_type};
use crate::tensor::Tensor;

fn dims(shape: &[usize]) -> Vec<Dim> {
    shape.iter().map(|&d| Dim::from(d)).collect()
}

/// The right operand of an arithmetic method: a tensor, or a number that adapts to the left one.
#[derive(Clone, Copy, Debug)]
pub enum Operand<'a> {
    /// A tensor.
    Tensor(&'a Tensor),
    /// A number.
    Scalar(Scalar),
}

impl<'a> From<&'a Tensor> for Operand<'a> {
    fn from(t: &'a Tensor) -> Operand<'a> {
        Operand::Tensor(t)
    }
}

impl From<f64> for Operand<'_> {
    fn from(x: f64) -> Self {
        Operand::Scalar(Scalar::Float(x))
    }
}

impl From<i64> for Operand<'_> {
    fn from(x: i64) -> Self {
        Operand::Scalar(Scalar::Int(x))
    }
}

impl From<Scalar> for Operand<'_> {
    fn from(x: Scalar) -> Self {
        Operand::Scalar(x)
    }
}

/// What the result of a promotion must be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Want {
    Common,
    Float,
}

/// What [`Tensor::pick`] takes of one axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pick {
    /// The element at this position; the axis goes away.
    At(usize),
    /// Some of the elements.
    Cut {
        /// The first element.
        start: usize,
        /// Behind the last element.
        end: usize,
        /// From element to element, 1 or more.
        step: usize,
    },
}

impl Tensor {
    /// Both operands in their common type.
    fn promoted(&self, other: Operand, want: Want) -> Result<(Tensor, Tensor)> {
        let mine = (self.dtype(), self.rank() == 0);
        let mut common = match other {
            Operand::Tensor(t) => result_type(&[mine, (t.dtype(), t.rank() == 0)], &[]),
            Operand::Scalar(s) => result_type(&[mine], &[s]),
        };
        if want == Want::Float && !common.is_float() {
            common = default_dtype();
        }
        let other = match other {
            Operand::Tensor(t) => t.to_dtype(common)?,
            Operand::Scalar(s) => Tensor::scalar(s, common, self.device())?,
        };
        Ok((self.to_dtype(common)?, other))
    }

    fn binary<'a>(&self, op: &dyn Op, other: impl Into<Operand<'a>>, want: Want) -> Result<Tensor> {
        let other = other.into();
        if let Operand::Tensor(t) = other
            && t.dtype() == self.dtype()
            && (want == Want::Common || t.dtype().is_float())
        {
            return one(op, &[self, t]);
        }
        let (x, y) = self.promoted(other, want)?;
        one(op, &[&x, &y])
    }

    fn float_unary(&self, op: &dyn Op) -> Result<Tensor> {
        if self.dtype().is_float() { one(op, &[self]) } else { one(op, &[&self.to_dtype(default_dtype())?]) }
    }

    /// A 0-d tensor holding `value` in `dtype`.
    pub fn scalar(value: Scalar, dtype: DType, device: lampyr_base::Device) -> Result<Tensor> {
        if let Some((bytes, size)) = value.bytes_as(dtype) {
            return Tensor::from_bytes(&bytes[..size], &[], dtype, device);
        }
        let host = match value {
            Scalar::Float(x) => lampyr_ir::HostTensor::from_f64(dtype, &[], &[x])?,
            Scalar::Int(i) => lampyr_ir::HostTensor::from_i64(dtype, &[], &[i])?,
            Scalar::Bool(b) => lampyr_ir::HostTensor::from_i64(dtype, &[], &[i64::from(b)])?,
        };
        Tensor::from_host(&host, device)
    }

    /// Sum, after promotion.
    pub fn add<'a>(&self, other: impl Into<Operand<'a>>) -> Result<Tensor> {
        self.binary(&Add, other, Want::Common)
    }

    /// Difference, after promotion.
    pub fn sub<'a>(&self, other: impl Into<Operand<'a>>) -> Result<Tensor> {
        self.binary(&Sub, other, Want::Common)
    }

    /// Product, after promotion.
    pub fn mul<'a>(&self, other: impl Into<Operand<'a>>) -> Result<Tensor> {
        self.binary(&Mul, other, Want::Common)
    }

    /// True quotient: integers become floats first.
    pub fn div<'a>(&self, other: impl Into<Operand<'a>>) -> Result<Tensor> {
        self.binary(&Div, other, Want::Float)
    }

    /// Quotient in the common type: integers are truncated.
    pub fn div_trunc<'a>(&self, other: impl Into<Operand<'a>>) -> Result<Tensor> {
        self.binary(&Div, other, Want::Common)
    }

    /// `self == other`, element by element.
    pub fn equal<'a>(&self, other: impl Into<Operand<'a>>) -> Result<Tensor> {
        self.binary(&Equal, other, Want::Common)
    }

    /// `self > other`, element by element.
    pub fn greater<'a>(&self, other: impl Into<Operand<'a>>) -> Result<Tensor> {
        self.binary(&Greater, other, Want::Common)
    }

    /// `self < other`, element by element.
    pub fn less<'a>(&self, other: impl Into<Operand<'a>>) -> Result<Tensor> {
        self.binary(&Less, other, Want::Common)
    }

    /// Elements of `self` where `condition` holds, else of `other`.
    pub fn where_<'a>(&self, condition: &Tensor, other: impl Into<Operand<'a>>) -> Result<Tensor> {
        let (x, y) = self.promoted(other.into(), Want::Common)?;
        one(&Where, &[condition, &x, &y])
    }

    /// `-self`
    pub fn neg(&self) -> Result<Tensor> {
        one(&Neg, &[self])
    }

    /// e^self
    pub fn exp(&self) -> Result<Tensor> {
        self.float_unary(&Exp)
    }

    /// Natural logarithm.
    pub fn log(&self) -> Result<Tensor> {
        self.float_unary(&Log)
    }

    /// Square root.
    pub fn sqrt(&self) -> Result<Tensor> {
        self.float_unary(&Sqrt)
    }

    /// Hyperbolic tangent.
    pub fn tanh(&self) -> Result<Tensor> {
        self.float_unary(&Tanh)
    }

    /// Error function.
    pub fn erf(&self) -> Result<Tensor> {
        self.float_unary(&Erf)
    }

    /// `max(self, 0)`
    pub fn relu(&self) -> Result<Tensor> {
        one(&Relu, &[self])
    }

    /// Gaussian error linear unit; `approximate` is `none` or `tanh`.
    pub fn gelu(&self, approximate: &str) -> Result<Tensor> {
        self.float_unary(&Gelu { approximate: approximate.to_string() })
    }

    /// The elements converted to `dtype`; the same tensor when it has it already.
    pub fn to_dtype(&self, dtype: DType) -> Result<Tensor> {
        if self.dtype() == dtype {
            return Ok(self.clone());
        }
        one(&Cast { to: dtype }, &[self])
    }

    /// Sum over `axes` (all when empty). Integers and bool are summed in `int64`.
    pub fn sum(&self, axes: &[i64], keepdims: bool) -> Result<Tensor> {
        let wide = if self.dtype().is_float() { self.clone() } else { self.to_dtype(DType::I64)? };
        one(&ReduceSum { axes: axes.to_vec(), keepdims }, &[&wide])
    }

    /// Mean over `axes` (all when empty).
    pub fn mean(&self, axes: &[i64], keepdims: bool) -> Result<Tensor> {
        if !self.dtype().is_float() {
            return Err(Error::dtype(format!("the mean of a {} tensor is not defined", self.dtype()))
                .with_op("mean")
                .with_help("convert it to a float type first"));
        }
        one(&ReduceMean { axes: axes.to_vec(), keepdims }, &[self])
    }

    /// Largest elements over `axes` (all when empty).
    pub fn amax(&self, axes: &[i64], keepdims: bool) -> Result<Tensor> {
        one(&ReduceMax { axes: axes.to_vec(), keepdims }, &[self])
    }

    /// Softmax along `axis`.
    pub fn softmax(&self, axis: i64) -> Result<Tensor> {
        self.float_unary(&Softmax { axis })
    }

    /// Logarithm of the softmax along `axis`.
    pub fn log_softmax(&self, axis: i64) -> Result<Tensor> {
        self.float_unary(&LogSoftmax { axis })
    }

    /// The same elements under another shape; one size may be -1.
    pub fn reshape(&self, shape: &[i64]) -> Result<Tensor> {
        let fail = || {
            Error::shape(format!("{} elements of shape {:?} do not fit {shape:?}", self.len(), self.shape()))
                .with_op("reshape")
                .with_expected("the same number of elements; at most one size may be -1")
        };
        let known = shape.iter().filter(|d| **d >= 0).try_fold(1usize, |n, &d| n.checked_mul(d as usize));
        let known = known.ok_or_else(fail)?;
        let free = shape.iter().filter(|d| **d < 0).count();
        if free > 1 || shape.iter().any(|d| *d < -1) {
            return Err(fail());
        }
        let rest = match free {
            1 if known > 0 && self.len().is_multiple_of(known) => self.len() / known,
            1 => return Err(fail()),
            _ => 1,
        };
        let sizes: Shape = shape.iter().map(|&d| if d < 0 { rest } else { d as usize }).collect();
        if sizes.iter().product::<usize>() != self.len() {
            return Err(fail());
        }
        self.reshape_to(&sizes)
    }

    /// The same elements under another shape of as many elements.
    pub fn reshape_to(&self, shape: &[usize]) -> Result<Tensor> {
        if num_elements(shape).is_ok_and(|n| n == self.len())
            && let Some(layout) = self.layout().reshape(shape)
        {
            return view_as(self, layout, How::Reshape);
        }
        one(&Reshape { shape: dims(shape) }, &[self])
    }

    /// Axes reordered: axis `i` of the result is axis `order[i]`.
    pub fn permute(&self, order: &[i64]) -> Result<Tensor> {
        let rank = self.rank();
        let (mut axes, mut seen) = (SmallVec::<[usize; 8]>::new(), 0u64);
        for &a in order {
            let axis = if a < 0 { a + rank as i64 } else { a };
            if (0..rank.min(64) as i64).contains(&axis) && seen >> axis & 1 == 0 {
                seen |= 1 << axis;
                axes.push(axis as usize);
            }
        }
        if axes.len() == rank && order.len() == rank {
            let how = How::Permute(axes.iter().map(|&a| a as u8).collect());
            return view_as(self, self.layout().permute(&axes), how);
        }
        one(&Transpose { perm: order.to_vec() }, &[self])
    }

    /// Two axes exchanged.
    pub fn transpose(&self, first: i64, second: i64) -> Result<Tensor> {
        let a = lampyr_ops::common::axis(first, self.rank())?;
        let b = lampyr_ops::common::axis(second, self.rank())?;
        let mut order: SmallVec<[i64; 8]> = (0..self.rank() as i64).collect();
        order.swap(a, b);
        self.permute(&order)
    }

    /// A broadcast view.
    pub fn expand(&self, shape: &[usize]) -> Result<Tensor> {
        num_elements(shape)?;
        if let Ok(layout) = self.layout().broadcast_to(shape) {
            return view_as(self, layout, How::Expand);
        }
        one(&Expand { shape: dims(shape) }, &[self])
    }

    /// Elements `start..end` by `step` of one axis, as a view; bounds are clamped as Python clamps them.
    pub fn slice(&self, axis: i64, start: i64, end: i64, step: i64) -> Result<Tensor> {
        if let Ok(axis) = lampyr_ops::common::axis(axis, self.rank())
            && let (Ok(start), Ok(end), Ok(step)) = (start.try_into(), end.try_into(), step.try_into())
            && let Some(made) = self.cut(&[Cut { axis, start, end, step }])
        {
            return made;
        }
        let op =
            Slice { axes: vec![axis], starts: vec![Dim::Known(start)], ends: vec![Dim::Known(end)], steps: vec![step] };
        one(&op, &[self])
    }

    /// Some elements of some axes, as a view; `None` when a cut does not fit.
    pub fn cut(&self, cuts: &[Cut]) -> Option<Result<Tensor>> {
        let mut layout = self.layout().clone();
        for c in cuts {
            let size = *layout.shape.get(c.axis)?;
            if c.start > c.end || c.end > size || c.step == 0 {
                return None;
            }
            let count = (c.end - c.start).div_ceil(c.step);
            // The step of a single element may be larger than any memory.
            let step = if count > 1 { isize::try_from(c.step).ok()? } else { 1 };
            layout = layout.slice(c.axis, c.start, step, count);
        }
        Some(view_as(self, layout, How::Cut(SmallVec::from_slice(cuts))))
    }

    /// Single positions and cuts of the leading axes in one step, as a view; `None` where that takes an op of its own
    /// (a gradient is recorded, or the elements do not lie in row-major order) or one does not fit.
    pub fn pick(&self, picks: &[Pick]) -> Result<Option<Tensor>> {
        let from = self.layout();
        if picks.len() > from.rank() {
            return Ok(None);
        }
        let mut to = Layout { shape: Shape::new(), strides: SmallVec::new(), offset: from.offset };
        for (pick, (&size, &stride)) in picks.iter().zip(from.shape.iter().zip(&from.strides)) {
            let (start, count, step) = match *pick {
                Pick::At(at) if at < size => (at, None, 1),
                Pick::Cut { start, end, step } if start <= end && end <= size && step > 0 => {
                    (start, Some((end - start).div_ceil(step)), step)
                }
                _ => return Ok(None),
            };
            to.offset = to.offset.wrapping_add_signed(start as isize * stride);
            if let Some(count) = count {
                to.shape.push(count);
                // The step of a single element may be larger than any memory.
                to.strides.push(if count > 1 { stride * step as isize } else { stride });
            }
        }
        to.shape.extend_from_slice(&from.shape[picks.len()..]);
        to.strides.extend_from_slice(&from.strides[picks.len()..]);
        if to.is_empty() { Ok(None) } else { strided_view(self, to) }
    }

    /// The slice at `index` of one axis, which goes away; a view.
    ///
    /// # Errors
    /// [`lampyr_base::ErrorKind::Index`] when it is out of range.
    pub fn select(&self, axis: i64, index: i64) -> Result<Tensor> {
        let a = lampyr_ops::common::axis(axis, self.rank())?;
        let size = self.shape()[a] as i64;
        if index < -size || index >= size {
            return Err(Error::index(format!("index {index} is out of range for axis {a} of size {size}"))
                .with_op("select")
                .with_expected(format!("{}..{size}", -size)));
        }
        let start = if index < 0 { index + size } else { index };
        let row = self.slice(a as i64, start, start + 1, 1)?;
        let mut shape = row.layout().shape.clone();
        shape.remove(a);
        row.reshape_to(&shape)
    }

    /// Tensors of one dtype joined along `axis`, after promotion.
    pub fn concat(tensors: &[&Tensor], axis: i64) -> Result<Tensor> {
        let operands: Vec<(DType, bool)> = tensors.iter().map(|t| (t.dtype(), false)).collect();
        let common = result_type(&operands, &[]);
        let cast = tensors.iter().map(|t| t.to_dtype(common)).collect::<Result<Vec<_>>>()?;
        one(&Concat { axis }, &cast.iter().collect::<Vec<_>>())
    }

    /// The same tensor when it is row-major, else a row-major copy; differentiable.
    pub fn contiguous(&self) -> Result<Tensor> {
        if self.is_contiguous() { Ok(self.clone()) } else { self.duplicate() }
    }

    /// A row-major copy that is part of the history.
    pub fn duplicate(&self) -> Result<Tensor> {
        let copy = self.copy_contiguous()?;
        crate::eager::record::record_identity(self, &copy)?;
        Ok(copy)
    }

    /// This tensor on another device, without history.
    pub fn to_device(&self, device: lampyr_base::Device) -> Result<Tensor> {
        if self.device() == device {
            return Ok(self.clone());
        }
        Tensor::from_host(&self.to_host()?, device)
    }
}
