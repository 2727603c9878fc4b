use lampyr_base::{DType, Device, Error, Result};
use lampyr_ir::{AttrMap, Op, Promote};
pub use lampyr_runtime::Operand;
use lampyr_runtime::{Tensor, apply, result_type};

/// The first output of an op.
pub fn one(op: &dyn Op, inputs: &[&Tensor]) -> Result<Tensor> {
    let mut made = apply(op, inputs)?;
    match made.is_empty() {
        true => Err(Error::internal("an op made no output").with_op(op.name())),
        false => Ok(made.swap_remove(0)),
    }
}

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
    let (mut tensors, mut scalars) = (Vec::new(), Vec::new());
    for operand in operands {
        match operand {
            Operand::Tensor(t) => tensors.push((t.dtype(), t.rank() == 0)),
            Operand::Scalar(s) => scalars.push(*s),
        }
    }
    result_type(&tensors, &scalars)
}

/// Calls `f` with a tensor on the left: a number there becomes a 0-d tensor of the common type.
#[inline]
pub(super) fn left<'a>(
    x: Operand<'a>,
    y: Operand<'a>,
    f: impl FnOnce(&Tensor, Operand<'a>) -> Result<Tensor>,
) -> Result<Tensor> {
    match x {
        Operand::Tensor(x) => f(x, y),
        Operand::Scalar(s) => {
            crate::init();
            let device = match y {
                Operand::Tensor(t) => t.device(),
                Operand::Scalar(_) => Device::CPU,
            };
            f(&Tensor::scalar(s, common(&[x, y]), device)?, y)
        }
    }
}
