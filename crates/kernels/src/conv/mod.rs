//! Convolution of images whose channels lie side by side, `[images, depth, height, width, channels]`.
//!
//! A product without a copy of the image: rows are positions, columns are output channels, the contraction runs over
//! taps and input channels, in this order, with one fused multiply-add per element. Windows of 3 x 3 may go by tiles
//! instead, see [`Tiles`]. The bits of a result do not depend on the number of threads or on the block it lies in.

mod driver;
mod micro;
mod packed;
mod plan;
mod rows;
mod tiles;
pub mod weight_grad;
mod winograd;

pub use driver::{After, Call, run};
pub(crate) use micro::Bounded;
pub use packed::{PackedConv, pack};
pub use plan::Plan;
pub use tiles::{TiledWeights, Tiles, run as run_tiles};

/// Sizes of a convolution. Axes are depth, height and width; those that are not there have size 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Images.
    pub images: usize,
    /// Sizes of an image.
    pub source: [usize; 3],
    /// Sizes of a result.
    pub positions: [usize; 3],
    /// Sizes of the window.
    pub taps: [usize; 3],
    /// Elements from position to position.
    pub strides: [usize; 3],
    /// Elements from tap to tap.
    pub dilations: [usize; 3],
    /// Padding before the first element.
    pub pads: [usize; 3],
    /// Groups of channels that do not see each other.
    pub groups: usize,
    /// Input channels of a group.
    pub channels: usize,
    /// Output channels of a group.
    pub outputs: usize,
}

impl Shape {
    /// Positions of one image.
    pub fn area(&self) -> usize {
        self.positions.iter().product()
    }

    /// Taps of a window.
    pub fn window(&self) -> usize {
        self.taps.iter().product()
    }

    /// Length of the contraction.
    pub fn inner(&self) -> usize {
        self.window() * self.channels
    }

    /// Elements of all images.
    pub fn source_len(&self) -> usize {
        self.images * self.source.iter().product::<usize>() * self.groups * self.channels
    }

    /// Elements of the result.
    pub fn result_len(&self) -> usize {
        self.images * self.area() * self.groups * self.outputs
    }

    fn floating_point_operations(&self) -> f64 {
        2.0 * self.result_len() as f64 * self.inner() as f64
    }
}
