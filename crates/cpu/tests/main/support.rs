//! Runs cases through their kernels with plain and with packed constants, on all SIMD tiers and on pools of several
//! sizes.

use lampyr_backend::{Accepts, Arg, ArgInfo, Backend, Launch, reference};
use lampyr_base::{Layout, Result};
use lampyr_cpu::CpuBackend;
use lampyr_cpu::simd::Tier;
use lampyr_ir::case::{Case, Tolerance};
use lampyr_ir::{HostTensor, Op, OpType};

use crate::harness::Settings;

/// The outputs of `op` by its kernel; `pack`: constant operands are packed first.
pub fn launch(cpu: &CpuBackend, op: &dyn Op, inputs: &[(HostTensor, Layout)], pack: bool) -> Result<Vec<HostTensor>> {
    let infos: Vec<ArgInfo> = inputs.iter().map(|(t, l)| ArgInfo::new(t.dtype(), l)).collect();
    let values: Vec<_> = inputs.iter().map(|(t, l)| host(t, l).map(Into::into)).collect::<Result<_>>()?;
    let like: Vec<HostTensor> = op.reference(&values)?.iter().map(|v| v.tensor().cloned()).collect::<Result<_>>()?;
    let layouts: Vec<Layout> = like.iter().map(|t| Layout::contiguous(t.shape())).collect();
    let outs: Vec<ArgInfo> = like.iter().zip(&layouts).map(|(t, l)| ArgInfo::new(t.dtype(), l)).collect();
    let kernel = cpu.kernels().find(op, &infos, &outs).unwrap_or_else(|| panic!("no kernel for {op:?} of {infos:?}"));
    let mut placed = Vec::new();
    for (i, (t, l)) in inputs.iter().enumerate() {
        let (t, l) = match kernel.accepts(op, i) {
            Accepts::Contiguous if !l.is_contiguous() => {
                let t = host(t, l)?;
                let l = Layout::contiguous(t.shape());
                (t, l)
            }
            _ => (t.clone(), l.clone()),
        };
        let (memory, _) = reference::to_device(cpu, &t)?;
        placed.push((memory, l, t.dtype()));
    }
    let args: Vec<Arg> = placed.iter().map(|(m, l, d)| Arg::new(m, 0, *d, l)).collect();
    if let Some(shapes) = kernel.measure(cpu, op, &args) {
        for (shape, like) in shapes?.iter().zip(&like) {
            assert_eq!(shape.as_slice(), like.shape());
        }
    }
    let infos: Vec<ArgInfo> = args.iter().map(Arg::info).collect();
    let packed = (0..args.len())
        .map(|i| if pack { kernel.pack(op, i, &args[i]).transpose() } else { Ok(None) })
        .collect::<Result<Vec<_>>>()?;
    let bytes = kernel.workspace(op, &infos, &outs);
    let scratch = cpu.allocate(bytes)?;
    // Neither results nor workspace may be relied on to be zero.
    cpu.upload(&vec![0xff; bytes], &scratch, 0)?;
    let scratch_layout = Layout::contiguous(&[bytes]);
    let memories = like
        .iter()
        .map(|t| {
            let memory = cpu.allocate(t.bytes().len())?;
            cpu.upload(&vec![0xff; t.bytes().len()], &memory, 0)?;
            Ok(memory)
        })
        .collect::<Result<Vec<_>>>()?;
    let outputs: Vec<Option<Arg>> =
        (memories.iter().zip(&like).zip(&layouts)).map(|((m, t), l)| Some(Arg::new(m, 0, t.dtype(), l))).collect();
    let run = Launch {
        op,
        inputs: &args,
        outputs: &outputs,
        workspace: (bytes > 0).then(|| Arg::new(&scratch, 0, lampyr_base::DType::U8, &scratch_layout)),
        packed: &packed,
        backend: cpu,
    };
    cpu.enqueue(kernel, &run)?;
    outputs.iter().flatten().map(|o| reference::to_host(cpu, o)).collect()
}

/// The elements of `layout` over `base`.
pub fn host(base: &HostTensor, layout: &Layout) -> Result<HostTensor> {
    lampyr_ops::common::gather_layout(base, layout)
}

/// Panics unless `got` is close to `want`.
pub fn compare(what: &str, got: &HostTensor, want: &HostTensor, tolerance: Tolerance) {
    assert_eq!((got.dtype(), got.shape()), (want.dtype(), want.shape()), "{what}");
    if !got.dtype().is_float() {
        return assert_eq!(got.to_i64(), want.to_i64(), "{what}");
    }
    for (i, (g, w)) in got.to_f64().into_iter().zip(want.to_f64()).enumerate() {
        let close =
            g == w || (g.is_nan() && w.is_nan()) || (g - w).abs() <= tolerance.absolute + tolerance.relative * w.abs();
        assert!(close, "{what}: element {i} is {g}, not {w}");
    }
}

/// Runs a case on pools of several sizes and compares with the reference and the runs with each other.
pub fn check(case: &Case) {
    let settings = Settings::lock();
    let cpu = lampyr_cpu::backend();
    let inputs: Vec<_> = case.inputs.iter().map(|i| i.storage(0).expect("inputs")).collect();
    let want = case.op.reference(&case.values().expect("values")).expect("reference");
    let name = format!("{} {}", case.op.name(), case.name);
    for (tier, pack) in Tier::available().flat_map(|t| [(t, false), (t, true)]) {
        let mut first: Option<Vec<HostTensor>> = None;
        for threads in [1, 2, 3] {
            settings.set(tier, threads);
            let got = launch(&cpu, &*case.op, &inputs, pack).unwrap_or_else(|e| panic!("{name}: {e}"));
            for (got, want) in got.iter().zip(&want) {
                let tolerance = case.tolerance.unwrap_or(Tolerance::of(got.dtype()));
                compare(&name, got, want.tensor().expect("tensor"), tolerance);
            }
            match &first {
                Some(first) => {
                    assert!(first.iter().zip(&got).all(|(a, b)| a.bytes() == b.bytes()), "{name}: bits differ")
                }
                None => first = Some(got),
            }
        }
    }
}

/// All cases of an op.
pub fn check_cases<T: OpType>() {
    T::cases().iter().for_each(check);
}

/// Seconds of one launch, the best of several.
pub fn time(cpu: &CpuBackend, op: &dyn Op, inputs: &[(HostTensor, Layout)], shape: &[usize], pack: bool) -> f64 {
    let placed: Vec<_> = inputs.iter().map(|(t, l)| (reference::to_device(cpu, t).expect("memory").0, l)).collect();
    let args: Vec<Arg> = placed.iter().zip(inputs).map(|((m, l), (t, _))| Arg::new(m, 0, t.dtype(), l)).collect();
    let infos: Vec<ArgInfo> = args.iter().map(Arg::info).collect();
    let layout = Layout::contiguous(shape);
    let out = ArgInfo::new(args[0].dtype, &layout);
    let kernel = cpu.kernels().find(op, &infos, &[out]).expect("a kernel");
    let packed: Vec<_> = (0..args.len())
        .map(|i| if pack { kernel.pack(op, i, &args[i]).transpose().expect("packed") } else { None })
        .collect();
    let bytes = kernel.workspace(op, &infos, &[out]);
    let scratch = cpu.allocate(bytes).expect("workspace");
    let scratch_layout = Layout::contiguous(&[bytes]);
    let memory = cpu.allocate(layout.len() * out.dtype.size()).expect("memory");
    let outputs = [Some(Arg::new(&memory, 0, out.dtype, &layout))];
    let workspace = (bytes > 0).then(|| Arg::new(&scratch, 0, lampyr_base::DType::U8, &scratch_layout));
    let launch = Launch { op, inputs: &args, outputs: &outputs, workspace, packed: &packed, backend: cpu };
    let one = || {
        let start = std::time::Instant::now();
        cpu.enqueue(kernel, &launch).expect("launch");
        start.elapsed().as_secs_f64()
    };
    (0..12).map(|_| one()).fold(f64::MAX, f64::min)
}
