use std::fmt;

/// How many elements share one block of bytes in a block-quantised type, and how large that block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BlockFormat {
    /// Elements in one block.
    pub elements: usize,
    /// Bytes of one block.
    pub bytes: usize,
}

/// What kind of number a [`DType`] holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TypeKind {
    /// `bool`
    Bool,
    /// Unsigned integers.
    Unsigned,
    /// Signed integers.
    Signed,
    /// IEEE-754 and brain floating point.
    Float,
}

macro_rules! dtypes {
    ($($variant:ident, $name:literal, $bits:literal, $kind:ident;)*) => {
        /// The element type of a tensor.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum DType { $(#[doc = $name] $variant,)* }

        impl DType {
            /// Every data type, in declaration order.
            pub const ALL: &'static [DType] = &[$(DType::$variant,)*];

            /// The name users see: PyTorch's and NumPy's (`float32`, `int64`, ...).
            pub const fn name(self) -> &'static str { match self { $(DType::$variant => $name,)* } }

            /// Bits of one element (of a block type: bits of the payload of one element).
            pub const fn bits(self) -> usize { match self { $(DType::$variant => $bits,)* } }

            /// The kind of number.
            pub const fn kind(self) -> TypeKind { match self { $(DType::$variant => TypeKind::$kind,)* } }
        }
    };
}

dtypes! {
    Bool, "bool", 8, Bool;
    U8, "uint8", 8, Unsigned;
    I8, "int8", 8, Signed;
    U16, "uint16", 16, Unsigned;
    I16, "int16", 16, Signed;
    U32, "uint32", 32, Unsigned;
    I32, "int32", 32, Signed;
    U64, "uint64", 64, Unsigned;
    I64, "int64", 64, Signed;
    F16, "float16", 16, Float;
    BF16, "bfloat16", 16, Float;
    F32, "float32", 32, Float;
    F64, "float64", 64, Float;
}

impl DType {
    /// Floating point types.
    pub const FLOATS: &'static [DType] = &[DType::F16, DType::BF16, DType::F32, DType::F64];
    /// Signed and unsigned integers, without `bool`.
    pub const INTEGERS: &'static [DType] =
        &[DType::U8, DType::I8, DType::U16, DType::I16, DType::U32, DType::I32, DType::U64, DType::I64];
    /// Integers and floats, without `bool`.
    pub const NUMERIC: &'static [DType] = &[
        DType::U8,
        DType::I8,
        DType::U16,
        DType::I16,
        DType::U32,
        DType::I32,
        DType::U64,
        DType::I64,
        DType::F16,
        DType::BF16,
        DType::F32,
        DType::F64,
    ];

    /// The block format of a block-quantised type; `None` for plain types.
    pub const fn block(self) -> Option<BlockFormat> {
        None
    }

    /// Bytes of one element of a plain type.
    pub const fn size(self) -> usize {
        self.bits() / 8
    }

    /// Bytes that `elements` contiguous elements take, or `None` when that overflows.
    pub fn bytes_for(self, elements: usize) -> Option<usize> {
        match self.block() {
            Some(block) => elements.div_ceil(block.elements).checked_mul(block.bytes),
            None => Some(elements.checked_mul(self.bits())?.div_ceil(8)),
        }
    }

    /// True for `float16`, `bfloat16`, `float32` and `float64`.
    pub const fn is_float(self) -> bool {
        matches!(self.kind(), TypeKind::Float)
    }

    /// True for signed and unsigned integers; false for `bool`.
    pub const fn is_integer(self) -> bool {
        matches!(self.kind(), TypeKind::Signed | TypeKind::Unsigned)
    }

    /// True for signed integers.
    pub const fn is_signed_integer(self) -> bool {
        matches!(self.kind(), TypeKind::Signed)
    }

    /// Looks a data type up by its name (`float32`) or common short name (`f32`, `float`, `half`, `long`, `int`).
    pub fn from_name(name: &str) -> Option<DType> {
        let short = match name {
            "f16" | "half" => DType::F16,
            "bf16" => DType::BF16,
            "f32" | "float" => DType::F32,
            "f64" | "double" => DType::F64,
            "i8" => DType::I8,
            "i16" | "short" => DType::I16,
            "i32" | "int" => DType::I32,
            "i64" | "long" => DType::I64,
            "u8" => DType::U8,
            "u16" => DType::U16,
            "u32" => DType::U32,
            "u64" => DType::U64,
            _ => return DType::ALL.iter().copied().find(|d| d.name() == name),
        };
        Some(short)
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
