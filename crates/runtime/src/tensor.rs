use std::any::Any;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use lampyr_backend::{Arg, Backend, Dense, DeviceMemory, backend, reference};
use lampyr_base::{DType, Device, Element, Error, Layout, Result};
use lampyr_ir::{Fact, HostTensor, TensorFact, Var};

use crate::batch::Axis;
use crate::eager::How;
use crate::reuse;
use crate::storage::Storage;
use crate::tape::{Chained, Edge, GradCell, release};

/// How a view came from its base; kept so that a change in place can be carried to the base's history.
pub(crate) struct ViewOf {
    pub base: Tensor,
    pub how: How,
}

#[derive(Default)]
pub(crate) struct Autograd {
    pub edge: Option<Edge>,
    /// Where `.grad` is.
    pub cell: Option<Arc<GradCell>>,
    /// Whether this is a leaf that collects a gradient.
    pub leaf: bool,
    pub view: Option<Arc<ViewOf>>,
    /// Generation of the base's history that this view's history belongs to.
    pub base_generation: u64,
    /// Count of changes of histories over the storage up to which this view's history was looked at.
    pub seen: u64,
    /// Raised when the history of this tensor is replaced by a change in place.
    pub generation: u64,
}

pub(crate) struct Inner {
    pub storage: Arc<Storage>,
    pub layout: Layout,
    pub dtype: DType,
    /// Hidden axes, by level; `None` without any.
    pub batch: Option<Box<[Axis]>>,
    /// Where the elements are for calls that need nothing else; found when first asked for.
    pub dense: OnceLock<Option<Dense>>,
    /// Whether `autograd` may differ from its default; spares most tensors the lock.
    touched: AtomicBool,
    autograd: Mutex<Autograd>,
}

/// A tensor: a layout over shared device memory, with its place in the gradient tape. Cheap to clone; clones are the
/// same tensor.
#[derive(Clone)]
pub struct Tensor(pub(crate) Arc<Inner>);

impl Inner {
    /// Whether it has neither a history nor hidden axes.
    #[inline]
    pub(crate) fn is_plain(&self) -> bool {
        self.batch.is_none() && !self.touched.load(Ordering::Acquire)
    }

    /// Whether it is known to be row-major from the start of its storage on.
    #[inline]
    pub(crate) fn is_dense_from_start(&self) -> bool {
        self.layout.offset == 0 && matches!(self.dense.get(), Some(Some(_)))
    }
}

impl Tensor {
    /// Drops this handle. Where it is the last one of a small tensor, this thread's next result of that size takes over
    /// its parts, which spares allocations.
    #[inline]
    pub fn recycle(self) {
        if Arc::strong_count(&self.0) == 1 {
            drop(reuse::keep(self.0));
        }
    }

    #[inline]
    pub(crate) fn over(storage: Arc<Storage>, layout: Layout, dtype: DType) -> Tensor {
        Tensor::over_batch(storage, layout, dtype, None)
    }

    #[inline]
    pub(crate) fn over_batch(
        storage: Arc<Storage>,
        layout: Layout,
        dtype: DType,
        batch: Option<Box<[Axis]>>,
    ) -> Tensor {
        Tensor(Arc::new(Inner {
            storage,
            layout,
            dtype,
            batch,
            dense: OnceLock::new(),
            touched: AtomicBool::new(false),
            autograd: Mutex::new(Autograd::default()),
        }))
    }

    /// A view of a tensor without hidden axes.
    pub(crate) fn view_of(base: &Tensor, layout: Layout, how: How) -> Tensor {
        let autograd = Autograd {
            base_generation: if base.untouched() { 0 } else { base.autograd().generation },
            seen: base.storage().rebased(),
            view: Some(Arc::new(ViewOf { base: base.clone(), how })),
            ..Autograd::default()
        };
        Tensor(Arc::new(Inner {
            storage: base.storage().clone(),
            layout,
            dtype: base.dtype(),
            batch: None,
            dense: OnceLock::new(),
            touched: AtomicBool::new(true),
            autograd: Mutex::new(autograd),
        }))
    }

    /// A tensor over `memory`, whose element at index zero lies `layout.offset` elements after byte `base`.
    ///
    /// # Errors
    /// When an element lies outside `memory`.
    pub fn from_memory(memory: Arc<dyn DeviceMemory>, base: usize, layout: Layout, dtype: DType) -> Result<Tensor> {
        if !Arg::new(&memory, base, dtype, &layout).in_bounds() {
            return Err(Error::shape(format!("layout {layout:?} reaches outside {} bytes of memory", memory.len())));
        }
        Ok(Tensor::over(Arc::new(Storage::new(memory, base)), layout, dtype))
    }

    /// A copy of a host tensor on `device`.
    pub fn from_host(value: &HostTensor, device: Device) -> Result<Tensor> {
        let backend = backend(device)?;
        let (memory, layout) = reference::to_device(&*backend, value)?;
        Ok(Tensor::over(Arc::new(Storage::new(memory, 0)), layout, value.dtype()))
    }

    /// A copy of the bytes of all elements, row-major, on `device`.
    pub(crate) fn from_bytes(bytes: &[u8], shape: &[usize], dtype: DType, device: Device) -> Result<Tensor> {
        let backend = backend(device)?;
        let memory = backend.allocate(bytes.len())?;
        backend.upload(bytes, &memory, 0)?;
        Ok(Tensor::over(Arc::new(Storage::new(memory, 0)), Layout::contiguous(shape), dtype))
    }

    /// A CPU tensor from elements in row-major order.
    pub fn from_slice<T: Element>(values: &[T], shape: &[usize]) -> Result<Tensor> {
        Tensor::from_host(&HostTensor::from_slice(shape, values)?, Device::CPU)
    }

    /// A row-major tensor with arbitrary contents.
    pub fn empty(shape: &[usize], dtype: DType, device: Device) -> Result<Tensor> {
        let bytes = dtype
            .bytes_for(lampyr_base::num_elements(shape)?)
            .ok_or_else(|| Error::shape(format!("a {dtype} tensor of shape {shape:?} is too large")))?;
        let memory = backend(device)?.allocate(bytes)?;
        Ok(Tensor::over(Arc::new(Storage::new(memory, 0)), Layout::contiguous(shape), dtype))
    }

    /// All elements `value`, converted to `dtype`.
    pub fn full(shape: &[usize], value: f64, dtype: DType, device: Device) -> Result<Tensor> {
        let one = Tensor::from_host(&HostTensor::scalar_of(dtype, value)?, device)?;
        let layout = one.layout().broadcast_to(shape)?;
        let wide = Tensor::over(one.0.storage.clone(), layout, dtype);
        wide.copy_contiguous()
    }

    /// Sizes of the axes.
    #[inline]
    pub fn shape(&self) -> &[usize] {
        &self.0.layout.shape
    }

    /// Sizes, steps and offset.
    #[inline]
    pub fn layout(&self) -> &Layout {
        &self.0.layout
    }

    /// Element type.
    #[inline]
    pub fn dtype(&self) -> DType {
        self.0.dtype
    }

    /// Where it is.
    #[inline]
    pub fn device(&self) -> Device {
        self.0.storage.device()
    }

    /// Number of axes.
    #[inline]
    pub fn rank(&self) -> usize {
        self.0.layout.rank()
    }

    /// Number of elements.
    #[inline]
    pub fn len(&self) -> usize {
        match self.0.dense.get() {
            Some(Some(dense)) => dense.len(),
            _ => self.0.layout.len(),
        }
    }

    /// True without elements.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.layout.is_empty()
    }

    /// True when the elements lie one after another in row-major order.
    #[inline]
    pub fn is_contiguous(&self) -> bool {
        self.0.layout.is_contiguous()
    }

    /// The memory it lies in.
    #[inline]
    pub fn storage(&self) -> &Arc<Storage> {
        &self.0.storage
    }

    /// Address of the element at index zero, for tensors that the host can reach. Valid while the tensor lives.
    pub fn host_ptr(&self) -> Option<*mut u8> {
        self.arg().host_ptr()
    }

    /// Whether two tensors are the same object, not merely equal.
    pub fn same(&self, other: &Tensor) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Waits for the device and copies the elements to the host.
    ///
    /// # Errors
    /// While ops are recorded ([`crate::record`]), when the elements depend on them.
    pub fn to_host(&self) -> Result<HostTensor> {
        crate::recorder::check_readable(self)?;
        self.peek()
    }

    /// As [`Tensor::to_host`], for checks that only decide whether to fail: allowed while ops are recorded.
    /// The elements of all, inside of a `vmap`.
    pub fn peek(&self) -> Result<HostTensor> {
        if self.is_batched() {
            return self.physical(&self.own_lead(), self.rank(), true).peek();
        }
        reference::to_host(&*self.backend()?, &self.arg())
    }

    /// The elements in row-major order.
    ///
    /// # Errors
    /// When `T` is not the element type.
    pub fn to_vec<T: Element>(&self) -> Result<Vec<T>> {
        let host = self.to_host()?;
        host.as_slice::<T>().map(<[T]>::to_vec).ok_or_else(|| {
            Error::dtype(format!("a {} tensor cannot be read as {}", self.dtype(), T::DTYPE)).with_help("cast it first")
        })
    }

    /// The only element, as `f64`.
    ///
    /// # Errors
    /// When there is not exactly one.
    pub fn item(&self) -> Result<f64> {
        match self.to_host()?.to_f64().as_slice() {
            [x] => Ok(*x),
            all => Err(Error::shape(format!("item() needs one element, this tensor has {}", all.len()))
                .with_help("index or reduce it first")),
        }
    }

    /// The same elements in fresh row-major memory, without history.
    pub fn copy_contiguous(&self) -> Result<Tensor> {
        if self.is_batched() {
            let lead = self.own_lead();
            return self.physical(&lead, self.rank(), true).copy_contiguous()?.hide(&lead);
        }
        let fresh = Tensor::empty(self.shape(), self.dtype(), self.device())?;
        if !self.is_empty() {
            self.backend()?.copy(&self.arg(), &fresh.arg())?;
        }
        if crate::recorder::is_recording() {
            crate::recorder::note_copy(self, &fresh)?;
        }
        Ok(fresh)
    }

    /// A tensor over the same memory without history.
    pub fn detach(&self) -> Tensor {
        self.relaid(self.0.layout.clone())
    }

    /// Whether nothing else holds this tensor, its storage or its memory, and the memory is row-major.
    pub(crate) fn is_sole_owner(&self) -> bool {
        let storage = &self.0.storage;
        Arc::strong_count(&self.0) == 1
            && Arc::strong_count(storage) == 1
            && Arc::strong_count(&storage.memory) == 1
            && self.is_contiguous()
    }

    pub(crate) fn backend(&self) -> Result<Arc<dyn Backend>> {
        backend(self.device())
    }

    #[inline]
    pub(crate) fn arg(&self) -> Arg<'_> {
        Arg::new(&self.0.storage.memory, self.0.storage.base, self.0.dtype, &self.0.layout)
    }

    /// Where the elements are, for row-major tensors of the host without hidden axes.
    #[inline]
    pub(crate) fn dense(&self) -> Option<Dense> {
        *self.0.dense.get_or_init(|| if self.is_batched() { None } else { self.arg().dense() })
    }

    pub(crate) fn fact(&self) -> Fact {
        Fact::Tensor(TensorFact::fixed(self.dtype(), self.shape()))
    }

    /// Whether the gradient tape knows nothing of this tensor.
    #[inline]
    pub(crate) fn untouched(&self) -> bool {
        !self.0.touched.load(Ordering::Acquire)
    }

    #[inline]
    pub(crate) fn autograd(&self) -> MutexGuard<'_, Autograd> {
        self.0.touched.store(true, Ordering::Release);
        self.0.autograd.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As a builder's variable.
    pub fn var(&self) -> Var {
        Var::Live(self.0.clone() as Arc<dyn Any + Send + Sync>)
    }

    /// From a variable of an eager builder.
    ///
    /// # Errors
    /// When it belongs to another builder or is a sequence.
    pub fn from_var(var: &Var) -> Result<Tensor> {
        match var {
            Var::Live(any) => any
                .clone()
                .downcast::<Inner>()
                .map(Tensor)
                .map_err(|_| Error::dtype("got a sequence where a tensor is needed")),
            Var::Node(_) => Err(Error::internal("a graph value was given to an eager builder")),
        }
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tensor({}{:?}", self.dtype(), self.shape())?;
        if self.device() != Device::CPU {
            write!(f, ", {}", self.device())?;
        }
        f.write_str(")")
    }
}

/// Long tapes hang from one another through `Inner`; dropping them must not recurse.
impl Drop for Inner {
    fn drop(&mut self) {
        let autograd = self.autograd.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(edge) = autograd.edge.take() {
            release(Chained::Edge(edge));
        }
        if let Some(view) = autograd.view.take() {
            release(Chained::View(view));
        }
    }
}
