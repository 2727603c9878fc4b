//! Images of other sizes, and windows taken apart and put together.

use lampyr_base::{Error, Result, contiguous_strides};
use lampyr_ops::build as op;
use lampyr_runtime::Tensor;

use super::adaptive::adaptive_avg_pooling;
use super::convolution::per_axis;
use super::operand::one;
use super::shape::{reshape_to, unsqueeze};
use super::support::{floats, known, shape_error, sizes};
use crate::names::{Call, Entry, FUNCTIONAL, give, name};

/// What [`interpolate`] takes besides the images.
#[derive(Clone, Copy, Debug)]
pub struct Interpolation<'a> {
    /// The new sizes.
    pub size: Option<&'a [i64]>,
    /// New sizes by old ones.
    pub scale: Option<&'a [f64]>,
    /// `nearest`, `nearest-exact`, `linear`, `bilinear`, `trilinear`, `bicubic` or `area`.
    pub mode: &'a str,
    /// Whether the centres of the outermost elements stay where they are.
    pub align_corners: Option<bool>,
    /// Whether coordinates use the sizes rather than the given scales.
    pub recompute: bool,
    /// Whether kernels are stretched when shrinking.
    pub antialias: bool,
}

/// `x` `[N, C, ..]` with other spatial sizes.
pub fn interpolate(x: &Tensor, options: Interpolation) -> Result<Tensor> {
    let Interpolation { size, scale, mode, align_corners, recompute, antialias } = options;
    let fail = |what: String| Error::value(what).with_op("interpolate");
    let n = match x.rank() {
        rank @ 3..=5 => rank - 2,
        rank => {
            return Err(shape_error("interpolate", format!("an input of {rank} axes"), &[x])
                .with_expected("[N, C, ..] with 1 to 3 spatial axes"));
        }
    };
    let wanted = match (mode, n) {
        ("nearest" | "nearest-exact" | "area", _) | ("linear", 1) | ("bilinear" | "bicubic", 2) | ("trilinear", 3) => {
            mode
        }
        ("linear" | "bilinear" | "bicubic" | "trilinear", _) => {
            return Err(Error::unsupported(format!("mode `{mode}` for {n} spatial axes")).with_op("interpolate"));
        }
        _ => return Err(fail(format!("mode is `{mode}`"))),
    };
    let smooth = !matches!(wanted, "nearest" | "nearest-exact" | "area");
    if align_corners.is_some() && !smooth {
        return Err(fail(format!("align_corners with mode `{mode}`")).with_expected("a linear or cubic mode"));
    }
    if antialias && !matches!(wanted, "bilinear" | "bicubic") {
        return Err(fail(format!("antialias with mode `{mode}`")).with_expected("bilinear or bicubic"));
    }
    let own = &x.shape()[2..];
    let (target, scales) = match (size, scale) {
        (Some(s), None) => (per_axis(s, n, "size", 1)?, None),
        (None, Some(s)) => {
            let s = match s {
                [one] => vec![*one; n],
                all if all.len() == n => all.to_vec(),
                _ => return Err(fail(format!("scale_factor is {s:?}")).with_expected(format!("one number or {n}"))),
            };
            let target: Vec<i64> = own.iter().zip(&s).map(|(&d, f)| (d as f64 * f).floor() as i64).collect();
            if target.iter().any(|t| *t < 1) {
                return Err(fail(format!("scale_factor {s:?} leaves nothing of {own:?}")));
            }
            (target, (!recompute).then_some(s))
        }
        _ => return Err(fail("either size or scale_factor is needed, not both".to_string())),
    };
    if own.contains(&0) {
        return Err(shape_error("interpolate", "the input has no elements", &[x]));
    }
    sizes(&[&[x.shape()[0] as i64, x.shape()[1] as i64], &target[..]].concat())?;
    if wanted == "area" {
        return adaptive_avg_pooling(n, x, &target.iter().map(|&t| Some(t)).collect::<Vec<_>>());
    }
    if smooth {
        floats(x, "interpolate")?;
    }
    let corners = align_corners == Some(true);
    let mode = match wanted {
        "nearest" | "nearest-exact" => "nearest",
        "bicubic" => "cubic",
        _ => "linear",
    };
    let resize = op::Resize {
        axes: (2..2 + n as i64).collect(),
        sizes: known(&target),
        scales: if corners { None } else { scales },
        mode: mode.to_string(),
        coordinates: match (wanted, corners) {
            ("nearest", _) => "asymmetric",
            (_, true) => "align_corners",
            _ => "half_pixel",
        }
        .to_string(),
        nearest_mode: if wanted == "nearest" { "floor" } else { "round_prefer_ceil" }.to_string(),
        cubic_coeff_a: if antialias { -0.5 } else { -0.75 },
        exclude_outside: antialias,
        antialias,
        ..op::Resize::default()
    };
    one(&resize, &[x])
}

/// Elements of `x` `[N, C, ..]` at the points `grid` `[N, .., D]`, whose coordinates run from -1 to 1.
pub fn grid_sample(x: &Tensor, grid: &Tensor, mode: &str, padding_mode: &str, align_corners: bool) -> Result<Tensor> {
    floats(x, "grid_sample")?;
    if mode == "bicubic" && x.rank() == 5 {
        return super::support::once(&[x, grid], |t| {
            super::tricubic::sample_volume(t[0], t[1], padding_mode, align_corners)
        });
    }
    let mode = match mode {
        "bilinear" => "linear",
        "nearest" => "nearest",
        "bicubic" if x.rank() == 4 => "cubic",
        other => {
            return Err(Error::value(format!("mode is `{other}`"))
                .with_op("grid_sample")
                .with_expected("bilinear, nearest or bicubic"));
        }
    };
    let op = op::GridSample { mode: mode.to_string(), padding_mode: padding_mode.to_string(), align_corners };
    one(&op, &[x, grid])
}

/// The points that [`grid_sample`] takes to move images of sizes `size` `[N, C, ..]` by the maps `theta`.
pub fn affine_grid(theta: &Tensor, size: &[i64], align_corners: bool) -> Result<Tensor> {
    floats(theta, "affine_grid")?;
    if size.iter().any(|d| *d <= 0) {
        return Err(Error::value(format!("sizes {size:?}")).with_op("affine_grid").with_expected("positive sizes"));
    }
    sizes(size)?;
    one(&op::AffineGrid { size: known(size), align_corners }, &[theta])
}

/// Sizes and steps of windows over images, one number per axis or one for both.
#[derive(Clone, Copy, Debug)]
pub struct Windows<'a> {
    /// Sizes of the window.
    pub kernel: &'a [i64],
    /// Steps within it.
    pub dilation: &'a [i64],
    /// Zeros around the image.
    pub padding: &'a [i64],
    /// Steps between windows.
    pub stride: &'a [i64],
}

struct Ready {
    kernel: Vec<i64>,
    dilation: Vec<i64>,
    padding: Vec<i64>,
    stride: Vec<i64>,
}

impl Windows<'_> {
    fn ready(&self) -> Result<Ready> {
        Ok(Ready {
            kernel: per_axis(self.kernel, 2, "kernel_size", 1)?,
            dilation: per_axis(self.dilation, 2, "dilation", 1)?,
            padding: per_axis(self.padding, 2, "padding", 0)?,
            stride: per_axis(self.stride, 2, "stride", 1)?,
        })
    }
}

/// The windows of `x` `[N, C, H, W]` as columns `[N, C * window, windows]`.
pub fn unfold(x: &Tensor, windows: Windows) -> Result<Tensor> {
    let Ready { kernel, dilation, padding, stride } = windows.ready()?;
    let wide = match x.rank() {
        4 => x.clone(),
        3 => unsqueeze(x, 0)?,
        n => return Err(shape_error("unfold", format!("an input of {n} axes"), &[x]).with_expected("[N, C, H, W]")),
    };
    let around = [0, 0, padding[0], padding[1]];
    let padded = if padding.iter().any(|p| *p > 0) {
        let ends = known(&around);
        one(&op::Pad { begins: known(&around), ends, mode: "constant".to_string() }, &[&wide])?
    } else {
        wide
    };
    let (n, c) = (padded.shape()[0] as i64, padded.shape()[1] as i64);
    let strides: Vec<i64> = contiguous_strides(padded.shape()).iter().map(|&s| s as i64).collect();
    let mut count = [0; 2];
    for a in 0..2 {
        let reach = dilation[a].saturating_mul(kernel[a] - 1).saturating_add(1);
        let room = padded.shape()[a + 2] as i64 - reach;
        if room < 0 {
            return Err(shape_error("unfold", format!("windows {kernel:?} do not fit into the image"), &[x]));
        }
        count[a] = room / stride[a] + 1;
    }
    let view = op::AsStrided {
        size: vec![n, c, kernel[0], kernel[1], count[0], count[1]],
        stride: vec![
            strides[0],
            strides[1],
            strides[2].saturating_mul(dilation[0]),
            strides[3].saturating_mul(dilation[1]),
            strides[2].saturating_mul(stride[0]),
            strides[3].saturating_mul(stride[1]),
        ],
        offset: 0,
    };
    let shape = sizes(&[n, c.saturating_mul(kernel[0] * kernel[1]), count[0] * count[1]])?;
    let columns = reshape_to(&one(&view, &[&padded])?, &shape)?;
    if x.rank() == 3 { reshape_to(&columns, &shape[1..]) } else { Ok(columns) }
}

/// Images of sizes `size` from columns `[N, C * window, windows]`, added up where windows overlap.
pub fn fold(x: &Tensor, size: &[i64], windows: Windows) -> Result<Tensor> {
    floats(x, "fold")?;
    let Ready { kernel, dilation, padding, stride } = windows.ready()?;
    let image = per_axis(size, 2, "output_size", 1)?;
    let wide = match x.rank() {
        3 => x.clone(),
        2 => unsqueeze(x, 0)?,
        n => {
            return Err(
                shape_error("fold", format!("an input of {n} axes"), &[x]).with_expected("[N, C * window, windows]")
            );
        }
    };
    sizes(&[wide.shape()[0] as i64, wide.shape()[1] as i64, image[0], image[1]])?;
    let fold = op::Col2im {
        image: known(&image),
        block: kernel,
        strides: stride,
        pads: known(&[padding.clone(), padding].concat()),
        dilations: dilation,
    };
    let made = one(&fold, &[&wide])?;
    if x.rank() == 2 { reshape_to(&made, &made.shape()[1..]) } else { Ok(made) }
}

fn sized(a: &Call, mode: &str) -> Result<Tensor> {
    let options = Interpolation {
        size: a.ints_or_none(1)?,
        scale: a.floats_or_none(2)?,
        mode,
        align_corners: (mode == "bilinear").then_some(true),
        recompute: false,
        antialias: false,
    };
    interpolate(a.tensor(0)?, options)
}

/// The names of this family.
pub(super) const NAMES: &[Entry] = &[
    name(
        "interpolate(Tensor input, int[1]? size=None, float[1]? scale_factor=None, str mode='nearest', bool? align_corners=None, bool? recompute_scale_factor=None, bool antialias=False) -> Tensor",
        FUNCTIONAL,
        "Images of other sizes.",
        |a| {
            let options = Interpolation {
                size: a.ints_or_none(1)?,
                scale: a.floats_or_none(2)?,
                mode: a.str(3)?,
                align_corners: a.bool_or_none(4)?,
                recompute: a.bool_or_none(5)? == Some(true),
                antialias: a.bool(6)?,
            };
            give(interpolate(a.tensor(0)?, options))
        },
    )
    .also(&["upsample"])
    .cost(32.0),
    name(
        "upsample_nearest(Tensor input, int[1]? size=None, float[1]? scale_factor=None) -> Tensor",
        FUNCTIONAL,
        "Images of other sizes, from the nearest elements.",
        |a| give(sized(a, "nearest")),
    )
    .cost(32.0),
    name(
        "upsample_bilinear(Tensor input, int[1]? size=None, float[1]? scale_factor=None) -> Tensor",
        FUNCTIONAL,
        "Images of other sizes, from four elements around; corners stay where they are.",
        |a| give(sized(a, "bilinear")),
    )
    .cost(32.0),
    name(
        "grid_sample(Tensor input, Tensor grid, str mode='bilinear', str padding_mode='zeros', bool? align_corners=None) -> Tensor",
        FUNCTIONAL,
        "Elements of images at given points.",
        |a| give(grid_sample(a.tensor(0)?, a.tensor(1)?, a.str(2)?, a.str(3)?, a.bool_or_none(4)? == Some(true))),
    )
    .cost(32.0),
    name("affine_grid(Tensor theta, int[] size, bool? align_corners=None) -> Tensor", FUNCTIONAL, "Points of images under affine maps.", |a| {
        give(affine_grid(a.tensor(0)?, a.ints(1)?, a.bool_or_none(2)? == Some(true)))
    }),
    name(
        "unfold(Tensor input, int[1] kernel_size, int[1] dilation=1, int[1] padding=0, int[1] stride=1) -> Tensor",
        FUNCTIONAL,
        "Windows of images as columns.",
        |a| {
            let windows = Windows { kernel: a.ints(1)?, dilation: a.ints(2)?, padding: a.ints(3)?, stride: a.ints(4)? };
            give(unfold(a.tensor(0)?, windows))
        },
    ),
    name(
        "fold(Tensor input, int[1] output_size, int[1] kernel_size, int[1] dilation=1, int[1] padding=0, int[1] stride=1) -> Tensor",
        FUNCTIONAL,
        "Images from columns, added up where windows overlap.",
        |a| {
            let windows = Windows { kernel: a.ints(2)?, dilation: a.ints(3)?, padding: a.ints(4)?, stride: a.ints(5)? };
            give(fold(a.tensor(0)?, a.ints(1)?, windows))
        },
    ),
];
