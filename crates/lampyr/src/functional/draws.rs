//! Random tensors by name.

use lampyr_base::{DType, Error, Result};
use lampyr_runtime::{Operand, Scalar, Tensor, default_dtype};

use super::creation::{like, made_dtype, new, place};
use super::shape::full;
use crate::names::{Call, Entry, INPLACE, METHOD, Output, TOP, give, name};
use crate::random as r;

/// The generator that a call states, else the default one.
fn source<'c>(a: &'c Call) -> &'c r::Generator {
    match a.position("generator") {
        Some(at) => a.generator(at),
        None => r::default_generator(),
    }
}

fn whole(a: &Call, low: i64, high: i64, shape: &[usize], natural: DType) -> Result<Output> {
    place(a)?;
    give(r::randint(shape, low, high, made_dtype(a, natural)?, source(a)))
}

/// 1 with probability `p` in the shape and dtype of `x`.
fn coins(a: &Call, x: &Tensor, p: Operand) -> Result<Output> {
    let wide = match p {
        Operand::Tensor(t) => t.detach().expand(x.shape())?,
        Operand::Scalar(s) => full(x.shape(), s, DType::F64, x.device())?,
    };
    give(r::bernoulli(&wide, source(a))?.to_dtype(x.dtype()))
}

fn count(n: i64, what: &str) -> Result<usize> {
    usize::try_from(n).map_err(|_| Error::value(format!("{n} {what}")).with_expected("0 or more"))
}

/// The names of this family.
pub(super) const NAMES: &[Entry] = &[
    name(new!("rand(int[] size, *, Generator? generator=None, "), TOP, "Uniform in [0, 1).", |a| {
        place(a)?;
        give(r::rand(&a.sizes(0)?, made_dtype(a, default_dtype())?, source(a)))
    }),
    name(
        new!("randn(int[] size, *, Generator? generator=None, "),
        TOP,
        "Normal with mean 0 and variance 1.",
        |a| {
            place(a)?;
            give(r::randn(&a.sizes(0)?, made_dtype(a, default_dtype())?, source(a)))
        },
    ),
    name(
        new!("randint(int high, int[] size, *, Generator? generator=None, "),
        TOP,
        "Whole numbers from 0 up to but not including `high`.",
        |a| whole(a, 0, a.int(0)?, &a.sizes(1)?, DType::I64),
    ),
    name(
        new!("randint(int low, int high, int[] size, *, Generator? generator=None, "),
        TOP,
        "Whole numbers from `low` up to but not including `high`.",
        |a| whole(a, a.int(0)?, a.int(1)?, &a.sizes(2)?, DType::I64),
    ),
    name(
        new!("randperm(int n, *, Generator? generator=None, "),
        TOP,
        "The numbers 0 to n - 1 in random order.",
        |a| {
            place(a)?;
            give(r::randperm(count(a.int(0)?, "numbers")?, made_dtype(a, DType::I64)?, source(a)))
        },
    ),
    name(
        like!("rand_like(Tensor input, *, Generator? generator=None, "),
        TOP,
        "Uniform in [0, 1), with the shape of `input`.",
        |a| {
            place(a)?;
            let x = a.tensor(0)?;
            give(r::rand(x.shape(), made_dtype(a, x.dtype())?, source(a)))
        },
    ),
    name(
        like!("randn_like(Tensor input, *, Generator? generator=None, "),
        TOP,
        "Normal with mean 0 and variance 1, with the shape of `input`.",
        |a| {
            place(a)?;
            let x = a.tensor(0)?;
            give(r::randn(x.shape(), made_dtype(a, x.dtype())?, source(a)))
        },
    ),
    name(
        like!("randint_like(Tensor input, int high, *, Generator? generator=None, "),
        TOP,
        "Whole numbers from 0 up to but not including `high`, with the shape of `input`.",
        |a| {
            let x = a.tensor(0)?;
            whole(a, 0, a.int(1)?, x.shape(), x.dtype())
        },
    ),
    name(
        like!("randint_like(Tensor input, int low, int high, *, Generator? generator=None, "),
        TOP,
        "Whole numbers from `low` up to but not including `high`, with the shape of `input`.",
        |a| {
            let x = a.tensor(0)?;
            whole(a, a.int(1)?, a.int(2)?, x.shape(), x.dtype())
        },
    ),
    name(
        "normal(Tensor mean, Operand std=1.0, *, Generator? generator=None, Tensor? out=None) -> Tensor",
        TOP,
        "Normal, with means and standard deviations of their own for each element.",
        |a| give(r::normal(a.operand(0)?, a.operand(1)?, source(a))),
    ),
    name(
        "normal(float mean, Tensor std, *, Generator? generator=None, Tensor? out=None) -> Tensor",
        TOP,
        "Normal, with standard deviations of their own for each element.",
        |a| give(r::normal(Operand::Scalar(Scalar::Float(a.float(0)?)), a.operand(1)?, source(a))),
    ),
    name(
        new!("normal(float mean, float std, int[] size, *, Generator? generator=None, "),
        TOP,
        "Normal with one mean and one standard deviation.",
        |a| {
            place(a)?;
            let dtype = made_dtype(a, default_dtype())?;
            give(r::rand_normal(&a.sizes(2)?, a.float(0)?, a.float(1)?, dtype, source(a)))
        },
    ),
    name(
        "bernoulli(Tensor input, *, Generator? generator=None, Tensor? out=None) -> Tensor",
        TOP | METHOD,
        "1 with the probability that each element says, else 0.",
        |a| give(r::bernoulli(a.tensor(0)?, source(a))),
    ),
    name(
        "bernoulli(Tensor input, float p, *, Generator? generator=None, Tensor? out=None) -> Tensor",
        TOP | METHOD,
        "1 with probability `p`, else 0, in the shape of `input`.",
        |a| coins(a, a.tensor(0)?, Operand::Scalar(Scalar::Float(a.float(1)?))),
    ),
    name(
        "bernoulli(Tensor input, Tensor p, *, Generator? generator=None) -> Tensor",
        INPLACE,
        "1 with the probability that each element of `p` says, else 0.",
        |a| coins(a, a.tensor(0)?, Operand::Tensor(a.tensor(1)?)),
    ),
    name(
        "bernoulli(Tensor input, float p=0.5, *, Generator? generator=None) -> Tensor",
        INPLACE,
        "1 with probability `p`, else 0.",
        |a| coins(a, a.tensor(0)?, Operand::Scalar(Scalar::Float(a.float(1)?))),
    ),
    name(
        "multinomial(Tensor input, int num_samples, bool replacement=False, *, Generator? generator=None, Tensor? out=None) -> Tensor",
        TOP | METHOD,
        "Categories drawn by the weights in each row.",
        |a| give(r::multinomial(a.tensor(0)?, count(a.int(1)?, "samples")?, a.bool(2)?, source(a))),
    )
    .cost(8.0),
    name(
        "poisson(Tensor input, Generator? generator=None) -> Tensor",
        TOP,
        "How many events happen where each element of `input` are expected.",
        |a| give(r::poisson(a.tensor(0)?, source(a))),
    )
    .cost(40.0),
    name(
        "uniform(Tensor input, float from_=0.0, float to=1.0, *, Generator? generator=None) -> Tensor",
        INPLACE,
        "Uniform numbers in [from, to).",
        |a| {
            let x = a.tensor(0)?;
            give(r::uniform(x.shape(), a.float(1)?, a.float(2)?, x.dtype(), source(a)))
        },
    ),
    name(
        "normal(Tensor input, float mean=0.0, float std=1.0, *, Generator? generator=None) -> Tensor",
        INPLACE,
        "Normal numbers.",
        |a| {
            let x = a.tensor(0)?;
            give(r::rand_normal(x.shape(), a.float(1)?, a.float(2)?, x.dtype(), source(a)))
        },
    ),
    name(
        "exponential(Tensor input, float lambd=1.0, *, Generator? generator=None) -> Tensor",
        INPLACE,
        "Numbers of an exponential distribution of rate `lambd`.",
        |a| {
            let x = a.tensor(0)?;
            give(r::exponential(x.shape(), a.float(1)?, x.dtype(), source(a)))
        },
    ),
    name(
        "cauchy(Tensor input, float median=0.0, float sigma=1.0, *, Generator? generator=None) -> Tensor",
        INPLACE,
        "Numbers of a Cauchy distribution.",
        |a| {
            let x = a.tensor(0)?;
            give(r::cauchy(x.shape(), a.float(1)?, a.float(2)?, x.dtype(), source(a)))
        },
    ),
    name(
        "log_normal(Tensor input, float mean=1.0, float std=2.0, *, Generator? generator=None) -> Tensor",
        INPLACE,
        "e to the power of normal numbers.",
        |a| {
            let x = a.tensor(0)?;
            give(r::log_normal(x.shape(), a.float(1)?, a.float(2)?, x.dtype(), source(a)))
        },
    ),
    name(
        "geometric(Tensor input, float p, *, Generator? generator=None) -> Tensor",
        INPLACE,
        "Numbers of trials until success.",
        |a| {
            let x = a.tensor(0)?;
            give(r::geometric(x.shape(), a.float(1)?, x.dtype(), source(a)))
        },
    ),
    name(
        "random(Tensor input, *, Generator? generator=None) -> Tensor",
        INPLACE,
        "Whole numbers, all that the dtype holds exactly from 0 on.",
        |a| {
            let x = a.tensor(0)?;
            give(r::random_integers(x.shape(), 0, 0, x.dtype(), source(a)))
        },
    ),
    name(
        "random(Tensor input, int to, *, Generator? generator=None) -> Tensor",
        INPLACE,
        "Whole numbers from 0 up to but not including `to`.",
        |a| {
            let x = a.tensor(0)?;
            give(r::randint(x.shape(), 0, a.int(1)?, x.dtype(), source(a)))
        },
    ),
    name(
        "random(Tensor input, int from_, int? to, *, Generator? generator=None) -> Tensor",
        INPLACE,
        "Whole numbers from `from` up to but not including `to`, by default the largest that the dtype holds exactly.",
        |a| {
            let x = a.tensor(0)?;
            let to = a.int_or_none(2)?.unwrap_or_else(|| r::most(x.dtype()));
            give(r::randint(x.shape(), a.int(1)?, to, x.dtype(), source(a)))
        },
    ),
];
