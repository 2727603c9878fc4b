//! Random scalar expressions through the tile interpreter against [`ScalarExpr::eval`].

use lampyr_backend::{Arg, ArgInfo, Backend, Kernel, Launch};
use lampyr_base::{DType, Layout, Result};
use lampyr_cpu::simd::Tier;
use lampyr_ir::case::{CaseInput, Fill, SplitMix, View};
use lampyr_ir::scalar::{Binary, Compare, Compute, Instr, Lane, ScalarExpr, Unary};
use lampyr_ir::{
    Arity, AttrMap, AttrValue, Class, Fact, Facts, Gradient, HostTensor, HostValue, Op, OpAttrs, OpId, OpRef,
};

use crate::harness::{Settings, Tensor, report};

/// An op that is nothing but its expression.
#[derive(Clone, Debug)]
struct Chain(ScalarExpr);

impl OpAttrs for Chain {
    fn id(&self) -> OpId {
        OpId(u16::MAX)
    }
    fn name(&self) -> &'static str {
        "chain"
    }
    fn attrs(&self) -> Vec<(&'static str, AttrValue)> {
        Vec::new()
    }
    fn to_ref(&self) -> OpRef {
        OpRef::new(self.clone())
    }
    fn substitute(&self, _: &lampyr_base::Bindings) -> Option<OpRef> {
        None
    }
    fn remake(&self, _: AttrMap) -> Option<OpRef> {
        None
    }
    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

impl Op for Chain {
    fn arity(&self) -> Arity {
        Arity::at_least(1)
    }
    fn class(&self) -> Class {
        Class::Elementwise
    }
    fn infer(&self, _: &[&Fact]) -> Result<Facts> {
        Ok(Facts::new())
    }
    fn scalar(&self, _: &[DType]) -> Option<ScalarExpr> {
        Some(self.0.clone())
    }
    fn reference(&self, _: &[HostValue]) -> Result<Vec<HostValue>> {
        Ok(Vec::new())
    }
    fn gradient(&self) -> Gradient {
        Gradient::None("a test")
    }
}

const TYPES: [Compute; 5] = [Compute::F32, Compute::F64, Compute::I32, Compute::I64, Compute::U64];

fn pick<T: Copy>(rng: &mut SplitMix, from: &[T]) -> T {
    from[(rng.next_u64() % from.len() as u64) as usize]
}

/// An expression of `steps` steps without functions whose rounding is not fixed.
fn expression(rng: &mut SplitMix, dtypes: &[DType], steps: usize, outputs: usize) -> ScalarExpr {
    let mut e = ScalarExpr::new(dtypes);
    for i in 0..dtypes.len() {
        e.load(i as u8);
    }
    for ty in TYPES {
        e.constant((rng.next_u64() % 7) as f64 - 3.0, ty);
    }
    let of = |e: &ScalarExpr, rng: &mut SplitMix, ty: Compute| {
        let all: Vec<u16> = (0..e.steps.len() as u16).filter(|&r| e.ty(r) == ty).collect();
        // Late registers more often, so that chains get deep.
        if rng.unit() < 0.5 { all[all.len() - 1] } else { pick(rng, &all) }
    };
    for _ in 0..steps {
        let ty = pick(rng, &TYPES);
        let (x, y) = (of(&e, rng, ty), of(&e, rng, ty));
        let whole = !matches!(ty, Compute::F32 | Compute::F64);
        match rng.next_u64() % 10 {
            0 => e.unary(pick(rng, &[Unary::Neg, Unary::Abs, Unary::Not]), x),
            8 => {
                let f = pick(rng, &[Unary::Floor, Unary::Ceil, Unary::Round, Unary::Trunc, Unary::BitNot]);
                if f == Unary::BitNot && !whole { e.unary(Unary::Abs, x) } else { e.unary(f, x) }
            }
            9 if whole => {
                let all = [Binary::Pow, Binary::And, Binary::Or, Binary::Xor, Binary::Shl, Binary::Shr];
                e.binary(pick(rng, &all), x, y)
            }
            9 => e.binary(pick(rng, &[Binary::Fmod, Binary::Remainder]), x, y),
            1 | 2 => e.binary(pick(rng, &[Binary::Add, Binary::Sub, Binary::Mul]), x, y),
            3 => e.binary(pick(rng, &[Binary::Div, Binary::Max, Binary::Min, Binary::Fmod, Binary::Remainder]), x, y),
            4 => e.compare(pick(rng, &[Compare::Eq, Compare::Lt, Compare::Le]), x, y),
            5 => {
                let c = of(&e, rng, Compute::I32);
                e.select(c, x, y)
            }
            6 => {
                let to = pick(rng, &TYPES);
                e.convert(x, to)
            }
            _ => e.push(Instr::Round(pick(rng, DType::ALL), x), ty),
        };
    }
    for _ in 0..outputs {
        let r = pick(rng, &(0..e.steps.len() as u16).collect::<Vec<_>>());
        e = e.store(r, pick(rng, DType::ALL));
    }
    e
}

fn lane(x: &HostTensor, i: usize) -> Lane {
    match Compute::of(x.dtype()) {
        Compute::F32 => Lane::F32(x.to_f64()[i] as f32),
        Compute::F64 => Lane::F64(x.to_f64()[i]),
        Compute::I32 => Lane::I32(x.to_i64()[i] as i32),
        Compute::I64 => Lane::I64(x.to_i64()[i]),
        Compute::U64 => Lane::U64(x.to_i64()[i] as u64),
    }
}

fn tensor(dtype: DType, shape: &[usize], lanes: &[Lane]) -> HostTensor {
    let as_int = |l: &Lane| match *l {
        Lane::F32(x) => x as i64,
        Lane::F64(x) => x as i64,
        Lane::I32(x) => i64::from(x),
        Lane::I64(x) => x,
        Lane::U64(x) => x as i64,
    };
    let as_float = |l: &Lane| match *l {
        Lane::F32(x) => f64::from(x),
        Lane::F64(x) => x,
        _ => f64::NAN,
    };
    if dtype.is_float() {
        return HostTensor::from_f64(dtype, shape, &lanes.iter().map(as_float).collect::<Vec<_>>()).unwrap();
    }
    HostTensor::from_i64(dtype, shape, &lanes.iter().map(as_int).collect::<Vec<_>>()).unwrap()
}

fn kernel() -> &'static dyn Kernel {
    lampyr_cpu::backend().kernels().candidates(OpId(u16::MAX)).next().unwrap()
}

fn run(op: &Chain, inputs: &[Tensor], outputs: &[Tensor]) {
    let infos: Vec<ArgInfo> = inputs.iter().map(Tensor::info).collect();
    let out_infos: Vec<ArgInfo> = outputs.iter().map(Tensor::info).collect();
    assert!(kernel().supports(op, &infos, &out_infos));
    let ins: Vec<Arg> = inputs.iter().map(Tensor::arg).collect();
    let outs: Vec<Option<Arg>> = outputs.iter().map(|t| Some(t.arg())).collect();
    let backend = lampyr_cpu::backend();
    let launch = Launch { op, inputs: &ins, outputs: &outs, workspace: None, packed: &[], backend: &*backend };
    backend.enqueue(kernel(), &launch).unwrap();
}

#[test]
fn random_chains() {
    let settings = Settings::lock();
    let mut findings = Vec::new();
    let mut rng = SplitMix(99);
    let shapes: [&[usize]; 4] = [&[3, 7], &[2, 500], &[5, 3, 211], &[1]];
    for round in 0..120 {
        let shape = pick(&mut rng, &shapes);
        let count = 1 + round % 4;
        let cases: Vec<CaseInput> = (0..count)
            .map(|i| {
                let mut shape = shape.to_vec();
                if i > 0 {
                    let axis = (rng.next_u64() % shape.len() as u64) as usize;
                    shape[axis] = 1;
                }
                let views = [View::Contiguous, View::Transposed, View::Strided, View::Reversed];
                let x = CaseInput::new(pick(&mut rng, DType::ALL), &shape).view(pick(&mut rng, &views));
                if rng.unit() < 0.3 { x.fill(Fill::Special(round as u64)) } else { x }
            })
            .collect();
        let dtypes: Vec<DType> = cases.iter().map(|c| c.dtype).collect();
        let steps = [1, 6, 40, 200][round / 4 % 4];
        let op = Chain(expression(&mut rng, &dtypes, steps, 1 + round % 3));
        let inputs: Vec<Tensor> = cases
            .iter()
            .map(|c| {
                let (storage, layout) = c.storage(0).unwrap();
                Tensor::upload(&storage, layout)
            })
            .collect();
        let host: Vec<HostTensor> = inputs
            .iter()
            .map(|t| Tensor { layout: t.layout.broadcast_to(shape).unwrap(), ..t.clone() }.download())
            .collect();
        let n: usize = shape.iter().product();
        let mut want: Vec<Vec<Lane>> = vec![Vec::new(); op.0.outputs.len()];
        for i in 0..n {
            let lanes: Vec<Lane> = host.iter().map(|h| lane(h, i)).collect();
            op.0.eval(&lanes).into_iter().zip(&mut want).for_each(|(x, w)| w.push(x));
        }
        for tier in Tier::available() {
            settings.set(tier, 2);
            let outputs: Vec<Tensor> = op.0.outputs.iter().map(|o| Tensor::empty(o.1, shape)).collect();
            run(&op, &inputs, &outputs);
            for (k, (output, want)) in outputs.iter().zip(&want).enumerate() {
                let (got, want) = (output.download(), tensor(output.dtype, shape, want));
                let equal = |(a, b): (f64, f64)| a == b || (a.is_nan() && b.is_nan());
                let same = if output.dtype.is_float() {
                    got.to_f64().into_iter().zip(want.to_f64()).all(equal)
                } else {
                    got.bytes() == want.bytes()
                };
                if !same {
                    findings.push(format!("round {round}, {tier:?}, output {k} of {:?}", op.0));
                }
            }
        }
    }
    report(findings);
}

#[test]
fn chains_run_in_place() {
    let _settings = Settings::lock();
    let mut e = ScalarExpr::new(&[DType::F32, DType::F32]);
    let (x, y) = (e.load(0), e.load(1));
    let s = e.binary(Binary::Add, x, y);
    let p = e.binary(Binary::Mul, s, x);
    let op = Chain(e.store(s, DType::F32).store(p, DType::F32));
    let n = 5000;
    let a: Vec<f32> = (0..n).map(|i| i as f32).collect();
    let x = Tensor::upload(&HostTensor::from_slice(&[n], &a).unwrap(), Layout::contiguous(&[n]));
    let y = Tensor::upload(&HostTensor::scalar(2.0f32), Layout::contiguous(&[]));
    let other = Tensor::empty(DType::F32, &[n]);
    run(&op, &[x.clone(), y], &[x.clone(), other.clone()]);
    let want: Vec<f32> = a.iter().map(|x| (x + 2.0) * x).collect();
    assert_eq!(other.download().as_slice::<f32>().unwrap(), want);
    assert_eq!(x.download().as_slice::<f32>().unwrap()[7], 9.0);
}

#[test]
fn unaligned_operands() {
    let _settings = Settings::lock();
    let op = Chain(ScalarExpr::of_binary(DType::F32, Binary::Add));
    let n = 1500;
    let values: Vec<f32> = (0..n).map(|i| i as f32).collect();
    let bytes: Vec<u8> = [0].into_iter().chain(values.iter().flat_map(|x| x.to_ne_bytes())).collect();
    let storage = HostTensor::from_slice(&[bytes.len()], &bytes).unwrap();
    let x = Tensor::upload(&storage, Layout::contiguous(&[bytes.len()]));
    let out = Tensor::empty(DType::U8, &[bytes.len()]);
    let layout = Layout::contiguous(&[n]);
    let (a, y) = (Arg::new(&x.memory, 1, DType::F32, &layout), Arg::new(&out.memory, 1, DType::F32, &layout));
    let backend = lampyr_cpu::backend();
    let launch =
        Launch { op: &op, inputs: &[a, a], outputs: &[Some(y)], workspace: None, packed: &[], backend: &*backend };
    backend.enqueue(kernel(), &launch).unwrap();
    let got = out.download();
    for (i, x) in got.bytes()[1..].chunks_exact(4).enumerate() {
        assert_eq!(f32::from_ne_bytes(x.try_into().unwrap()), 2.0 * i as f32);
    }
}
