//! Convolutions.

use lampyr_base::{Error, Result};
use lampyr_runtime::Tensor;

use super::Module;
use super::forward::Forward;
use super::make::{self, Sizes};
use super::part::Parameter;
use crate::functional::{self, convolution, pad};

/// How a convolution continues its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Padding<const N: usize> {
    /// As many elements on both sides of every axis.
    Sizes(Sizes<N>),
    /// As many as make the result as large as the input; for stride 1.
    Same,
}

impl<const N: usize> From<usize> for Padding<N> {
    fn from(n: usize) -> Padding<N> {
        Padding::Sizes(n.into())
    }
}

impl<const N: usize> From<[usize; N]> for Padding<N> {
    fn from(all: [usize; N]) -> Padding<N> {
        Padding::Sizes(all.into())
    }
}

impl From<(usize, usize)> for Padding<2> {
    fn from(both: (usize, usize)) -> Padding<2> {
        Padding::Sizes(both.into())
    }
}

/// What is put around the input of a convolution.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PaddingMode {
    /// Zeros.
    #[default]
    Zeros,
    /// The elements next to the edge, mirrored.
    Reflect,
    /// The element at the edge.
    Replicate,
    /// The elements of the other side.
    Circular,
}

/// Convolution of `[batch, in_channels, ..]` or `[in_channels, ..]` over `N` spatial axes.
#[derive(Clone, Debug, Module)]
pub struct Conv<const N: usize> {
    /// `[out_channels, in_channels / groups, ..]`
    pub weight: Parameter,
    /// `[out_channels]`
    pub bias: Option<Parameter>,
    #[module(skip)]
    options: ConvBuilder<N>,
}

/// Convolution of `[batch, in_channels, length]`.
pub type Conv1d = Conv<1>;
/// Convolution of `[batch, in_channels, height, width]`.
pub type Conv2d = Conv<2>;
/// Convolution of `[batch, in_channels, depth, height, width]`.
pub type Conv3d = Conv<3>;

/// Options of a [`Conv`].
#[derive(Clone, Debug)]
pub struct ConvBuilder<const N: usize> {
    in_channels: usize,
    out_channels: usize,
    kernel_size: Sizes<N>,
    stride: Sizes<N>,
    padding: Padding<N>,
    dilation: Sizes<N>,
    groups: usize,
    bias: bool,
    padding_mode: PaddingMode,
}

impl<const N: usize> Conv<N> {
    /// With stride 1, without padding, with a bias; weights are uniform up to `1 / sqrt(fan_in)`.
    ///
    /// # Errors
    /// When a size of the kernel is 0, or there is no memory for the weights.
    pub fn new(in_channels: usize, out_channels: usize, kernel_size: impl Into<Sizes<N>>) -> Result<Conv<N>> {
        Conv::builder(in_channels, out_channels, kernel_size).build()
    }

    /// As [`Conv::new`], with options: `Conv2d::builder(1, 32, 3).padding(1).build()?`
    pub fn builder(in_channels: usize, out_channels: usize, kernel_size: impl Into<Sizes<N>>) -> ConvBuilder<N> {
        ConvBuilder {
            in_channels,
            out_channels,
            kernel_size: kernel_size.into(),
            stride: 1.into(),
            padding: 0.into(),
            dilation: 1.into(),
            groups: 1,
            bias: true,
            padding_mode: PaddingMode::Zeros,
        }
    }
}

impl<const N: usize> ConvBuilder<N> {
    /// Elements from window to window; 1 unless set.
    #[must_use]
    pub fn stride(mut self, stride: impl Into<Sizes<N>>) -> Self {
        self.stride = stride.into();
        self
    }

    /// Elements around the input; 0 unless set.
    #[must_use]
    pub fn padding(mut self, padding: impl Into<Padding<N>>) -> Self {
        self.padding = padding.into();
        self
    }

    /// What is put around the input; zeros unless set.
    #[must_use]
    pub fn padding_mode(mut self, mode: PaddingMode) -> Self {
        self.padding_mode = mode;
        self
    }

    /// Elements from tap to tap of a window; 1 unless set.
    #[must_use]
    pub fn dilation(mut self, dilation: impl Into<Sizes<N>>) -> Self {
        self.dilation = dilation.into();
        self
    }

    /// Groups of channels that do not see each other; 1 unless set.
    #[must_use]
    pub fn groups(mut self, groups: usize) -> Self {
        self.groups = groups;
        self
    }

    /// Whether there is a bias; there is unless set.
    #[must_use]
    pub fn bias(mut self, bias: bool) -> Self {
        self.bias = bias;
        self
    }

    /// The layer.
    ///
    /// # Errors
    /// When a size is 0, the channels are no multiples of the groups, [`Padding::Same`] meets a stride, or there is no
    /// memory for the weights.
    pub fn build(self) -> Result<Conv<N>> {
        let name = format!("Conv{N}d");
        self.kernel_size.positive("kernel_size", &name)?;
        self.stride.positive("stride", &name)?;
        self.dilation.positive("dilation", &name)?;
        make::positive(self.groups, "groups", &name)?;
        let (input, out) = (self.in_channels, self.out_channels);
        if !input.is_multiple_of(self.groups) || !out.is_multiple_of(self.groups) {
            return Err(Error::value(format!("{input} and {out} channels in {} groups", self.groups))
                .with_op(&name)
                .with_expected("multiples of the groups"));
        }
        if self.padding == Padding::Same && self.stride != 1.into() {
            return Err(Error::value("padding `same` with a stride").with_op(&name).with_expected("stride 1"));
        }
        let mut shape = vec![out, input / self.groups];
        shape.extend(self.kernel_size.axes());
        let (weight, bias) = make::affine(&shape, out, self.bias)?;
        Ok(Conv { weight, bias, options: self })
    }

    /// Elements on both sides of every axis, the last axis first.
    fn around(&self) -> Vec<i64> {
        let both = |a: usize| match (self.padding, self.dilation.0.get(a), self.kernel_size.0.get(a)) {
            (Padding::Same, Some(d), Some(k)) => {
                let total = d.saturating_mul(k - 1);
                [total / 2, total - total / 2]
            }
            (Padding::Sizes(sizes), ..) => [sizes.0.get(a).copied().unwrap_or(0); 2],
            _ => [0; 2],
        };
        (0..N).rev().flat_map(both).collect()
    }
}

impl<const N: usize> Forward for Conv<N> {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let o = &self.options;
        let groups = i64::try_from(o.groups).unwrap_or(i64::MAX);
        let (bias, none) = (self.bias.as_deref(), [0; N]);
        let run = |x: &Tensor, padding: functional::Padding| {
            convolution(N, x, &self.weight, bias, &o.stride.0, padding, &o.dilation.0, groups)
        };
        let mode = match (o.padding_mode, &o.padding) {
            (PaddingMode::Zeros, Padding::Same) => return run(x, functional::Padding::Named("same")),
            (PaddingMode::Zeros, Padding::Sizes(sizes)) => return run(x, functional::Padding::Sizes(&sizes.0)),
            (PaddingMode::Reflect, _) => "reflect",
            (PaddingMode::Replicate, _) => "replicate",
            (PaddingMode::Circular, _) => "circular",
        };
        run(&pad(x, &o.around(), mode, None)?, functional::Padding::Sizes(&none))
    }
}
