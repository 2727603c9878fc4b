//! Copies between layouts of one dtype.

use lampyr_backend::Arg;
use lampyr_base::{Error, Result};

/// Copies the elements of `from` to `to`, of equal shape and dtype; both lie inside their memories.
pub(crate) fn copy(from: &Arg, to: &Arg) -> Result<()> {
    let (Some(source), Some(target)) = (from.host_ptr(), to.host_ptr()) else {
        return Err(Error::device("copy between memories that the host cannot reach"));
    };
    let size = from.dtype.size();
    let start = (from.layout.offset as isize, to.layout.offset as isize);
    for (i, j) in from.layout.indices().zip(to.layout.indices()) {
        let (i, j) = ((i as isize - start.0) * size as isize, (j as isize - start.1) * size as isize);
        // SAFETY: both elements lie inside their memories, as the caller has checked.
        unsafe { std::ptr::copy(source.offset(i), target.offset(j), size) };
    }
    Ok(())
}
