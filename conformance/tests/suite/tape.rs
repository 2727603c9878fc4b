//! The tape: history, in-place changes, errors, memory.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use lampyr_base::{Error, ErrorKind, Result};
use lampyr_runtime::{Function, GradOptions, Output, Tensor, backward, backward_all, grad, no_grad, record_function};

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

#[test]
fn chains_fit_a_small_stack() {
    let work = || {
        let x = leaf(&[1.0], &[1]);
        let mut y = x.neg().expect("neg");
        for _ in 1..100_000 {
            y = y.neg().expect("neg");
        }
        backward(&y, None, GradOptions::default()).expect("backward");
        drop(y);
        assert_eq!(values(&x.grad().expect("grad")), [1.0]);
        let mut v = x.neg().expect("neg");
        for _ in 0..100_000 {
            v = v.reshape(&[1]).expect("view");
        }
        backward(&v, None, GradOptions::default()).expect("backward");
        assert_eq!(values(&x.grad().expect("grad")), [0.0]);
    };
    std::thread::Builder::new().stack_size(192 * 1024).spawn(work).expect("a thread").join().expect("no overflow");
}

#[test]
fn passes_run_in_parallel_and_add_up_in_shared_leaves() {
    let shared = leaf(&[1.0; 64], &[8, 8]);
    let job = |k: usize| {
        let shared = shared.clone();
        move || {
            let own = leaf(&[k as f64; 64], &[8, 8]);
            for _ in 0..50 {
                let y = own.mul(&shared).and_then(|y| y.sum(&[], false)).expect("y");
                backward(&y, None, GradOptions::default()).expect("backward");
            }
            assert_eq!(values(&own.grad().expect("grad"))[0], 50.0);
        }
    };
    std::thread::scope(|scope| {
        for k in 1..=4 {
            scope.spawn(job(k));
        }
    });
    assert_eq!(values(&shared.grad().expect("grad")), [500.0; 64]);
}

#[test]
fn only_the_inputs_given_collect() {
    let (a, b) = (leaf(&[2.0], &[1]), leaf(&[3.0], &[1]));
    let y = a.mul(&b).expect("y");
    let z = y.mul(&y).expect("z");
    backward_all(&[z], &[], Some(&[a.clone(), y.clone()]), GradOptions::default()).expect("backward");
    assert_eq!(values(&a.grad().expect("a")), [36.0]);
    assert_eq!(values(&y.grad().expect("y")), [12.0]);
    assert!(b.grad().is_none());
}

#[test]
fn hooks_see_and_replace_gradients() {
    let x = leaf(&[1.0], &[1]);
    let y = x.mul(3.0).expect("y");
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let handle = y
        .register_hook(Arc::new(move |g| {
            counted.fetch_add(1, Ordering::Relaxed);
            g.mul(2.0).map(Some)
        }))
        .expect("a hook");
    y.retain_grad().expect("retained");
    let keep = GradOptions { retain_graph: true, ..GradOptions::default() };
    let total = y.add(&y).expect("total");
    backward(&total, None, keep).expect("backward");
    assert_eq!((values(&y.grad().expect("y")), values(&x.grad().expect("x"))), (vec![4.0], vec![12.0]));
    handle.remove();
    backward(&total, None, keep).expect("backward");
    assert_eq!(calls.load(Ordering::Relaxed), 1);
}

struct Triple(AtomicUsize);

impl Function for Triple {
    fn name(&self) -> String {
        "TripleBackward".to_string()
    }
    fn backward(&self, grads: &[Option<Tensor>], _needs: &[bool]) -> Result<Vec<Option<Tensor>>> {
        if self.0.load(Ordering::Relaxed) > 0 {
            return Err(Error::value("refused"));
        }
        Ok(vec![grads[0].as_ref().map(|g| g.mul(3.0)).transpose()?])
    }
    fn release(&self) {}
    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[test]
fn functions_of_users_are_recorded_and_a_failing_one_changes_nothing() {
    let (x, w) = (leaf(&[2.0], &[1]), leaf(&[5.0], &[1]));
    let triple = Arc::new(Triple(AtomicUsize::new(0)));
    let y = no_grad(|| x.mul(3.0)).expect("y");
    let node = record_function(triple.clone(), &[&x], &[(&y, Output::Fresh)]).expect("recorded").expect("a node");
    assert_eq!(node.name(), "TripleBackward");
    let z = y.mul(&w).expect("z");
    backward(&z, None, GradOptions { retain_graph: true, ..GradOptions::default() }).expect("backward");
    assert_eq!((values(&x.grad().expect("x")), values(&w.grad().expect("w"))), (vec![15.0], vec![6.0]));
    triple.0.store(1, Ordering::Relaxed);
    assert!(backward(&z, None, GradOptions::default()).is_err());
    assert_eq!((values(&x.grad().expect("x")), values(&w.grad().expect("w"))), (vec![15.0], vec![6.0]));
}

#[test]
fn every_differentiable_op_can_be_differentiated_twice() {
    lampyr_cpu::register();
    let mut failures = Vec::new();
    for entry in lampyr_ops::registry::builtin() {
        for case in (entry.cases)() {
            let plain = case.op.bodies().is_empty() && case.op.class() != lampyr_ir::Class::Control;
            if plain
                && !matches!(case.op.gradient(), lampyr_ir::Gradient::None(_))
                && let Err(e) = lampyr_conformance::runner::eager_gradients(&case, lampyr_base::Device::CPU)
            {
                failures.push(format!("{}: {}: {e}", entry.name, case.name));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
