//! Functions on tensors with PyTorch's names, promotion and defaults.

mod activation;
mod adaptive;
mod attention;
mod binary;
mod bits;
mod convolution;
mod creation;
mod ctc;
mod distance;
mod draws;
mod dropping;
mod embedding;
mod fractional;
mod gammas;
mod grids;
mod index;
mod join;
mod losses;
mod margins;
mod medians;
mod nn;
mod normalization;
mod norms;
mod operand;
mod order;
mod padding;
mod patches;
mod pick;
mod place;
mod pointwise;
mod pooling;
mod products;
mod quotient;
mod ranks;
mod rearrange;
mod reduce;
mod resample;
mod scan;
mod search;
mod shape;
mod slopes;
mod special;
mod statistics;
mod support;
mod tricubic;
mod unary;
mod views;

pub use activation::*;
pub use adaptive::*;
pub use attention::*;
pub use binary::{
    add, bitwise_and, bitwise_left_shift, bitwise_or, bitwise_right_shift, bitwise_xor, copy_, div, div_rounded, eq,
    fmod, ge, gt, le, logical_and, logical_or, logical_xor, lt, maximum, minimum, mul, ne, pow, sub, where_,
};
pub use bits::{frexp, gcd, lcm, nextafter};
pub use convolution::*;
pub use creation::{check_range, eye, linspace, logspace};
pub use ctc::*;
pub use distance::*;
pub use dropping::*;
pub use embedding::*;
pub use fractional::*;
pub use gammas::{igamma, mvlgamma, polygamma};
pub use grids::*;
pub use index::{Index, index, set_index};
pub use join::*;
pub use losses::*;
pub use margins::*;
pub use medians::{median, median_along, mode};
pub use nn::*;
pub use normalization::*;
pub use norms::{dist, norm, renorm};
pub use operand::{Operand, call, common, one};
pub use order::*;
pub use padding::*;
pub use patches::{diagonal_scatter, fill, nonzero_static, select_scatter, slice_scatter, sum_to_size, unravel_index};
pub use pick::*;
pub use place::*;
pub use pointwise::*;
pub use pooling::*;
pub use products::*;
pub use quotient::{floor_divide, remainder};
pub use ranks::{corrcoef, cov, nanmedian_along, quantile};
pub use rearrange::*;
pub use reduce::*;
pub use resample::*;
pub use scan::*;
pub use search::*;
pub use shape::*;
pub use slopes::{Spacing, cumulative_trapezoid, gradient, trapezoid};
pub use special::{digamma, erfc, erfinv, i0, lgamma};
pub use statistics::*;
pub use unary::*;
pub use views::*;

use crate::names::Entry;

/// The names of all families.
pub(crate) const FAMILIES: &[&[Entry]] = &[
    unary::NAMES,
    binary::NAMES,
    bits::NAMES,
    reduce::NAMES,
    activation::NAMES,
    adaptive::NAMES,
    attention::NAMES,
    convolution::NAMES,
    creation::NAMES,
    ctc::NAMES,
    distance::NAMES,
    draws::NAMES,
    dropping::NAMES,
    embedding::NAMES,
    fractional::NAMES,
    gammas::NAMES,
    grids::NAMES,
    join::NAMES,
    losses::NAMES,
    margins::NAMES,
    medians::NAMES,
    normalization::NAMES,
    norms::NAMES,
    order::NAMES,
    padding::NAMES,
    patches::NAMES,
    patches::COPIES,
    pick::NAMES,
    place::NAMES,
    pooling::NAMES,
    products::NAMES,
    ranks::NAMES,
    rearrange::NAMES,
    resample::NAMES,
    search::NAMES,
    slopes::NAMES,
    special::NAMES,
    views::NAMES,
    pointwise::NAMES,
    scan::NAMES,
    statistics::NAMES,
    statistics::VAR,
    statistics::STD,
    statistics::VAR_MEAN,
    statistics::STD_MEAN,
];
