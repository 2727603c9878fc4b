//! Indices that point outside, for `cargo xtask memcheck`: each call fails, and valgrind sees no access outside. Sizes
//! are multiples of the allocator's smallest block, so that the block ends where the elements end.

use lampyr::functional::{self as f, Bags, Embedding, Index, Operand, Pooling};
use lampyr::{DType, Device, Result, Scalar, Tensor};

const OUTSIDE: &[i64] = &[4, 5, -5, -6, 64, -64, 1 << 20, 1 << 31, -(1 << 31), 1 << 40, i64::MAX, i64::MIN];

fn floats(shape: &[usize]) -> Result<Tensor> {
    let values: Vec<f32> = (0..shape.iter().product::<usize>()).map(|i| i as f32).collect();
    Tensor::from_slice(&values, shape)
}

/// A vector that ends with `value`, in every type that holds it.
fn vectors(value: i64) -> Result<Vec<Tensor>> {
    let wide = Tensor::from_slice(&[0, 1, 2, value], &[4])?;
    let fits = |d: DType| {
        let bits = d.bits() as u32;
        bits == 64 || (-(1i64 << (bits - 1))..1i64 << (bits - 1)).contains(&value)
    };
    [DType::I8, DType::I16, DType::I32, DType::I64].into_iter().filter(|d| fits(*d)).map(|d| wide.to_dtype(d)).collect()
}

type Call = fn(&Tensor, &Tensor) -> Result<Tensor>;

fn one() -> Operand<'static> {
    Operand::Scalar(Scalar::Float(1.0))
}

/// Calls on a 4 x 4 tensor and a vector of indices of its first axis.
const CALLS: &[(&str, Call)] = &[
    ("index", |x, i| f::index(x, &[Index::Tensor(i.clone())])),
    ("index_put", |x, i| f::index_put(x, &[Index::Tensor(i.clone())], one(), false)),
    ("index_put added", |x, i| f::index_put(x, &[Index::Tensor(i.clone())], one(), true)),
    ("index_select", |x, i| f::index_select(x, 0, i)),
    ("index_add", |x, i| f::index_add(x, 0, i, x, one())),
    ("index_copy", |x, i| f::index_copy(x, 0, i, x)),
    ("index_reduce", |x, i| f::index_reduce(x, 0, i, x, "amax", true)),
    ("index_fill", |x, i| f::index_fill(x, 0, i, one())),
    ("gather", |x, i| f::gather_along(x, 0, &i.reshape(&[1, 4])?)),
    ("scatter", |x, i| f::scatter(x, 0, &i.reshape(&[1, 4])?, one(), "")),
    ("scatter_reduce", |x, i| f::scatter_reduce(x, 0, &i.reshape(&[1, 4])?, x, "sum", true)),
    ("take", |x, i| f::take(&x.select(0, 0)?, i)),
    ("put", |x, i| f::put(&x.select(0, 0)?, i, &x.select(0, 1)?, false)),
    ("take_along_dim", |x, i| f::take_along_dim(x, &i.reshape(&[1, 4])?, Some(0))),
    ("embedding", |x, i| f::embedding(i, x, Embedding::default())),
    ("embedding_bag", |x, i| {
        let bags = Bags { offsets: None, weights: None, last: false, mode: "sum" };
        f::embedding_bag(&i.reshape(&[1, 4])?, x, bags, Embedding::default())
    }),
    ("nll_loss", |x, i| f::nll_loss(x, &i.to_dtype(DType::I64)?, None, -100, "mean")),
    ("one_hot", |_, i| f::one_hot(&i.to_dtype(DType::I64)?, 4)),
    ("max_unpool2d", |x, i| {
        let pooling = Pooling { n: 2, kernel: &[1], stride: &[1], padding: &[0], dilation: &[1], ceil: false };
        let at = i.to_dtype(DType::I64)?.reshape(&[1, 1, 2, 2])?;
        f::max_unpooling(&x.select(0, 0)?.reshape(&[1, 1, 2, 2])?, &at, pooling, &[])
    }),
];

#[test]
fn outside_is_refused() -> Result<()> {
    lampyr::init();
    let x = floats(&[4, 4])?;
    for (name, call) in CALLS {
        for &value in OUTSIDE {
            for index in vectors(value)? {
                let made = call(&x, &index);
                assert!(made.is_err(), "{name} took {value} as {}", index.dtype());
            }
        }
        for index in [Tensor::from_slice(&[f32::NAN, 1e30, 0.0, 1.0], &[4])?, Tensor::from_slice(&[0.5f64; 4], &[4])?] {
            // Calls that cast indices themselves see whole numbers, which lie outside for NaN and 1e30.
            let made = call(&x, &index);
            assert!(made.is_err() || ["nll_loss", "one_hot", "max_unpool2d"].contains(name), "{name} took floats");
        }
    }
    Ok(())
}

#[test]
fn the_last_element_is_inside() -> Result<()> {
    lampyr::init();
    let x = floats(&[4, 4])?;
    for (name, call) in CALLS {
        for index in vectors(3)? {
            let made = call(&x, &index);
            let narrow = matches!(index.dtype(), DType::I8 | DType::I16);
            assert!(narrow || made.is_ok(), "{name} refused 3 as {}: {made:?}", index.dtype());
            if let Ok(made) = made {
                made.to_host()?;
            }
        }
    }
    Ok(())
}

#[test]
fn views_stay_inside() -> Result<()> {
    lampyr::init();
    let x = floats(&[16])?;
    let outside: &[(&[i64], &[i64], Option<i64>)] = &[
        (&[17], &[1], None),
        (&[4, 5], &[4, 1], None),
        (&[4, 4], &[4, 1], Some(1)),
        (&[1], &[1], Some(16)),
        (&[1], &[1], Some(-1)),
        (&[2], &[i64::MAX], None),
        (&[i64::MAX], &[1], None),
        (&[1 << 32, 1 << 32], &[0, 0], None),
        (&[2, 2], &[i64::MAX, i64::MAX], None),
        (&[2], &[-1], None),
        (&[4], &[1 << 61], None),
    ];
    for (size, stride, offset) in outside {
        assert!(f::as_strided(&x, size, stride, *offset).is_err(), "{size:?} {stride:?} {offset:?}");
    }
    f::as_strided(&x, &[4, 4], &[1, 4], None)?.copy_contiguous()?.to_host()?;
    f::as_strided(&x, &[1], &[1], Some(15))?.to_host()?;
    for &value in OUTSIDE {
        let y = floats(&[4, 4])?;
        assert!(y.select(0, value).is_err() && f::narrow(&y, 0, value, 2).is_err());
        assert!(f::unfold_axis(&y, 0, value.saturating_add(1), 1).is_err());
    }
    assert!(Tensor::empty(&[4], DType::F32, Device::CPU)?.resized(&[usize::MAX / 2]).is_err());
    let grown = floats(&[16])?.resized(&[32])?;
    f::narrow(&grown, 0, 0, 16)?.to_host()?;
    Ok(())
}
