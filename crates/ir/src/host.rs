use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use half::{bf16, f16};
use lampyr_base::{DType, Element, Error, Result, Shape, num_elements};

/// Bytes on the host that somebody else keeps alive: a vector, a mapped file, another library's array.
pub trait HostBytes: Send + Sync {
    /// The bytes.
    fn bytes(&self) -> &[u8];

    /// They are not needed in memory for now: pages of a mapped file may go, and come back when they are read again.
    fn release(&self) {}
}

struct Aligned {
    words: Vec<u128>,
    len: usize,
}

impl HostBytes for Aligned {
    fn bytes(&self) -> &[u8] {
        // SAFETY: the vector holds at least `len` initialised bytes (`Aligned::zeroed` sizes it so) and u8 has no
        // alignment or validity demands.
        unsafe { std::slice::from_raw_parts(self.words.as_ptr().cast(), self.len) }
    }
}

impl Aligned {
    fn zeroed(len: usize) -> Result<Aligned> {
        let count = len.div_ceil(16);
        let mut words = Vec::new();
        words.try_reserve_exact(count).map_err(|_| lampyr_base::alloc::AllocError {
            requested: len,
            active: 0,
            limit: None,
        })?;
        words.resize(count, 0);
        Ok(Aligned { words, len })
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`, and `&mut self` makes the access unique.
        unsafe { std::slice::from_raw_parts_mut(self.words.as_mut_ptr().cast(), self.len) }
    }
}

/// Bytes from which on tensors stay where they are although they are not aligned.
const STRAY: usize = 1 << 16;

/// Numbers of a tensor in the widest type of their kind: what reference implementations compute with.
#[derive(Clone, Debug, PartialEq)]
pub enum Numbers {
    /// Floats.
    F(Vec<f64>),
    /// `bool` (0 or 1) and signed integers.
    I(Vec<i64>),
    /// Unsigned integers.
    U(Vec<u64>),
}

/// A contiguous tensor in host memory, immutable and cheap to clone: constants, weights, and the currency of reference
/// implementations and tests.
#[derive(Clone)]
pub struct HostTensor {
    dtype: DType,
    shape: Shape,
    bytes: Arc<dyn HostBytes>,
}

impl HostTensor {
    /// Wraps bytes that hold `shape` elements in row-major order. Few bytes that are not aligned for `dtype` are copied;
    /// many stay where they are, and who needs an address copies them.
    ///
    /// # Errors
    /// [`lampyr_base::ErrorKind::Shape`] when the number of bytes does not fit the shape.
    pub fn from_bytes(dtype: DType, shape: &[usize], bytes: Arc<dyn HostBytes>) -> Result<HostTensor> {
        let need = dtype.bytes_for(num_elements(shape)?);
        let have = bytes.bytes();
        if need != Some(have.len()) {
            return Err(Error::shape(format!("{} bytes do not hold a {dtype} tensor of shape {shape:?}", have.len()))
                .with_expected(format!("{} bytes", need.map_or("too many".to_string(), |n| n.to_string()))));
        }
        if have.len() < STRAY && have.as_ptr().align_offset(dtype.size()) != 0 {
            return HostTensor::copy_bytes(dtype, shape, have);
        }
        Ok(HostTensor { dtype, shape: Shape::from_slice(shape), bytes })
    }

    /// Whether the bytes begin at an address that suits the type.
    pub fn is_aligned(&self) -> bool {
        self.bytes().as_ptr().align_offset(self.dtype.size()) == 0
    }

    /// Copies bytes that hold `shape` elements in row-major order.
    pub fn copy_bytes(dtype: DType, shape: &[usize], bytes: &[u8]) -> Result<HostTensor> {
        let mut data = Aligned::zeroed(bytes.len())?;
        data.bytes_mut().copy_from_slice(bytes);
        HostTensor::from_bytes(dtype, shape, Arc::new(data))
    }

    /// A tensor whose bytes `fill` writes; they are zero before.
    pub fn build(dtype: DType, shape: &[usize], fill: impl FnOnce(&mut [u8])) -> Result<HostTensor> {
        let bytes = dtype
            .bytes_for(num_elements(shape)?)
            .ok_or_else(|| Error::shape(format!("a {dtype} tensor of shape {shape:?} is too large")))?;
        let mut data = Aligned::zeroed(bytes)?;
        fill(data.bytes_mut());
        Ok(HostTensor { dtype, shape: Shape::from_slice(shape), bytes: Arc::new(data) })
    }

    /// Says that the bytes are not needed in memory for now; they stay readable.
    pub fn release(&self) {
        self.bytes.release();
    }

    /// All zeros.
    pub fn zeros(dtype: DType, shape: &[usize]) -> Result<HostTensor> {
        HostTensor::build(dtype, shape, |_| {})
    }

    /// A tensor from a slice in row-major order.
    pub fn from_slice<T: Element>(shape: &[usize], values: &[T]) -> Result<HostTensor> {
        // SAFETY: every `Element` is a plain number or bool without padding, so its bytes are initialised.
        let bytes = unsafe { std::slice::from_raw_parts(values.as_ptr().cast::<u8>(), size_of_val(values)) };
        HostTensor::copy_bytes(T::DTYPE, shape, bytes)
    }

    /// A 0-d tensor.
    pub fn scalar<T: Element>(value: T) -> HostTensor {
        match HostTensor::from_slice(&[], &[value]) {
            Ok(t) => t,
            Err(_) => HostTensor {
                dtype: T::DTYPE,
                shape: Shape::new(),
                bytes: Arc::new(Aligned { words: vec![0], len: size_of::<T>() }),
            },
        }
    }

    /// A 0-d tensor of `dtype` holding `value` converted to it.
    pub fn scalar_of(dtype: DType, value: f64) -> Result<HostTensor> {
        HostTensor::from_f64(dtype, &[], &[value])
    }

    /// A vector of int64.
    pub fn ints(values: &[i64]) -> Result<HostTensor> {
        HostTensor::from_slice(&[values.len()], values)
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Sizes of the axes.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// True without elements.
    pub fn is_empty(&self) -> bool {
        self.shape.contains(&0)
    }

    /// The bytes, row-major.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.bytes()
    }

    /// Keeps the bytes alive without the tensor.
    pub fn share_bytes(&self) -> Arc<dyn HostBytes> {
        self.bytes.clone()
    }

    /// The elements as a slice; `None` when `T` is not the element type, or the bytes are not aligned for it.
    pub fn as_slice<T: Element>(&self) -> Option<&[T]> {
        if T::DTYPE != self.dtype || !self.is_aligned() {
            return None;
        }
        if self.dtype == DType::Bool && self.bytes().iter().any(|&b| b > 1) {
            return None;
        }
        let bytes = self.bytes();
        // SAFETY: dtype equals T's, the length was checked at construction, alignment likewise (or the bytes were
        // copied to aligned memory), and bool bytes are 0 or 1 as tested above.
        Some(unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast(), bytes.len() / size_of::<T>()) })
    }

    /// The same elements under another shape of equal size.
    pub fn reshaped(&self, shape: &[usize]) -> Result<HostTensor> {
        HostTensor::from_bytes(self.dtype, shape, self.bytes.clone())
    }

    /// All numbers in the widest type of their kind.
    pub fn numbers(&self) -> Numbers {
        macro_rules! wide {
            ($t:ty, $to:ident, $conv:expr) => {{
                let size = size_of::<$t>();
                let conv: fn($t) -> _ = $conv;
                Numbers::$to(
                    self.bytes()
                        .chunks_exact(size)
                        .map(|c| conv(<$t>::from_ne_bytes(c.try_into().unwrap_or_default())))
                        .collect(),
                )
            }};
        }
        match self.dtype {
            DType::Bool => Numbers::I(self.bytes().iter().map(|&b| i64::from(b != 0)).collect()),
            DType::U8 => wide!(u8, U, u64::from),
            DType::I8 => wide!(i8, I, i64::from),
            DType::U16 => wide!(u16, U, u64::from),
            DType::I16 => wide!(i16, I, i64::from),
            DType::U32 => wide!(u32, U, u64::from),
            DType::I32 => wide!(i32, I, i64::from),
            DType::U64 => wide!(u64, U, |x| x),
            DType::I64 => wide!(i64, I, |x| x),
            DType::F16 => wide!(f16, F, f16::to_f64),
            DType::BF16 => wide!(bf16, F, bf16::to_f64),
            DType::F32 => wide!(f32, F, f64::from),
            DType::F64 => wide!(f64, F, |x| x),
        }
    }

    /// All elements as `f64` (integers beyond 2^53 are rounded).
    pub fn to_f64(&self) -> Vec<f64> {
        match self.numbers() {
            Numbers::F(v) => v,
            Numbers::I(v) => v.into_iter().map(|x| x as f64).collect(),
            Numbers::U(v) => v.into_iter().map(|x| x as f64).collect(),
        }
    }

    /// All elements as `i64`: floats truncated and saturated, `uint64` wrapped.
    pub fn to_i64(&self) -> Vec<i64> {
        match self.numbers() {
            Numbers::F(v) => v.into_iter().map(|x| x as i64).collect(),
            Numbers::I(v) => v,
            Numbers::U(v) => v.into_iter().map(|x| x as i64).collect(),
        }
    }

    /// A tensor of `dtype` from numbers: floats are rounded to nearest even, floats to integers truncated and saturated,
    /// integers wrapped, anything non-zero is `true`.
    pub fn from_numbers(dtype: DType, shape: &[usize], numbers: &Numbers) -> Result<HostTensor> {
        macro_rules! store {
            ($v:expr, $f:expr) => {{
                let bytes: Vec<u8> = $v.iter().flat_map($f).collect();
                HostTensor::copy_bytes(dtype, shape, &bytes)
            }};
        }
        macro_rules! all {
            ($v:expr, $src:ty) => {
                match dtype {
                    DType::Bool => store!($v, |&x| [u8::from(x != (0 as $src))]),
                    DType::U8 => store!($v, |&x| (x as u8).to_ne_bytes()),
                    DType::I8 => store!($v, |&x| (x as i8).to_ne_bytes()),
                    DType::U16 => store!($v, |&x| (x as u16).to_ne_bytes()),
                    DType::I16 => store!($v, |&x| (x as i16).to_ne_bytes()),
                    DType::U32 => store!($v, |&x| (x as u32).to_ne_bytes()),
                    DType::I32 => store!($v, |&x| (x as i32).to_ne_bytes()),
                    DType::U64 => store!($v, |&x| (x as u64).to_ne_bytes()),
                    DType::I64 => store!($v, |&x| (x as i64).to_ne_bytes()),
                    DType::F16 => store!($v, |&x| f16::from_f64(x as f64).to_ne_bytes()),
                    DType::BF16 => store!($v, |&x| bf16::from_f64(x as f64).to_ne_bytes()),
                    DType::F32 => store!($v, |&x| (x as f32).to_ne_bytes()),
                    DType::F64 => store!($v, |&x| (x as f64).to_ne_bytes()),
                }
            };
        }
        match numbers {
            Numbers::F(v) => all!(v, f64),
            Numbers::I(v) => all!(v, i64),
            Numbers::U(v) => all!(v, u64),
        }
    }

    /// [`HostTensor::from_numbers`] from floats.
    pub fn from_f64(dtype: DType, shape: &[usize], values: &[f64]) -> Result<HostTensor> {
        HostTensor::from_numbers(dtype, shape, &Numbers::F(values.to_vec()))
    }

    /// [`HostTensor::from_numbers`] from signed integers.
    pub fn from_i64(dtype: DType, shape: &[usize], values: &[i64]) -> Result<HostTensor> {
        HostTensor::from_numbers(dtype, shape, &Numbers::I(values.to_vec()))
    }

    /// This tensor converted to `dtype` with the rules of [`HostTensor::from_numbers`].
    pub fn cast(&self, dtype: DType) -> Result<HostTensor> {
        HostTensor::from_numbers(dtype, &self.shape, &self.numbers())
    }

    /// `float32[2, 3]`.
    pub fn describe(&self) -> String {
        format!("{}{:?}", self.dtype, self.shape.as_slice())
    }
}

impl PartialEq for HostTensor {
    fn eq(&self, other: &HostTensor) -> bool {
        self.dtype == other.dtype && self.shape == other.shape && self.bytes() == other.bytes()
    }
}

impl Eq for HostTensor {}

impl Hash for HostTensor {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.dtype.hash(state);
        self.shape.hash(state);
        self.bytes().hash(state);
    }
}

impl fmt::Debug for HostTensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.describe())?;
        if self.len() <= 16 { write!(f, " {:?}", self.to_f64()) } else { Ok(()) }
    }
}

/// A value on the host: a tensor, a sequence of tensors, or an optional one.
#[derive(Clone, Debug, PartialEq)]
pub enum HostValue {
    /// One tensor.
    Tensor(HostTensor),
    /// Tensors of one dtype.
    Sequence(Vec<HostTensor>),
    /// A value that may be absent.
    Optional(Option<Box<HostValue>>),
}

impl HostValue {
    /// The tensor.
    ///
    /// # Errors
    /// [`lampyr_base::ErrorKind::DType`] when this is a sequence or an optional.
    pub fn tensor(&self) -> Result<&HostTensor> {
        match self {
            HostValue::Tensor(t) => Ok(t),
            HostValue::Sequence(_) => Err(Error::dtype("got a sequence where a tensor is needed")),
            HostValue::Optional(_) => Err(Error::dtype("got an optional where a tensor is needed")),
        }
    }

    /// The tensors of a sequence.
    pub fn sequence(&self) -> Result<&[HostTensor]> {
        match self {
            HostValue::Sequence(s) => Ok(s),
            _ => Err(Error::dtype("got a tensor where a sequence is needed")),
        }
    }
}

impl From<HostTensor> for HostValue {
    fn from(t: HostTensor) -> HostValue {
        HostValue::Tensor(t)
    }
}
