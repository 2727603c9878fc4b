use lampyr_base::{DType, Device, Result};
use lampyr_ir::{AttrMap, Op, Promote};
pub use lampyr_runtime::Operand;
pub use lampyr_runtime::apply_one as one;
use lampyr_runtime::{Scalar, Tensor, apply, default_dtype, result_type};
use smallvec::SmallVec;

/// All outputs of the op called `name`. Ops are strict: tensors stay as they are; numbers become 0-d tensors of the
/// common type of all operands, or of their own where the op mixes types.
///
/// # Errors
/// When there is no such op, or the attributes or inputs do not fit it.
pub fn call(name: &str, inputs: &[Operand], attrs: AttrMap) -> Result<Vec<Tensor>> {
    crate::init();
    let op = crate::make_op(name, attrs)?;
    let rule = lampyr_ops::registry::by_id(op.id()).map_or(Promote::No, |e| e.promote);
    let skip = usize::from(rule == Promote::Branches);
    let device = inputs.iter().find_map(|x| match x {
        Operand::Tensor(t) => Some(t.device()),
        Operand::Scalar(_) => None,
    });
    let ready = inputs
        .iter()
        .map(|x| match (x, rule) {
            (Operand::Tensor(t), _) => Ok((*t).clone()),
            (Operand::Scalar(s), Promote::No) => Tensor::scalar(*s, s.dtype(), device.unwrap_or(Device::CPU)),
            (Operand::Scalar(s), _) => {
                let to = common(inputs.get(skip..).unwrap_or_default());
                Tensor::scalar(*s, to, device.unwrap_or(Device::CPU))
            }
        })
        .collect::<Result<Vec<_>>>()?;
    let refs: Vec<&Tensor> = ready.iter().collect();
    Ok(apply(&*op, &refs)?.into_vec())
}

/// The common type of operands, as PyTorch chooses it.
pub fn common(operands: &[Operand]) -> DType {
    let (mut tensors, mut scalars) = (SmallVec::<[(DType, bool); 4]>::new(), SmallVec::<[Scalar; 4]>::new());
    for operand in operands {
        match operand {
            Operand::Tensor(t) => tensors.push((t.dtype(), t.rank() == 0)),
            Operand::Scalar(s) => scalars.push(*s),
        }
    }
    result_type(&tensors, &scalars)
}

/// Both operands in their common type.
pub(super) fn promoted(x: Operand, y: Operand) -> Result<(Tensor, Tensor)> {
    converted(x, y, common(&[x, y]))
}

/// Both operands in their common type, which is the default float type for types without fractions.
pub(super) fn promoted_float(x: Operand, y: Operand) -> Result<(Tensor, Tensor)> {
    let to = common(&[x, y]);
    converted(x, y, if to.is_float() { to } else { default_dtype() })
}

fn converted(x: Operand, y: Operand, to: DType) -> Result<(Tensor, Tensor)> {
    let device = |o: &Operand| match o {
        Operand::Tensor(t) => Some(t.device()),
        Operand::Scalar(_) => None,
    };
    let device = device(&x).or_else(|| device(&y)).unwrap_or_else(|| {
        crate::init();
        Device::CPU
    });
    Ok((as_tensor(x, to, device)?, as_tensor(y, to, device)?))
}

/// An operand as a tensor of type `to`.
pub(super) fn as_tensor(x: Operand, to: DType, device: Device) -> Result<Tensor> {
    match x {
        Operand::Tensor(t) => t.to_dtype(to),
        Operand::Scalar(s) => Tensor::scalar(s, to, device),
    }
}

/// The op on operands of one type, else on both in their common type.
#[inline]
pub(super) fn binary(op: &dyn Op, x: Operand, y: Operand) -> Result<Tensor> {
    if let (Operand::Tensor(x), Operand::Tensor(y)) = (x, y)
        && x.dtype() == y.dtype()
    {
        return one(op, &[x, y]);
    }
    let (x, y) = promoted(x, y)?;
    one(op, &[&x, &y])
}

/// As [`binary`], with types without fractions made floats.
pub(super) fn binary_float(op: &dyn Op, x: Operand, y: Operand) -> Result<Tensor> {
    let (x, y) = promoted_float(x, y)?;
    one(op, &[&x, &y])
}
