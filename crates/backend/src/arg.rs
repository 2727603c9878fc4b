use std::sync::Arc;

use lampyr_base::{DType, Device, Layout, Shape};
use lampyr_ir::MemoryFormat;

use crate::DeviceMemory;

/// What a kernel may know of an operand before it runs.
#[derive(Clone, Copy, Debug)]
pub struct ArgInfo<'a> {
    /// Element type.
    pub dtype: DType,
    /// Sizes, steps and offset.
    pub layout: &'a Layout,
    /// Memory format.
    pub format: MemoryFormat,
    /// Whether the kernel gets its own packed form of it besides.
    pub packed: bool,
}

impl<'a> ArgInfo<'a> {
    /// A plain operand.
    #[inline]
    pub fn new(dtype: DType, layout: &'a Layout) -> ArgInfo<'a> {
        ArgInfo { dtype, layout, format: MemoryFormat::Plain, packed: false }
    }

    /// Sizes.
    #[inline]
    pub fn shape(&self) -> &'a [usize] {
        &self.layout.shape
    }
}

/// Elements of an operand on the host that lie one after another, aligned for their type, inside their memory. Made by
/// [`Arg::dense`]; valid as long as that memory lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dense {
    start: usize,
    len: usize,
}

impl Dense {
    /// Address of the first element.
    #[inline]
    pub fn start(self) -> *mut u8 {
        std::ptr::with_exposed_provenance_mut(self.start)
    }

    /// Number of elements.
    #[inline]
    #[allow(clippy::len_without_is_empty)]
    pub fn len(self) -> usize {
        self.len
    }
}

/// One operand of a launch: a layout over device memory.
#[derive(Clone, Copy)]
pub struct Arg<'a> {
    /// The memory.
    pub memory: &'a Arc<dyn DeviceMemory>,
    /// First byte of the storage inside the memory; the layout's offset counts from here.
    pub base: usize,
    /// Element type.
    pub dtype: DType,
    /// Sizes, steps and offset in elements.
    pub layout: &'a Layout,
    /// Memory format.
    pub format: MemoryFormat,
}

impl<'a> Arg<'a> {
    /// A plain operand.
    #[inline]
    pub fn new(memory: &'a Arc<dyn DeviceMemory>, base: usize, dtype: DType, layout: &'a Layout) -> Arg<'a> {
        Arg { memory, base, dtype, layout, format: MemoryFormat::Plain }
    }

    /// What is known before launch.
    #[inline]
    pub fn info(&self) -> ArgInfo<'a> {
        ArgInfo { dtype: self.dtype, layout: self.layout, format: self.format, packed: false }
    }

    /// Sizes.
    #[inline]
    pub fn shape(&self) -> &'a Shape {
        &self.layout.shape
    }

    /// Address of the element at index zero, for memory that the host can reach.
    ///
    /// Valid for the elements of `layout` as long as `memory` lives; the launcher has checked that they lie inside it.
    #[inline]
    pub fn host_ptr(&self) -> Option<*mut u8> {
        let start = self.memory.host_ptr()?;
        // wrapping_add: for empty tensors the offset may lie outside the allocation; the pointer is not read then.
        Some(start.as_ptr().wrapping_add(self.base + self.layout.offset * self.dtype.size()))
    }

    /// The elements, where they lie in the host's memory as [`Dense`] says.
    pub fn dense(&self) -> Option<Dense> {
        let size = self.dtype.size();
        let plain = size.is_power_of_two() && self.memory.device() == Device::CPU;
        if !plain || !self.layout.is_contiguous() || !self.in_bounds() {
            return None;
        }
        let start = self.host_ptr().filter(|p| p.addr() & (size - 1) == 0)?;
        Some(Dense { start: start.expose_provenance(), len: self.layout.len() })
    }

    /// True when every element lies inside the memory.
    #[inline]
    pub fn in_bounds(&self) -> bool {
        let (low, high) = self.layout.span();
        low <= high
            && high
                .checked_mul(self.dtype.size())
                .and_then(|b| b.checked_add(self.base))
                .is_some_and(|end| end <= self.memory.len() || self.layout.is_empty())
    }
}
