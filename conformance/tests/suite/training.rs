//! The digits network trained with plain tensors: eagerly on the tape, and as one joint graph of forward pass, backward
//! pass and update. Both follow torch's losses.

use std::sync::Arc;

use lampyr_base::{DType, Device, Dim, Result};
use lampyr_compiler::{Options, compile};
use lampyr_ir::{Builder, Fact, GraphBuilder, HostTensor, Var, autodiff};
use lampyr_ops::build::{self, BatchNorm, Conv, MaxPool};
use lampyr_ops::gradient::OPS;
use lampyr_runtime::session::{Session, TensorValue, Value};
use lampyr_runtime::{EagerBuilder, GradOptions, Tensor, grad, no_grad};

const NAMES: [&str; 8] = ["w1", "b1", "gamma", "beta", "w2", "b2", "w3", "b3"];
const TOLERANCE: f64 = 1e-5;

struct Golden {
    lr: f64,
    momentum: f64,
    initial: Vec<HostTensor>,
    batches: Vec<(HostTensor, HostTensor)>,
    losses: Vec<f64>,
    running: [Vec<f64>; 2],
}

fn golden() -> Golden {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/digits/golden_training.json");
    let root: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(path).expect("the golden curve")).expect("JSON");
    let floats = |v: &serde_json::Value| -> Vec<f64> {
        v.as_array().expect("a list").iter().map(|x| x.as_f64().expect("a number")).collect()
    };
    let tensor = |name: &str| {
        let item = &root["initial"][name];
        let shape: Vec<usize> = floats(&item["shape"]).iter().map(|&d| d as usize).collect();
        HostTensor::from_f64(DType::F32, &shape, &floats(&item["data"])).expect("a parameter")
    };
    let h = &root["hyperparameters"];
    let scale = h["pixel_scale"].as_f64().expect("a scale");
    let batches = root["batches"].as_array().expect("batches").iter().map(|b| {
        let pixels: Vec<f64> = floats(&b["pixels"]).iter().map(|p| p / scale).collect();
        let labels = floats(&b["labels"]);
        let n = labels.len();
        (
            HostTensor::from_f64(DType::F32, &[n, 1, 8, 8], &pixels).expect("pixels"),
            HostTensor::from_f64(DType::I64, &[n, 1], &labels).expect("labels"),
        )
    });
    Golden {
        lr: h["lr"].as_f64().expect("lr"),
        momentum: h["momentum"].as_f64().expect("momentum"),
        initial: NAMES.iter().map(|n| tensor(n)).collect(),
        batches: batches.collect(),
        losses: floats(&root["losses_f32"]),
        running: [floats(&root["running_mean"]), floats(&root["running_var"])],
    }
}

/// The mean negative log likelihood of a batch, and the new running statistics.
fn loss(b: &mut dyn Builder, p: &[Var], running: &[Var], x: &Var, labels: &Var) -> Result<(Var, Var, Var)> {
    let same = || Conv {
        strides: vec![1, 1],
        pads: vec![Dim::Known(1); 4],
        dilations: vec![1, 1],
        group: 1,
        channels_last: false,
    };
    let pool = MaxPool {
        kernel: vec![2, 2],
        strides: vec![2, 2],
        pads: vec![Dim::Known(0); 4],
        dilations: vec![1, 1],
        ceil_mode: false,
        return_indices: false,
        channels_last: false,
    };
    let norm = BatchNorm { epsilon: 1e-5, momentum: 0.1, training: true, unbiased: true };
    let h = build::conv(b, &same(), x, &p[0], Some(&p[1]))?;
    let stats = [h, p[2].clone(), p[3].clone(), running[0].clone(), running[1].clone()];
    let normal = build::batch_norm(b, &norm, &stats)?;
    let h = build::relu(b, &normal[0])?;
    let h = build::max_pool(b, &pool, &h)?[0].clone();
    let h = build::conv(b, &same(), &h, &p[4], Some(&p[5]))?;
    let h = build::relu(b, &h)?;
    let h = build::global_average_pool(b, &h)?;
    let h = build::flatten(b, &h, 1)?;
    let w = build::transpose(b, &p[6], &[1, 0])?;
    let h = build::matmul(b, &h, &w)?;
    let h = build::add(b, &h, &p[7])?;
    let logs = build::log_softmax(b, &h, -1)?;
    let picked = build::gather_elements(b, &logs, labels, 1)?;
    let mean = build::reduce_mean(b, &picked, &[], false)?;
    Ok((build::neg(b, &mean)?, normal[1].clone(), normal[2].clone()))
}

/// `v = momentum * v + g; p = p - lr * v`
fn update(b: &mut dyn Builder, g: &Golden, p: &Var, v: &Var, grad: &Var) -> Result<(Var, Var)> {
    let momentum = b.scalar(DType::F32, g.momentum)?;
    let lr = b.scalar(DType::F32, g.lr)?;
    let kept = build::mul(b, &momentum, v)?;
    let v = build::add(b, &kept, grad)?;
    let step = build::mul(b, &lr, &v)?;
    Ok((build::sub(b, p, &step)?, v))
}

fn check(name: &str, g: &Golden, losses: &[f64], mean: &HostTensor, var: &HostTensor) {
    let worst = losses.iter().zip(&g.losses).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    println!(
        "{name}: {} steps, loss {:.6} to {:.6}, at most {worst:e} from torch",
        losses.len(),
        losses[0],
        losses[49]
    );
    assert_eq!(losses.len(), 50);
    assert!(worst <= TOLERANCE, "{name}: {worst:e} from torch's losses");
    for (got, want) in [(mean, &g.running[0]), (var, &g.running[1])] {
        for (a, b) in got.to_f64().iter().zip(want) {
            assert!((a - b).abs() <= TOLERANCE, "{name}: running statistics {a} and {b}");
        }
    }
}

fn start(device: Device, shape: &HostTensor) -> Tensor {
    Tensor::from_host(shape, device).expect("a tensor")
}

#[test]
fn eager_follows_torch() {
    lampyr_cpu::register();
    let g = golden();
    let mut b = EagerBuilder::on(Device::CPU);
    let mut params: Vec<Tensor> = g.initial.iter().map(|t| start(Device::CPU, t)).collect();
    let zeros = |t: &Tensor| Tensor::full(t.shape(), 0.0, DType::F32, Device::CPU).expect("zeros");
    let mut speeds: Vec<Tensor> = params.iter().map(zeros).collect();
    let mut running = vec![
        Tensor::full(&[8], 0.0, DType::F32, Device::CPU).expect("mean").var(),
        Tensor::full(&[8], 1.0, DType::F32, Device::CPU).expect("variance").var(),
    ];
    let mut losses = Vec::new();
    for step in 0..50 {
        let (x, labels) = &g.batches[step % g.batches.len()];
        let (x, labels) = (start(Device::CPU, x).var(), start(Device::CPU, labels).var());
        params.iter().for_each(|p| {
            p.requires_grad_(true).expect("a leaf");
        });
        let vars: Vec<Var> = params.iter().map(Tensor::var).collect();
        let (l, mean, var) = loss(&mut b, &vars, &running, &x, &labels).expect("forward");
        let l = Tensor::from_var(&l).expect("a tensor");
        losses.push(l.item().expect("one number"));
        let grads = grad(&[l], &params, &[], GradOptions::default()).expect("backward");
        running = [mean, var].iter().map(|v| Tensor::from_var(v).expect("a tensor").detach().var()).collect();
        no_grad(|| {
            for i in 0..params.len() {
                let gradient = grads[i].clone().expect("every parameter is used");
                let (p, v) = update(&mut b, &g, &params[i].var(), &speeds[i].var(), &gradient.var()).expect("update");
                params[i] = Tensor::from_var(&p).expect("a tensor").detach();
                speeds[i] = Tensor::from_var(&v).expect("a tensor");
            }
        });
    }
    let host = |v: &Var| Tensor::from_var(v).and_then(|t| t.to_host()).expect("host");
    check("eager", &g, &losses, &host(&running[0]), &host(&running[1]));
}

#[test]
fn one_joint_graph_follows_torch() {
    lampyr_cpu::register();
    let g = golden();
    let mut b = GraphBuilder::new("training step");
    let batch = Dim::named("batch");
    let fact = |t: &HostTensor| Fact::fixed(t.dtype(), t.shape());
    let params: Vec<Var> = NAMES.iter().zip(&g.initial).map(|(n, t)| b.input(n, fact(t))).collect();
    let speeds: Vec<Var> =
        NAMES.iter().zip(&g.initial).map(|(n, t)| b.input(&format!("{n}.velocity"), fact(t))).collect();
    let running: Vec<Var> =
        ["running_mean", "running_var"].iter().map(|n| b.input(n, Fact::fixed(DType::F32, &[8]))).collect();
    let image = [batch.clone(), Dim::Known(1), Dim::Known(8), Dim::Known(8)];
    let x = b.input("x", Fact::tensor(DType::F32, image));
    let labels = b.input("labels", Fact::tensor(DType::I64, [batch, Dim::Known(1)]));
    let (l, mean, var) = loss(&mut b, &params, &running, &x, &labels).expect("forward");
    let one = b.constant(HostTensor::scalar(1.0f32)).expect("1");
    let grads = autodiff::gradients(&mut b, OPS, &[(l.clone(), one)], &params).expect("backward");
    b.output("loss", &l).expect("output");
    let mut updated = Vec::new();
    for i in 0..params.len() {
        let gradient = grads[i].clone().expect("every parameter is used");
        updated.push(update(&mut b, &g, &params[i], &speeds[i], &gradient).expect("update"));
    }
    for (k, (p, _)) in updated.iter().enumerate() {
        b.output(&format!("{}.new", NAMES[k]), p).expect("output");
    }
    for (k, (_, v)) in updated.iter().enumerate() {
        b.output(&format!("{}.velocity.new", NAMES[k]), v).expect("output");
    }
    b.output("running_mean.new", &mean).expect("output");
    b.output("running_var.new", &var).expect("output");
    let graph = b.finish();
    let options = Options { inference: false, verify: true, ..Options::default() };
    let session = Session::new(Arc::new(compile(&graph, &options).expect("compiles")));
    let cpu = lampyr_backend::backend(Device::CPU).expect("cpu");
    let upload = |t: &HostTensor| Value::Tensor(TensorValue::upload(&*cpu, t).expect("upload"));
    let filled = |shape: &[usize], x: f64| {
        HostTensor::from_f64(DType::F32, shape, &vec![x; shape.iter().product()]).expect("numbers")
    };
    let mut state: Vec<Value> = g.initial.iter().map(upload).collect();
    state.extend(g.initial.iter().map(|t| upload(&filled(t.shape(), 0.0))));
    state.extend([upload(&filled(&[8], 0.0)), upload(&filled(&[8], 1.0))]);
    let donated: Vec<usize> = (0..state.len()).collect();
    let mut losses = Vec::new();
    for step in 0..50 {
        let (x, labels) = &g.batches[step % g.batches.len()];
        let mut inputs = std::mem::take(&mut state);
        inputs.extend([upload(x), upload(labels)]);
        let mut outputs = session.run_donating(inputs, &donated).expect("a step").into_iter();
        let loss = outputs.next().expect("the loss").to_host().expect("host");
        losses.push(loss.tensor().expect("a tensor").to_f64()[0]);
        state = outputs.collect();
    }
    assert_eq!(session.executable().plans_made(), 1, "one shape, one plan");
    let host = |v: &Value| v.to_host().and_then(|v| v.tensor().cloned()).expect("host");
    check("joint graph", &g, &losses, &host(&state[16]), &host(&state[17]));
}
