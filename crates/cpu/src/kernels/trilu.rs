//! Triangles of matrices.

use lampyr_backend::{ArgInfo, Kernel, Launch};
use lampyr_base::{Error, Result};
use lampyr_ir::Op;
use lampyr_ops::build::Trilu;

use super::copy::each_chunk;
use super::operand::{Shared, start};

/// Row by row a block copy and a block of zeros.
pub(super) struct TriluKernel;

impl Kernel for TriluKernel {
    fn name(&self) -> &'static str {
        "trilu"
    }

    fn supports(&self, _op: &dyn Op, _inputs: &[ArgInfo], _outputs: &[ArgInfo]) -> bool {
        true
    }

    fn in_place(&self, _op: &dyn Op, _input: usize, _output: usize) -> bool {
        true
    }

    fn launch(&self, launch: &Launch) -> Result<()> {
        let x = launch.inputs.first().ok_or_else(|| Error::internal("one input is needed"))?;
        let (op, out) = (launch.op::<Trilu>()?, launch.output(0)?);
        let [.., rows, columns] = x.shape()[..] else { return Err(Error::internal("a matrix is needed")) };
        if out.shape() != x.shape() || out.dtype != x.dtype {
            return Err(Error::internal(format!("a triangle of {:?} into {:?}", x.shape(), out.shape())));
        }
        if x.layout.is_empty() {
            return Ok(());
        }
        let k = op.k.known().ok_or_else(|| Error::shape(format!("diagonal {} has no value yet", op.k)))?;
        let size = x.dtype.size();
        let (from, to) = (Shared(start(x)?), Shared(start(out)?));
        let moved = from.0 != to.0;
        each_chunk(x.layout.len() / columns, columns * size, 1, |first, some| {
            for i in first..first + some {
                let bound = ((i % rows) as i64).saturating_add(k);
                let bound = if op.upper { bound } else { bound.saturating_add(1) };
                let cut = bound.clamp(0, columns as i64) as usize * size;
                let all = columns * size;
                let (zeros, kept) = if op.upper { (0..cut, cut..all) } else { (cut..all, 0..cut) };
                let at = i * all;
                // SAFETY: row `i` lies in both tensors, which are one or do not overlap; no other chunk writes it.
                unsafe {
                    to.at((at + zeros.start) as isize).write_bytes(0, zeros.len());
                    if moved {
                        let at = (at + kept.start) as isize;
                        std::ptr::copy_nonoverlapping(from.at(at), to.at(at), kept.len());
                    }
                }
            }
        });
        Ok(())
    }
}
