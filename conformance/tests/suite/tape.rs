//! The tape: history, in-place changes, errors, memory.

use lampyr_base::ErrorKind;
use lampyr_runtime::{GradOptions, Tensor, backward, grad, no_grad};

fn leaf(values: &[f64], shape: &[usize]) -> Tensor {
    lampyr_cpu::register();
    let t = Tensor::from_slice(values, shape).expect("a tensor");
    t.requires_grad_(true).expect("a float leaf");
    t
}

fn values(t: &Tensor) -> Vec<f64> {
    t.to_vec::<f64>().expect("float64")
}

#[test]
fn gradients_add_up_in_leaves() {
    let x = leaf(&[1.0, 2.0, 3.0], &[3]);
    for _ in 0..2 {
        let y = x.mul(&x).and_then(|y| y.sum(&[], false)).expect("y");
        backward(&y, None, GradOptions::default()).expect("backward");
    }
    assert_eq!(values(&x.grad().expect("grad")), [4.0, 8.0, 12.0]);
}

#[test]
fn an_in_place_change_of_a_view_reaches_the_base() {
    let x = leaf(&[1.0, 2.0, 3.0, 4.0], &[2, 2]);
    let y = x.mul(2.0).expect("y");
    let row = y.select(0, 1).expect("row");
    let other = y.select(0, 0).expect("other row");
    let before = values(&row);
    row.assign_(&row.mul(3.0).expect("triple")).expect("in place");
    assert_eq!(before, [6.0, 8.0]);
    assert_eq!(values(&y), [2.0, 4.0, 18.0, 24.0]);
    let total = y.sum(&[], false).and_then(|s| s.add(&other.sum(&[], false)?)).expect("sum");
    backward(&total, None, GradOptions::default()).expect("backward");
    // d/dx of 2x, twice (through y and the other view), and of 3 * 2x.
    assert_eq!(values(&x.grad().expect("grad")), [4.0, 4.0, 6.0, 6.0]);
}

#[test]
fn writing_into_an_indexed_part_cuts_the_old_history() {
    let x = leaf(&[1.0, 2.0, 3.0], &[3]);
    let v = leaf(&[5.0], &[]);
    let y = x.mul(&x).expect("y");
    y.select(0, 1).and_then(|p| p.assign_(&v.mul(3.0)?)).expect("y[1] = 3 v");
    backward(&y.sum(&[], false).expect("sum"), None, GradOptions::default()).expect("backward");
    assert_eq!(values(&x.grad().expect("grad of x")), [2.0, 0.0, 6.0]);
    assert_eq!(values(&v.grad().expect("grad of v")), [3.0]);
}

#[test]
fn a_saved_tensor_that_was_changed_is_an_error() {
    let x = leaf(&[1.0, 2.0], &[2]);
    let y = x.mul(2.0).expect("y");
    let z = y.mul(&y).expect("z");
    no_grad(|| y.assign_(&y.mul(3.0)?)).expect("in place");
    let e = backward(&z.sum(&[], false).expect("sum"), None, GradOptions::default()).expect_err("changed");
    assert_eq!(*e.kind(), ErrorKind::Autograd);
    assert!(e.to_string().contains("changed in place"), "{e}");
    assert!(x.grad().is_none(), "a failed pass changes no gradient");
}

#[test]
fn a_leaf_cannot_be_changed_while_recording() {
    let x = leaf(&[1.0], &[1]);
    let e = x.assign_(&x.mul(2.0).expect("2x")).expect_err("leaf");
    assert_eq!(*e.kind(), ErrorKind::Autograd);
    no_grad(|| x.assign_(&x.mul(2.0)?)).expect("without recording");
    assert_eq!(values(&x), [2.0]);
}

#[test]
fn a_second_pass_needs_the_graph_kept() {
    let x = leaf(&[3.0], &[1]);
    let y = x.mul(&x).and_then(|y| y.sum(&[], false)).expect("y");
    backward(&y, None, GradOptions::default()).expect("first");
    let e = backward(&y, None, GradOptions::default()).expect_err("second");
    assert!(e.help().is_some_and(|h| h.contains("retain_graph")), "{e}");
}

#[test]
fn third_derivatives() {
    let x = leaf(&[2.0], &[1]);
    let mut y = x.mul(&x).and_then(|y| y.mul(&y)).expect("x^4");
    let options = GradOptions { create_graph: true, ..GradOptions::default() };
    for want in [32.0, 48.0, 48.0] {
        y = grad(&[y], std::slice::from_ref(&x), &[], options).expect("grad")[0].clone().expect("a path");
        assert_eq!(values(&y), [want]);
    }
}

#[test]
fn long_chains_do_not_recurse() {
    let x = leaf(&[1.0], &[1]);
    let mut y = x.clone();
    for _ in 0..50_000 {
        y = y.neg().expect("neg");
    }
    let e = backward(&y, None, GradOptions::default());
    assert!(e.is_ok());
    drop(y);
    assert_eq!(values(&x.grad().expect("grad")), [1.0]);
}
