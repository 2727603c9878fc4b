//! Optimisers and schedules beside what PyTorch computed, and steps that fail.

use lampyr::nn::Parameter;
use lampyr::optim::*;
use lampyr::{DType, Result, Tensor};

use super::goldens::{close, goldens};
use super::numbers::floats;

fn parameter(name: &str, shape: &[usize]) -> Result<Tensor> {
    Ok(Parameter::new(&floats(name, shape)?)?.tensor().clone())
}

fn compare(name: &str, make: impl FnOnce(Vec<Tensor>) -> Result<Box<dyn Optimizer>>) -> Result<()> {
    lampyr::init();
    let params = vec![parameter(&format!("{name}a"), &[3, 2])?, parameter(&format!("{name}b"), &[4])?];
    let mut optimizer = make(params.clone())?;
    for step in 0..10 {
        for (i, p) in params.iter().enumerate() {
            p.set_grad(Some(floats(&format!("{name}{i}{step}"), p.shape())?));
        }
        optimizer.step()?;
    }
    let wanted = &goldens()["optimisers"][name]["params"];
    params.iter().enumerate().try_for_each(|(i, p)| close(p, &wanted[i], name))
}

#[test]
fn steps_are_those_of_pytorch() -> Result<()> {
    let sgd = || SGDOptions::default().lr(0.1);
    compare("sgd", |p| Ok(Box::new(SGD::new(p, 0.1)?)))?;
    let heavy = sgd().momentum(0.9).dampening(0.2).weight_decay(0.1);
    compare("sgd_momentum", |p| Ok(Box::new(SGD::with(p, heavy)?)))?;
    let nesterov = sgd().momentum(0.9).nesterov(true).maximize(true);
    compare("sgd_nesterov", |p| Ok(Box::new(SGD::with(p, nesterov)?)))?;
    let adam = || AdamOptions::default().lr(0.05);
    compare("adam", |p| Ok(Box::new(Adam::with(p, adam().weight_decay(0.1))?)))?;
    compare("adam_amsgrad", |p| Ok(Box::new(Adam::with(p, adam().betas(0.8, 0.9).amsgrad(true))?)))?;
    let adamw = || AdamOptions::default().lr(0.05);
    compare("adamw", |p| Ok(Box::new(AdamW::with(p, adamw().weight_decay(0.2))?)))?;
    compare("adamw_amsgrad", |p| Ok(Box::new(AdamW::with(p, adamw().amsgrad(true).maximize(true).eps(1e-3))?)))
}

fn rates(name: &str, make: impl FnOnce(&mut SGD) -> Result<Box<dyn Schedule>>) -> Result<()> {
    lampyr::init();
    let p = Parameter::new(&Tensor::from_slice(&[0.0f32], &[1])?)?;
    let mut optimizer = SGD::with(vec![p.tensor().clone()], SGDOptions::default().lr(0.2).momentum(0.9))?;
    let mut schedule = make(&mut optimizer)?;
    let golden = goldens();
    for (epoch, wanted) in golden["schedules"][name].as_array().expect("epochs").iter().enumerate() {
        for rate in optimizer.rates() {
            for (got, wanted) in [(*rate.lr, &wanted[0]), (*rate.momentum, &wanted[1])] {
                let wanted = wanted.as_f64().expect("a rate");
                assert!((got - wanted).abs() <= 1e-9 * wanted.abs(), "{name}, epoch {epoch}: {got}, not {wanted}");
            }
        }
        schedule.step(&mut optimizer)?;
    }
    Ok(())
}

#[test]
fn schedules_are_those_of_pytorch() -> Result<()> {
    rates("step", |_| Ok(Box::new(StepLR::new(3, 0.5)?)))?;
    rates("cosine", |o| Ok(Box::new(CosineAnnealingLR::new(o, 7, 0.001)?)))?;
    rates("one_cycle", |o| Ok(Box::new(OneCycleLR::new(o, 0.3, 40)?)))?;
    let three = OneCycleLR::builder(0.3, 40).three_phase(true).linear(true);
    rates("one_cycle_three", |o| Ok(Box::new(three.build(o)?)))
}

/// Two steps, between which two failed: what is left is as if they had not been tried.
fn fails(make: impl Fn(Vec<Tensor>) -> Result<Box<dyn Optimizer>>) -> Result<()> {
    lampyr::init();
    let params = vec![parameter("first", &[4])?, parameter("second", &[4])?];
    let mut optimizer = make(params.clone())?;
    let read = || params.iter().map(Tensor::to_vec::<f32>).collect::<Result<Vec<_>>>();
    let good = floats("grad", &[4])?;
    params[0].set_grad(Some(good.clone()));
    params[1].set_grad(Some(good.clone()));
    optimizer.step()?;
    let before = read()?;
    for bad in [good.to_dtype(DType::F64)?, floats("grad", &[5])?] {
        params[1].set_grad(Some(bad));
        assert!(optimizer.step().is_err());
        assert_eq!(read()?, before);
    }
    params[1].set_grad(Some(good.clone()));
    optimizer.step()?;
    let after = read()?;
    assert_ne!(after, before);
    let others = vec![parameter("first", &[4])?, parameter("second", &[4])?];
    let mut untroubled = make(others.clone())?;
    for _ in 0..2 {
        others.iter().for_each(|p| p.set_grad(Some(good.clone())));
        untroubled.step()?;
    }
    assert_eq!(others.iter().map(Tensor::to_vec::<f32>).collect::<Result<Vec<_>>>()?, after);
    optimizer.zero_grad();
    assert!(params.iter().all(|p| p.grad().is_none()));
    optimizer.step()?;
    assert_eq!(read()?, after);
    Ok(())
}

#[test]
fn a_failed_step_leaves_everything() -> Result<()> {
    fails(|p| Ok(Box::new(SGD::with(p, SGDOptions::default().lr(0.1).momentum(0.9))?)))?;
    fails(|p| Ok(Box::new(AdamW::new(p, 0.1)?)))
}

#[test]
fn groups_have_options_of_their_own() -> Result<()> {
    lampyr::init();
    let (a, b) = (parameter("a", &[3])?, parameter("b", &[3])?);
    let mut optimizer = SGD::new(vec![a.clone()], 1.0)?;
    optimizer.add_group(vec![b.clone()], SGDOptions::default().lr(0.0))?;
    let before = b.to_vec::<f32>()?;
    for p in [&a, &b] {
        p.set_grad(Some(floats("grad", &[3])?));
    }
    optimizer.step()?;
    assert_eq!(b.to_vec::<f32>()?, before);
    assert_ne!(a.to_vec::<f32>()?, floats("a", &[3])?.to_vec::<f32>()?);
    assert_eq!(optimizer.rates().iter().map(|r| *r.lr).collect::<Vec<_>>(), [1.0, 0.0]);
    assert!(optimizer.add_group(vec![a.clone()], SGDOptions::default()).is_err());
    assert!(SGD::new(vec![], 1.0).is_err() && SGD::new(vec![a.clone(), a.clone()], 1.0).is_err());
    assert!(SGD::new(vec![a.mul(2.0)?], 1.0).is_err() && SGD::new(vec![a.clone()], -1.0).is_err());
    assert!(SGD::with(vec![a.clone()], SGDOptions::default().nesterov(true)).is_err());
    assert!(Adam::with(vec![a.clone()], AdamOptions::default().betas(0.9, 1.0)).is_err());
    assert!(Adam::new(vec![a], f64::NAN).is_err());
    Ok(())
}

#[test]
fn gradients_are_scaled_to_a_norm() -> Result<()> {
    lampyr::init();
    let (a, b, unused) = (parameter("a", &[1])?, parameter("b", &[1])?, parameter("c", &[1])?);
    a.set_grad(Some(Tensor::from_slice(&[3.0f32], &[1])?));
    b.set_grad(Some(Tensor::from_slice(&[-4.0f32], &[1])?));
    let all = [a.clone(), b.clone(), unused];
    let read = |t: &Tensor| t.grad().map_or(Ok(f64::NAN), |g| g.item());
    assert_eq!(lampyr::nn::clip_grad_norm_(&all, 10.0)?, 5.0);
    assert_eq!((read(&a)?, read(&b)?), (3.0, -4.0));
    assert_eq!(lampyr::nn::clip_grad_norm_(&all, 1.0)?, 5.0);
    assert!((read(&a)? - 0.6).abs() < 1e-5 && (read(&b)? + 0.8).abs() < 1e-5);
    Ok(())
}
