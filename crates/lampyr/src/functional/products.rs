//! Products of matrices and vectors.

use lampyr_base::{DType, Error, Result};
use lampyr_ops::build as op;
use lampyr_ops::common::{axes, axis};
use lampyr_runtime::{Scalar, Tensor};

use super::operand::one;
use super::rearrange::roll;
use super::shape::{reshape_to, unsqueeze};
use super::support::{described, shape_error};
use super::views::diagonal;
use crate::names::{Entry, FUNCTIONAL, INPLACE, METHOD, TOP, give, name};

fn same_dtype(name: &str, tensors: &[&Tensor]) -> Result<()> {
    let Some(first) = tensors.first() else { return Ok(()) };
    if tensors.iter().all(|t| t.dtype() == first.dtype()) {
        return Ok(());
    }
    Err(Error::dtype("operands have different types")
        .with_op(name)
        .with_inputs(tensors.iter().map(|t| described(t)))
        .with_expected("equal types"))
}

fn ranks(name: &str, tensors: &[&Tensor], wanted: &[usize]) -> Result<()> {
    if tensors.iter().map(|t| t.rank()).eq(wanted.iter().copied()) {
        return Ok(());
    }
    let have: Vec<usize> = tensors.iter().map(|t| t.rank()).collect();
    Err(shape_error(name, format!("operands of {have:?} axes"), tensors).with_expected(format!("{wanted:?} axes")))
}

/// Runs `f` on operands whose integers are wide enough for the ops; the result is narrowed again.
fn widened(tensors: &[&Tensor], f: impl Fn(&[&Tensor]) -> Result<Tensor>) -> Result<Tensor> {
    match tensors.first().map(|t| t.dtype()) {
        Some(dtype @ (DType::I8 | DType::I16 | DType::U8 | DType::U16)) => {
            let wide = tensors.iter().map(|t| t.to_dtype(DType::I32)).collect::<Result<Vec<_>>>()?;
            f(&wide.iter().collect::<Vec<_>>())?.to_dtype(dtype)
        }
        _ => f(tensors),
    }
}

/// Runs `f` on operands of which half-precision ones are `float32`; the result is rounded once.
fn exactly(tensors: &[&Tensor], f: impl Fn(&[&Tensor]) -> Result<Tensor>) -> Result<Tensor> {
    match tensors.first().map(|t| t.dtype()) {
        Some(dtype @ (DType::F16 | DType::BF16)) => {
            let wide = tensors.iter().map(|t| t.to_dtype(DType::F32)).collect::<Result<Vec<_>>>()?;
            f(&wide.iter().collect::<Vec<_>>())?.to_dtype(dtype)
        }
        _ => f(tensors),
    }
}

fn product(name: &str, x: &Tensor, y: &Tensor) -> Result<Tensor> {
    same_dtype(name, &[x, y])?;
    widened(&[x, y], |t| one(&op::Matmul, t)).map_err(|e| e.with_op(name))
}

/// Product of two matrices.
pub fn mm(x: &Tensor, y: &Tensor) -> Result<Tensor> {
    ranks("mm", &[x, y], &[2, 2])?;
    product("mm", x, y)
}

/// Products of two batches of matrices.
pub fn bmm(x: &Tensor, y: &Tensor) -> Result<Tensor> {
    ranks("bmm", &[x, y], &[3, 3])?;
    if x.shape()[0] != y.shape()[0] {
        return Err(shape_error("bmm", "the batches have different sizes", &[x, y]).with_expected("equal first sizes"));
    }
    product("bmm", x, y)
}

/// Product of a matrix and a vector.
pub fn mv(x: &Tensor, y: &Tensor) -> Result<Tensor> {
    ranks("mv", &[x, y], &[2, 1])?;
    product("mv", x, y)
}

/// Sum of the products of the elements of two vectors.
pub fn dot(x: &Tensor, y: &Tensor) -> Result<Tensor> {
    ranks("dot", &[x, y], &[1, 1])?;
    product("dot", x, y)
}

/// Matrix product; vectors and batches as PyTorch's `matmul` takes them.
pub fn matrix_product(x: &Tensor, y: &Tensor) -> Result<Tensor> {
    product("matmul", x, y)
}

/// All products of the elements of two vectors.
pub fn outer(x: &Tensor, y: &Tensor) -> Result<Tensor> {
    ranks("outer", &[x, y], &[1, 1])?;
    super::mul((&unsqueeze(x, 1)?).into(), (&unsqueeze(y, 0)?).into())
}

/// Sums of products over the last axes of both.
pub fn inner(x: &Tensor, y: &Tensor) -> Result<Tensor> {
    same_dtype("inner", &[x, y])?;
    if x.rank() == 0 || y.rank() == 0 {
        return x.mul(y);
    }
    if x.shape().last() != y.shape().last() {
        return Err(
            shape_error("inner", "the last axes have different sizes", &[x, y]).with_expected("equal last sizes")
        );
    }
    tensordot(x, y, &[-1], &[-1])
}

fn scaled(x: &Tensor, factor: Scalar, name: &str) -> Result<Tensor> {
    if factor.to_f64() == 1.0 {
        return Ok(x.clone());
    }
    if x.dtype() == DType::Bool {
        return Err(Error::dtype("a factor of bool tensors").with_op(name).with_expected("numbers"));
    }
    let whole = match factor {
        Scalar::Float(f) if !x.dtype().is_float() => Scalar::Int(f as i64),
        other => other,
    };
    x.mul(whole)?.to_dtype(x.dtype())
}

/// `beta * x + alpha * y`; where `beta` is 0, `x` is not read.
fn blend(name: &str, x: &Tensor, y: &Tensor, beta: Scalar, alpha: Scalar) -> Result<Tensor> {
    same_dtype(name, &[x, y])?;
    let y = scaled(y, alpha, name)?;
    let wide = x.expand(y.shape()).map_err(|e| e.with_op(name))?;
    if beta.to_f64() == 0.0 {
        return if y.same(x) { y.duplicate() } else { Ok(y) };
    }
    scaled(&wide, beta, name)?.add(&y)
}

/// `beta * input + alpha * (x @ y)` of matrices.
pub fn addmm(input: &Tensor, x: &Tensor, y: &Tensor, beta: Scalar, alpha: Scalar) -> Result<Tensor> {
    same_dtype("addmm", &[input, x, y])?;
    exactly(&[input, x, y], |t| blend("addmm", t[0], &mm(t[1], t[2])?, beta, alpha))
}

/// `beta * input + alpha * (x @ y)` of a matrix and a vector.
pub fn addmv(input: &Tensor, x: &Tensor, y: &Tensor, beta: Scalar, alpha: Scalar) -> Result<Tensor> {
    same_dtype("addmv", &[input, x, y])?;
    exactly(&[input, x, y], |t| blend("addmv", t[0], &mv(t[1], t[2])?, beta, alpha))
}

/// `beta * input + alpha * outer(x, y)`
pub fn addr(input: &Tensor, x: &Tensor, y: &Tensor, beta: Scalar, alpha: Scalar) -> Result<Tensor> {
    super::support::once(&[input, x, y], |t| addr_of(t[0], t[1], t[2], beta, alpha))
}

fn addr_of(input: &Tensor, x: &Tensor, y: &Tensor, beta: Scalar, alpha: Scalar) -> Result<Tensor> {
    let product = outer(x, y)?;
    let all = super::support::promoted(&[input, &product])?;
    let [input, product] = &all[..] else { return Err(Error::internal("two operands")) };
    if input.dtype() == DType::Bool {
        let product =
            if alpha.to_f64() == 0.0 { super::support::zeros(product.shape(), product)? } else { product.clone() };
        if beta.to_f64() == 0.0 {
            return Ok(product);
        }
        return one(&op::LogicalOr, &[&input.expand(product.shape())?, &product]);
    }
    blend("addr", input, product, beta, alpha)
}

/// `beta * input + alpha * (x @ y)` of batches.
pub fn baddbmm(input: &Tensor, x: &Tensor, y: &Tensor, beta: Scalar, alpha: Scalar) -> Result<Tensor> {
    same_dtype("baddbmm", &[input, x, y])?;
    exactly(&[input, x, y], |t| blend("baddbmm", t[0], &bmm(t[1], t[2])?, beta, alpha))
}

/// `beta * input + alpha * sum(x @ y)` over the batches.
pub fn addbmm(input: &Tensor, x: &Tensor, y: &Tensor, beta: Scalar, alpha: Scalar) -> Result<Tensor> {
    same_dtype("addbmm", &[input, x, y])?;
    exactly(&[input, x, y], |t| {
        let all = bmm(t[1], t[2])?;
        let sum = all.sum(&[0], false)?.to_dtype(all.dtype())?;
        blend("addbmm", t[0], &sum, beta, alpha)
    })
}

/// Sums of products over the axes `left` of `x` and `right` of `y`, pair by pair.
pub fn tensordot(x: &Tensor, y: &Tensor, left: &[i64], right: &[i64]) -> Result<Tensor> {
    same_dtype("tensordot", &[x, y])?;
    let named = |t: &Tensor, list: &[i64]| -> Result<Vec<usize>> {
        if !list.is_empty() {
            axes(list, t.rank())?;
        }
        list.iter().map(|&a| axis(a, t.rank())).collect()
    };
    let (a, b) = (named(x, left)?, named(y, right)?);
    let fits = a.len() == b.len()
        && a.iter().zip(&b).all(|(&i, &j)| {
            let (m, n) = (x.shape()[i], y.shape()[j]);
            m == n || m == 1 || n == 1
        });
    if !fits {
        return Err(shape_error("tensordot", format!("axes {left:?} and {right:?} do not fit"), &[x, y])
            .with_expected("pairs of axes of equal size"));
    }
    let (mut x, mut y) = (x.clone(), y.clone());
    for (&i, &j) in a.iter().zip(&b) {
        if x.shape()[i] != y.shape()[j] {
            if x.shape()[i] != 1 {
                x = x.sum(&[i as i64], true)?.to_dtype(x.dtype())?;
            } else {
                y = y.sum(&[j as i64], true)?.to_dtype(y.dtype())?;
            }
        }
    }
    let free = |t: &Tensor, gone: &[usize]| (0..t.rank()).filter(|i| !gone.contains(i)).collect::<Vec<_>>();
    let (rows, columns) = (free(&x, &a), free(&y, &b));
    let size = |t: &Tensor, list: &[usize]| list.iter().map(|&i| t.shape()[i]).collect::<Vec<_>>();
    let order = |first: &[usize], second: &[usize]| first.iter().chain(second).map(|&i| i as i64).collect::<Vec<_>>();
    let (m, k, n) = (size(&x, &rows), size(&x, &a), size(&y, &columns));
    let (outer, inner, wide): (usize, usize, usize) = (m.iter().product(), k.iter().product(), n.iter().product());
    let left = reshape_to(&x.permute(&order(&rows, &a))?, &[outer, inner])?;
    let right = reshape_to(&y.permute(&order(&b, &columns))?, &[inner, wide])?;
    reshape_to(&product("tensordot", &left, &right)?, &[m, n].concat())
}

/// Whether an index of one operand alone is summed over: sums of integers are `int64`.
fn sums_alone(equation: &str) -> bool {
    let Some((left, right)) = equation.split_once("->") else { return false };
    let operands: Vec<&str> = left.split(',').collect();
    left.chars()
        .filter(|c| c.is_alphabetic() && !right.contains(*c))
        .any(|c| operands.iter().filter(|o| o.contains(c)).count() == 1)
}

/// Sums of products that an equation such as `ij,jk->ik` names.
pub fn einsum(equation: &str, operands: &[Tensor]) -> Result<Tensor> {
    let all: Vec<&Tensor> = operands.iter().collect();
    same_dtype("einsum", &all)?;
    if all.first().is_some_and(|t| t.dtype().is_integer() && t.dtype() != DType::I64) && sums_alone(equation) {
        let wide = operands.iter().map(|t| t.to_dtype(DType::I64)).collect::<Result<Vec<_>>>()?;
        return einsum(equation, &wide);
    }
    widened(&all, |t| one(&op::Einsum { equation: equation.replace(' ', "") }, t))
}

/// Every element of `x` times all of `y`.
pub fn kron(x: &Tensor, y: &Tensor) -> Result<Tensor> {
    let rank = x.rank().max(y.rank());
    let lead =
        |t: &Tensor| std::iter::repeat_n(1, rank - t.rank()).chain(t.shape().iter().copied()).collect::<Vec<_>>();
    let (a, b) = (lead(x), lead(y));
    let left: Vec<usize> = a.iter().flat_map(|&d| [d, 1]).collect();
    let right: Vec<usize> = b.iter().flat_map(|&d| [1, d]).collect();
    let whole: Vec<usize> = a.iter().zip(&b).map(|(m, n)| m * n).collect();
    let all = super::mul((&reshape_to(x, &left)?).into(), (&reshape_to(y, &right)?).into())?;
    reshape_to(&all, &whole)
}

/// Product of several matrices, from the left.
pub fn chain_matmul(matrices: &[Tensor]) -> Result<Tensor> {
    let Some((first, rest)) = matrices.split_first() else {
        return Err(Error::value("chain_matmul() of no matrices")
            .with_op("chain_matmul")
            .with_expected("at least one"));
    };
    rest.iter().try_fold(first.clone(), |product, next| mm(&product, next))
}

/// Cross products of vectors of three elements along axis `dim`; the first axis of size 3 when none is given.
pub fn cross(x: &Tensor, y: &Tensor, dim: Option<i64>) -> Result<Tensor> {
    let shape = lampyr_base::broadcast_shapes(x.shape(), y.shape()).map_err(|e| e.with_op("cross"))?;
    let axis = match dim {
        Some(d) => axis(d, shape.len())?,
        None => shape.iter().position(|&d| d == 3).unwrap_or(shape.len()),
    };
    if x.rank() != y.rank() || shape.get(axis) != Some(&3) {
        return Err(shape_error("cross", "the tensors hold no vectors of three elements", &[x, y])
            .with_expected("equally many axes, and size 3 on the axis of the vectors"));
    }
    let (x, y) = (x.expand(&shape)?, y.expand(&shape)?);
    let dims = [axis as i64];
    let first = roll(&x, &[-1], &dims)?.mul(&roll(&y, &[-2], &dims)?)?;
    first.sub(&roll(&x, &[-2], &dims)?.mul(&roll(&y, &[-1], &dims)?)?)
}

/// Sum of the diagonal of a matrix.
pub fn trace(x: &Tensor) -> Result<Tensor> {
    ranks("trace", &[x], &[2])?;
    diagonal(x, 0, 0, 1)?.sum(&[], false)
}

/// `x @ weight' + bias` with `x` `[.., K]`, `weight` `[M, K]` or `[K]` and `bias` `[M]`.
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let all: Vec<&Tensor> = [x, weight].into_iter().chain(bias).collect();
    same_dtype("linear", &all)?;
    let fits = matches!(weight.rank(), 1 | 2) && x.rank() > 0 && x.shape().last() == weight.shape().last();
    if !fits {
        return Err(shape_error("linear", "the last size of the input is not that of the weight", &all)
            .with_expected("input [.., K] and weight [M, K]"));
    }
    if weight.rank() == 1 {
        let y = product("linear", x, weight)?;
        return bias.map_or(Ok(y.clone()), |b| y.add(b));
    }
    let (m, k) = (weight.shape()[0], weight.shape()[1]);
    let rows = x.len().checked_div(k).unwrap_or_else(|| x.shape()[..x.rank() - 1].iter().product());
    let flat = if x.rank() == 2 { x.clone() } else { reshape_to(x, &[rows, k])? };
    let gemm = op::Gemm { alpha: 1.0, beta: 1.0, trans_a: false, trans_b: true };
    let y = match bias {
        Some(b) if b.rank() > 1 || (b.rank() == 1 && ![m, 1].contains(&b.shape()[0])) => {
            return Err(shape_error("linear", "the bias does not fit the weight", &all).with_expected(format!("[{m}]")));
        }
        Some(b) => one(&gemm, &[&flat, weight, b])?,
        None => one(&gemm, &[&flat, weight])?,
    };
    if x.rank() == 2 {
        return Ok(y);
    }
    reshape_to(&y, &[&x.shape()[..x.rank() - 1], &[m]].concat())
}

/// `x1 W_o x2' + bias_o` for every `o`, with `x1` `[.., I]`, `x2` `[.., J]`, `weight` `[O, I, J]` and `bias` `[O]`.
pub fn bilinear(x: &Tensor, y: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let fits = weight.rank() == 3
        && x.rank() > 0
        && x.shape()[..x.rank() - 1] == y.shape()[..y.rank().max(1) - 1]
        && x.shape().last() == weight.shape().get(1)
        && y.shape().last() == weight.shape().get(2);
    if !fits {
        return Err(shape_error("bilinear", "inputs and weight do not fit", &[x, y, weight])
            .with_expected("inputs [.., I] and [.., J] and weight [O, I, J]"));
    }
    let (o, i, j) = (weight.shape()[0], weight.shape()[1], weight.shape()[2]);
    let rows: usize = x.shape()[..x.rank() - 1].iter().product();
    let operands = [reshape_to(x, &[rows, i])?, weight.clone(), reshape_to(y, &[rows, j])?];
    let made = einsum("bi,oij,bj->bo", &operands)?;
    let made = reshape_to(&made, &[&x.shape()[..x.rank() - 1], &[o]].concat())?;
    bias.map_or(Ok(made.clone()), |b| made.add(b))
}

/// The function on operands of type `to`, none of which may have more precision.
fn typed(to: DType, tensors: &[&Tensor], f: impl Fn(&[&Tensor]) -> Result<Tensor>) -> Result<Tensor> {
    if let Some(t) = tensors.iter().find(|t| !to.is_float() || !t.dtype().is_float() || t.dtype().bits() > to.bits()) {
        return Err(Error::dtype(format!("out_dtype {to} for {}", described(t)))
            .with_expected("a float type that holds those of the operands"));
    }
    let wide = tensors.iter().map(|t| t.to_dtype(to)).collect::<Result<Vec<_>>>()?;
    f(&wide.iter().collect::<Vec<_>>())
}

/// The names of this family.
pub(super) const NAMES: &[Entry] = &[
    name("matmul(Tensor input, Tensor other, *, Tensor? out=None) -> Tensor", TOP | METHOD, "Matrix product.", |a| {
        give(matrix_product(a.tensor(0)?, a.tensor(1)?))
    })
    .cost(64.0),
    name("mm(Tensor input, Tensor mat2, *, Tensor? out=None) -> Tensor", TOP | METHOD, "Product of two matrices.", |a| {
        give(mm(a.tensor(0)?, a.tensor(1)?))
    })
    .cost(64.0),
    name("mm(Tensor input, Tensor mat2, dtype out_dtype, *, Tensor? out=None) -> Tensor", TOP | METHOD, "Product of two matrices, as another type.", |a| {
        give(typed(a.dtype(2)?, &[a.tensor(0)?, a.tensor(1)?], |t| mm(t[0], t[1])))
    })
    .cost(64.0),
    name("bmm(Tensor input, Tensor mat2, *, Tensor? out=None) -> Tensor", TOP | METHOD, "Products of batches of matrices.", |a| {
        give(bmm(a.tensor(0)?, a.tensor(1)?))
    })
    .cost(64.0),
    name("bmm(Tensor input, Tensor mat2, dtype out_dtype, *, Tensor? out=None) -> Tensor", TOP | METHOD, "Products of batches of matrices, as another type.", |a| {
        give(typed(a.dtype(2)?, &[a.tensor(0)?, a.tensor(1)?], |t| bmm(t[0], t[1])))
    })
    .cost(64.0),
    name("mv(Tensor input, Tensor vec, *, Tensor? out=None) -> Tensor", TOP | METHOD, "Product of a matrix and a vector.", |a| {
        give(mv(a.tensor(0)?, a.tensor(1)?))
    }),
    name("dot(Tensor input, Tensor tensor, *, Tensor? out=None) -> Tensor", TOP | METHOD, "Sum of products of two vectors.", |a| {
        give(dot(a.tensor(0)?, a.tensor(1)?))
    }),
    name("vdot(Tensor input, Tensor other, *, Tensor? out=None) -> Tensor", TOP | METHOD, "Sum of products of two vectors.", |a| {
        give(dot(a.tensor(0)?, a.tensor(1)?))
    }),
    name("inner(Tensor input, Tensor other, *, Tensor? out=None) -> Tensor", TOP | METHOD, "Sums of products over the last axes.", |a| {
        give(inner(a.tensor(0)?, a.tensor(1)?))
    }),
    name("outer(Tensor input, Tensor vec2, *, Tensor? out=None) -> Tensor", TOP | METHOD, "All products of two vectors.", |a| {
        give(outer(a.tensor(0)?, a.tensor(1)?))
    })
    .also(&["ger"]),
    name(
        "addmm(Tensor input, Tensor mat1, Tensor mat2, *, Scalar beta=1, Scalar alpha=1, Tensor? out=None) -> Tensor",
        TOP | METHOD | INPLACE,
        "`beta * input + alpha * (mat1 @ mat2)`",
        |a| give(addmm(a.tensor(0)?, a.tensor(1)?, a.tensor(2)?, a.scalar(3)?, a.scalar(4)?)),
    )
    .cost(64.0),
    name(
        "addmm(Tensor input, Tensor mat1, Tensor mat2, dtype out_dtype, *, Scalar beta=1, Scalar alpha=1, Tensor? out=None) -> Tensor",
        TOP | METHOD,
        "`beta * input + alpha * (mat1 @ mat2)`, as another type.",
        |a| {
            let (beta, alpha) = (a.scalar(4)?, a.scalar(5)?);
            give(typed(a.dtype(3)?, &[a.tensor(0)?, a.tensor(1)?, a.tensor(2)?], |t| addmm(t[0], t[1], t[2], beta, alpha)))
        },
    )
    .cost(64.0),
    name(
        "addmv(Tensor input, Tensor mat, Tensor vec, *, Scalar beta=1, Scalar alpha=1, Tensor? out=None) -> Tensor",
        TOP | METHOD | INPLACE,
        "`beta * input + alpha * (mat @ vec)`",
        |a| give(addmv(a.tensor(0)?, a.tensor(1)?, a.tensor(2)?, a.scalar(3)?, a.scalar(4)?)),
    ),
    name(
        "addr(Tensor input, Tensor vec1, Tensor vec2, *, Scalar beta=1, Scalar alpha=1, Tensor? out=None) -> Tensor",
        TOP | METHOD | INPLACE,
        "`beta * input + alpha * outer(vec1, vec2)`",
        |a| give(addr(a.tensor(0)?, a.tensor(1)?, a.tensor(2)?, a.scalar(3)?, a.scalar(4)?)),
    ),
    name(
        "baddbmm(Tensor input, Tensor batch1, Tensor batch2, *, Scalar beta=1, Scalar alpha=1, Tensor? out=None) -> Tensor",
        TOP | METHOD | INPLACE,
        "`beta * input + alpha * (batch1 @ batch2)`",
        |a| give(baddbmm(a.tensor(0)?, a.tensor(1)?, a.tensor(2)?, a.scalar(3)?, a.scalar(4)?)),
    )
    .cost(64.0),
    name(
        "baddbmm(Tensor input, Tensor batch1, Tensor batch2, dtype out_dtype, *, Scalar beta=1, Scalar alpha=1, Tensor? out=None) -> Tensor",
        TOP | METHOD,
        "`beta * input + alpha * (batch1 @ batch2)`, as another type.",
        |a| {
            let (beta, alpha) = (a.scalar(4)?, a.scalar(5)?);
            give(typed(a.dtype(3)?, &[a.tensor(0)?, a.tensor(1)?, a.tensor(2)?], |t| baddbmm(t[0], t[1], t[2], beta, alpha)))
        },
    )
    .cost(64.0),
    name(
        "addbmm(Tensor input, Tensor batch1, Tensor batch2, *, Scalar beta=1, Scalar alpha=1, Tensor? out=None) -> Tensor",
        TOP | METHOD | INPLACE,
        "`beta * input + alpha * sum(batch1 @ batch2)`",
        |a| give(addbmm(a.tensor(0)?, a.tensor(1)?, a.tensor(2)?, a.scalar(3)?, a.scalar(4)?)),
    )
    .cost(64.0),
    name("tensordot(Tensor a, Tensor b, int dims=2, Tensor? out=None) -> Tensor", TOP, "Sums of products over axes.", |a| {
        let (x, n) = (a.tensor(0)?, a.int(2)?);
        if n < 0 || n > x.rank() as i64 {
            return Err(Error::value(format!("{n} axes")).with_expected("0 or more, at most as many as there are"));
        }
        give(tensordot(x, a.tensor(1)?, &(-n..0).collect::<Vec<_>>(), &(0..n).collect::<Vec<_>>()))
    })
    .cost(64.0),
    name("tensordot(Tensor a, Tensor b, int[][] dims, Tensor? out=None) -> Tensor", TOP, "Sums of products over axes.", |a| {
        match a.int_lists(2)? {
            [left, right] => give(tensordot(a.tensor(0)?, a.tensor(1)?, left, right)),
            other => Err(Error::value(format!("dims has {} lists", other.len())).with_expected("two lists of axes")),
        }
    })
    .cost(64.0),
    name("kron(Tensor input, Tensor other, *, Tensor? out=None) -> Tensor", TOP | METHOD, "Every element of one times all of the other.", |a| {
        give(kron(a.tensor(0)?, a.tensor(1)?))
    }),
    name("chain_matmul(Tensor[]... matrices) -> Tensor", TOP, "Product of several matrices.", |a| give(chain_matmul(a.tensors(0)?))),
    name("cross(Tensor input, Tensor other, int? dim=None, *, Tensor? out=None) -> Tensor", TOP | METHOD, "Cross products of vectors of three elements.", |a| {
        give(cross(a.tensor(0)?, a.tensor(1)?, a.int_or_none(2)?))
    }),
    name("trace(Tensor input) -> Tensor", TOP | METHOD, "Sum of the diagonal of a matrix.", |a| give(trace(a.tensor(0)?))),
    name("einsum(str equation, Tensor[] operands) -> Tensor", TOP, "Sums of products that an equation names.", |a| {
        give(einsum(a.str(0)?, a.tensors(1)?))
    })
    .cost(64.0),
    name("einsum(str equation, Tensor op0) -> Tensor", TOP, "Sums of products that an equation names.", |a| {
        give(einsum(a.str(0)?, &[a.tensor(1)?.clone()]))
    }),
    name("einsum(str equation, Tensor op0, Tensor op1) -> Tensor", TOP, "Sums of products that an equation names.", |a| {
        give(einsum(a.str(0)?, &[a.tensor(1)?.clone(), a.tensor(2)?.clone()]))
    })
    .cost(64.0),
    name("einsum(str equation, Tensor op0, Tensor op1, Tensor op2) -> Tensor", TOP, "Sums of products that an equation names.", |a| {
        give(einsum(a.str(0)?, &[a.tensor(1)?.clone(), a.tensor(2)?.clone(), a.tensor(3)?.clone()]))
    })
    .cost(64.0),
    name("linear(Tensor input, Tensor weight, Tensor? bias=None, *, Tensor? out=None) -> Tensor", FUNCTIONAL, "`input @ weight.T + bias`", |a| {
        give(linear(a.tensor(0)?, a.tensor(1)?, a.tensor_or_none(2)?))
    })
    .cost(64.0),
    name("bilinear(Tensor input1, Tensor input2, Tensor weight, Tensor? bias=None) -> Tensor", TOP | FUNCTIONAL, "`input1 weight input2 + bias`", |a| {
        give(bilinear(a.tensor(0)?, a.tensor(1)?, a.tensor(2)?, a.tensor_or_none(3)?))
    })
    .cost(64.0),
];
