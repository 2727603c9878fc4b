//! Pooling.

use lampyr_base::Result;
use lampyr_runtime::Tensor;

use super::Module;
use super::forward::Forward;
use super::make::Sizes;
use crate::functional::{Pooling, adaptive_avg_pooling, avg_pooling, max_pooling};

/// Options of [`MaxPool`] and [`AvgPool`].
#[derive(Clone, Debug)]
struct Windows<const N: usize> {
    kernel: Sizes<N>,
    stride: Option<Sizes<N>>,
    padding: Sizes<N>,
    dilation: Sizes<N>,
    ceil: bool,
}

impl<const N: usize> Windows<N> {
    fn new(kernel: Sizes<N>, layer: &str) -> Result<Windows<N>> {
        let kernel = kernel.positive("kernel_size", &format!("{layer}{N}d"))?;
        Ok(Windows { kernel, stride: None, padding: 0.into(), dilation: 1.into(), ceil: false })
    }

    fn pooling(&self) -> Pooling<'_> {
        Pooling {
            n: N,
            kernel: &self.kernel.0,
            stride: self.stride.as_ref().map_or(&[], |s| &s.0),
            padding: &self.padding.0,
            dilation: &self.dilation.0,
            ceil: self.ceil,
        }
    }
}

macro_rules! windows {
    () => {
        /// Elements from window to window; the size of the window unless set.
        #[must_use]
        pub fn stride(mut self, stride: impl Into<Sizes<N>>) -> Self {
            self.windows.stride = Some(stride.into());
            self
        }

        /// Elements around the input, at most half the window; 0 unless set.
        #[must_use]
        pub fn padding(mut self, padding: impl Into<Sizes<N>>) -> Self {
            self.windows.padding = padding.into();
            self
        }

        /// Whether a last window may hang over the end; not unless set.
        #[must_use]
        pub fn ceil_mode(mut self, on: bool) -> Self {
            self.windows.ceil = on;
            self
        }
    };
}

/// Largest elements in windows of `[batch, channels, ..]` or `[channels, ..]`.
#[derive(Clone, Debug, Module)]
pub struct MaxPool<const N: usize> {
    #[module(skip)]
    windows: Windows<N>,
}

/// Largest elements in windows of `[batch, channels, length]`.
pub type MaxPool1d = MaxPool<1>;
/// Largest elements in windows of `[batch, channels, height, width]`.
pub type MaxPool2d = MaxPool<2>;

impl<const N: usize> MaxPool<N> {
    /// Windows side by side: `MaxPool2d::new(3)?.stride(2).padding(1)`
    ///
    /// # Errors
    /// When a size is 0.
    pub fn new(kernel_size: impl Into<Sizes<N>>) -> Result<MaxPool<N>> {
        Ok(MaxPool { windows: Windows::new(kernel_size.into(), "MaxPool")? })
    }

    windows!();

    /// Elements from tap to tap of a window; 1 unless set.
    #[must_use]
    pub fn dilation(mut self, dilation: impl Into<Sizes<N>>) -> Self {
        self.windows.dilation = dilation.into();
        self
    }
}

impl<const N: usize> Forward for MaxPool<N> {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        Ok(max_pooling(x, self.windows.pooling(), false)?.0)
    }
}

/// Means of windows of `[batch, channels, ..]` or `[channels, ..]`.
#[derive(Clone, Debug, Module)]
pub struct AvgPool<const N: usize> {
    #[module(skip)]
    windows: Windows<N>,
    count_padding: bool,
}

/// Means of windows of `[batch, channels, length]`.
pub type AvgPool1d = AvgPool<1>;
/// Means of windows of `[batch, channels, height, width]`.
pub type AvgPool2d = AvgPool<2>;

impl<const N: usize> AvgPool<N> {
    /// Windows side by side: `AvgPool2d::new(3)?.stride(2).padding(1)`
    ///
    /// # Errors
    /// When a size is 0.
    pub fn new(kernel_size: impl Into<Sizes<N>>) -> Result<AvgPool<N>> {
        Ok(AvgPool { windows: Windows::new(kernel_size.into(), "AvgPool")?, count_padding: true })
    }

    windows!();

    /// Whether padding counts as elements of a window; it does unless set.
    #[must_use]
    pub fn count_include_pad(mut self, on: bool) -> Self {
        self.count_padding = on;
        self
    }
}

impl<const N: usize> Forward for AvgPool<N> {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        avg_pooling(x, self.windows.pooling(), self.count_padding, None)
    }
}

/// Means of as many windows as asked for.
#[derive(Clone, Debug, Module)]
pub struct AdaptiveAvgPool<const N: usize> {
    #[module(skip)]
    output: [Option<i64>; N],
}

/// From `[batch, channels, height, width]` to `[batch, channels, *output]`.
pub type AdaptiveAvgPool2d = AdaptiveAvgPool<2>;

impl<const N: usize> AdaptiveAvgPool<N> {
    /// With results of these sizes.
    pub fn new(output: impl Into<Sizes<N>>) -> AdaptiveAvgPool<N> {
        AdaptiveAvgPool { output: output.into().0.map(Some) }
    }

    /// As [`AdaptiveAvgPool::new`]; axes without a size keep theirs.
    pub fn keeping(output: [Option<usize>; N]) -> AdaptiveAvgPool<N> {
        AdaptiveAvgPool { output: output.map(|n| n.map(|n| i64::try_from(n).unwrap_or(i64::MAX))) }
    }
}

impl<const N: usize> Forward for AdaptiveAvgPool<N> {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        adaptive_avg_pooling(N, x, &self.output)
    }
}
