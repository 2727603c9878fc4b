//! Convolution and pooling of images with the channels last.

use lampyr_base::DType;
use lampyr_ir::OpType;
use lampyr_ops::build::{AvgPool, Conv, GlobalAveragePool, MaxPool};

use crate::support::check;

/// All float32 cases of an op with the channels last.
fn check_last<T: OpType>() {
    let float = |c: &lampyr_ir::case::Case| c.inputs.iter().all(|i| i.dtype == DType::F32);
    let cases = T::cases();
    let last: Vec<_> = cases.iter().filter(|c| c.name.starts_with("last-") && float(c)).collect();
    assert!(last.len() > 2);
    last.into_iter().for_each(check);
}

#[test]
fn channels_last_convolution() {
    check_last::<Conv>();
}

#[test]
fn channels_last_pooling() {
    check_last::<MaxPool>();
    check_last::<AvgPool>();
    check_last::<GlobalAveragePool>();
}
