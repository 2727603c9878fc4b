//! Registers of the matrix kernels: one trait, one implementation per instruction set and element type.

/// A scalar in which products are accumulated.
pub trait Real:
    Copy + Send + Sync + PartialEq + std::ops::Add<Output = Self> + std::ops::Mul<Output = Self> + 'static
{
    /// 0
    const ZERO: Self;
    /// 1
    const ONE: Self;
    /// `self * a + b`, rounded once.
    fn mul_add(self, a: Self, b: Self) -> Self;
}

macro_rules! real {
    ($($t:ident)*) => { $(
        impl Real for $t {
            const ZERO: $t = 0.0;
            const ONE: $t = 1.0;
            #[inline(always)]
            fn mul_add(self, a: $t, b: $t) -> $t {
                $t::mul_add(self, a, b)
            }
        }
    )* };
}
real! { f32 f64 }

/// A SIMD register.
///
/// # Safety
/// All functions need the instruction set of the implementing type; pointers need to be valid for `LANES` elements.
pub unsafe trait Vector: Copy {
    /// Element type.
    type E: Real;
    /// Elements per register.
    const LANES: usize;
    /// All lanes equal to `x`.
    unsafe fn splat(x: Self::E) -> Self;
    /// Unaligned load.
    unsafe fn load(p: *const Self::E) -> Self;
    /// Unaligned store.
    unsafe fn store(self, p: *mut Self::E);
    /// `self * a + b`, rounded once.
    unsafe fn fma(self, a: Self, b: Self) -> Self;
    /// Sum.
    unsafe fn add(self, a: Self) -> Self;
    /// Product.
    unsafe fn mul(self, a: Self) -> Self;
    /// The first `n` lanes, fewer than [`Vector::LANES`]; the others are 0.
    #[inline(always)]
    unsafe fn load_part(p: *const Self::E, n: usize) -> Self {
        let mut lanes = [Self::E::ZERO; 16];
        // SAFETY: valid for `n` elements by contract; no register has more than 16 lanes.
        unsafe {
            for i in 0..n.min(16) {
                lanes[i] = *p.add(i);
            }
            Self::load(lanes.as_ptr())
        }
    }
    /// Stores the first `n` lanes, fewer than [`Vector::LANES`].
    #[inline(always)]
    unsafe fn store_part(self, p: *mut Self::E, n: usize) {
        let mut lanes = [Self::E::ZERO; 16];
        // SAFETY: as above.
        unsafe {
            self.store(lanes.as_mut_ptr());
            for i in 0..n.min(16) {
                *p.add(i) = lanes[i];
            }
        }
    }
    /// Asks for the cache line at `p`, which need not be valid.
    #[inline(always)]
    unsafe fn prefetch(_p: *const Self::E) {}
    /// Asks for the cache line at `p` in the second-level cache.
    #[inline(always)]
    unsafe fn prefetch_near(_p: *const Self::E) {}
}

/// `$body` for each constant `$i` below `$end`, at most 16. Registers in arrays stay registers only when their places are
/// constants from the start, and iterators of the standard library are not inlined from another codegen unit.
macro_rules! unroll {
    ($i:ident < $end:expr, $body:block) => {
        unroll!(@ $i, $end, $body, 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15)
    };
    (@ $i:ident, $end:expr, $body:block, $($n:literal)*) => {
        $(
            if $n < $end {
                let $i: usize = $n;
                $body
            }
        )*
    };
}
pub(crate) use unroll;

/// As [`unroll`], at most 4: nested loops of 16 written out cost compilers gigabytes.
macro_rules! unroll_few {
    ($i:ident < $end:expr, $body:block) => {
        const { assert!($end <= 4) };
        $crate::gemm::vector::unroll!(@ $i, $end, $body, 0 1 2 3)
    };
}
pub(crate) use unroll_few;

/// Plain arrays, for processors without a tier of their own.
#[derive(Clone, Copy)]
pub struct Plain<E>([E; 4]);

// SAFETY: plain Rust; the pointers are valid for four elements by the trait's contract.
unsafe impl<E: Real> Vector for Plain<E> {
    type E = E;
    const LANES: usize = 4;
    #[inline(always)]
    unsafe fn splat(x: E) -> Self {
        Plain([x; 4])
    }
    #[inline(always)]
    unsafe fn load(p: *const E) -> Self {
        // SAFETY: valid for four elements by contract.
        unsafe { Plain([*p, *p.add(1), *p.add(2), *p.add(3)]) }
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut E) {
        // SAFETY: valid for four elements by contract; arrays have no padding.
        unsafe { p.cast::<[E; 4]>().write_unaligned(self.0) }
    }
    #[inline(always)]
    unsafe fn fma(self, a: Self, b: Self) -> Self {
        Plain([
            self.0[0].mul_add(a.0[0], b.0[0]),
            self.0[1].mul_add(a.0[1], b.0[1]),
            self.0[2].mul_add(a.0[2], b.0[2]),
            self.0[3].mul_add(a.0[3], b.0[3]),
        ])
    }
    #[inline(always)]
    unsafe fn add(self, a: Self) -> Self {
        Plain([self.0[0] + a.0[0], self.0[1] + a.0[1], self.0[2] + a.0[2], self.0[3] + a.0[3]])
    }
    #[inline(always)]
    unsafe fn mul(self, a: Self) -> Self {
        Plain([self.0[0] * a.0[0], self.0[1] * a.0[1], self.0[2] * a.0[2], self.0[3] * a.0[3]])
    }
}

#[allow(unused_macros)]
macro_rules! vector {
    ($v:ty, $e:ty, $lanes:literal, $splat:ident, $load:ident, $store:ident, $fma:expr, $add:ident, $mul:ident $(, $more:item)*) => {
        // SAFETY: the intrinsics need the instruction set and valid pointers, which the trait's contract demands.
        unsafe impl Vector for $v {
            type E = $e;
            const LANES: usize = $lanes;
            #[inline(always)]
            unsafe fn splat(x: $e) -> Self {
                // SAFETY: see the impl.
                unsafe { $splat(x) }
            }
            #[inline(always)]
            unsafe fn load(p: *const $e) -> Self {
                // SAFETY: see the impl.
                unsafe { $load(p) }
            }
            #[inline(always)]
            unsafe fn store(self, p: *mut $e) {
                // SAFETY: see the impl.
                unsafe { $store(p, self) }
            }
            #[inline(always)]
            unsafe fn fma(self, a: Self, b: Self) -> Self {
                // SAFETY: see the impl.
                unsafe { $fma(self, a, b) }
            }
            #[inline(always)]
            unsafe fn add(self, a: Self) -> Self {
                // SAFETY: see the impl.
                unsafe { $add(self, a) }
            }
            #[inline(always)]
            unsafe fn mul(self, a: Self) -> Self {
                // SAFETY: see the impl.
                unsafe { $mul(self, a) }
            }
            $($more)*
        }
    };
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::Vector;

    vector!(
        __m512,
        f32,
        16,
        _mm512_set1_ps,
        _mm512_loadu_ps,
        _mm512_storeu_ps,
        _mm512_fmadd_ps,
        _mm512_add_ps,
        _mm512_mul_ps,
        #[inline(always)]
        unsafe fn load_part(p: *const Self::E, n: usize) -> Self {
            // SAFETY: masked lanes are not read.
            unsafe { _mm512_maskz_loadu_ps(((1u32 << n) - 1) as __mmask16, p) }
        },
        #[inline(always)]
        unsafe fn store_part(self, p: *mut Self::E, n: usize) {
            // SAFETY: masked lanes are not written.
            unsafe { _mm512_mask_storeu_ps(p, ((1u32 << n) - 1) as __mmask16, self) }
        },
        #[inline(always)]
        unsafe fn prefetch(p: *const Self::E) {
            // SAFETY: a hint never faults.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(p.cast()) }
        },
        #[inline(always)]
        unsafe fn prefetch_near(p: *const Self::E) {
            // SAFETY: a hint never faults.
            unsafe { _mm_prefetch::<_MM_HINT_T1>(p.cast()) }
        }
    );
    vector!(
        __m512d,
        f64,
        8,
        _mm512_set1_pd,
        _mm512_loadu_pd,
        _mm512_storeu_pd,
        _mm512_fmadd_pd,
        _mm512_add_pd,
        _mm512_mul_pd,
        #[inline(always)]
        unsafe fn load_part(p: *const Self::E, n: usize) -> Self {
            // SAFETY: masked lanes are not read.
            unsafe { _mm512_maskz_loadu_pd(((1u32 << n) - 1) as __mmask8, p) }
        },
        #[inline(always)]
        unsafe fn store_part(self, p: *mut Self::E, n: usize) {
            // SAFETY: masked lanes are not written.
            unsafe { _mm512_mask_storeu_pd(p, ((1u32 << n) - 1) as __mmask8, self) }
        },
        #[inline(always)]
        unsafe fn prefetch(p: *const Self::E) {
            // SAFETY: a hint never faults.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(p.cast()) }
        },
        #[inline(always)]
        unsafe fn prefetch_near(p: *const Self::E) {
            // SAFETY: a hint never faults.
            unsafe { _mm_prefetch::<_MM_HINT_T1>(p.cast()) }
        }
    );
    /// All bits of the first `n` of eight lanes.
    #[inline(always)]
    unsafe fn first(n: usize) -> __m256i {
        static LANES: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];
        // SAFETY: eight elements from one of the first nine on.
        unsafe { _mm256_loadu_si256(LANES.as_ptr().add(8 - n.min(8)).cast()) }
    }

    vector!(
        __m256,
        f32,
        8,
        _mm256_set1_ps,
        _mm256_loadu_ps,
        _mm256_storeu_ps,
        _mm256_fmadd_ps,
        _mm256_add_ps,
        _mm256_mul_ps,
        #[inline(always)]
        unsafe fn load_part(p: *const Self::E, n: usize) -> Self {
            // SAFETY: masked lanes are not read.
            unsafe { _mm256_maskload_ps(p, first(n)) }
        },
        #[inline(always)]
        unsafe fn store_part(self, p: *mut Self::E, n: usize) {
            // SAFETY: masked lanes are not written.
            unsafe { _mm256_maskstore_ps(p, first(n), self) }
        },
        #[inline(always)]
        unsafe fn prefetch(p: *const Self::E) {
            // SAFETY: a hint never faults.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(p.cast()) }
        },
        #[inline(always)]
        unsafe fn prefetch_near(p: *const Self::E) {
            // SAFETY: a hint never faults.
            unsafe { _mm_prefetch::<_MM_HINT_T1>(p.cast()) }
        }
    );
    vector!(
        __m256d,
        f64,
        4,
        _mm256_set1_pd,
        _mm256_loadu_pd,
        _mm256_storeu_pd,
        _mm256_fmadd_pd,
        _mm256_add_pd,
        _mm256_mul_pd,
        #[inline(always)]
        unsafe fn prefetch(p: *const Self::E) {
            // SAFETY: a hint never faults.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(p.cast()) }
        },
        #[inline(always)]
        unsafe fn prefetch_near(p: *const Self::E) {
            // SAFETY: a hint never faults.
            unsafe { _mm_prefetch::<_MM_HINT_T1>(p.cast()) }
        }
    );
}

#[cfg(target_arch = "aarch64")]
mod arm {
    use std::arch::aarch64::*;

    use super::Vector;

    vector!(float32x4_t, f32, 4, vdupq_n_f32, vld1q_f32, vst1q_f32, |x, a, b| vfmaq_f32(b, x, a), vaddq_f32, vmulq_f32);
    vector!(float64x2_t, f64, 2, vdupq_n_f64, vld1q_f64, vst1q_f64, |x, a, b| vfmaq_f64(b, x, a), vaddq_f64, vmulq_f64);
}
