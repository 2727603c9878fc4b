//! Runs one case on the CPU device and compares with the reference.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lampyr_backend::{Accepts, Arg, ArgInfo, Backend, Choice, DeviceMemory, Kernel, Launch, reference, resolve};
use lampyr_base::{DType, Layout, pool};
use lampyr_cpu::simd::Tier;
use lampyr_ir::case::{Case, Tolerance};
use lampyr_ir::{HostTensor, HostValue};

static SETTINGS: Mutex<()> = Mutex::new(());

/// Keeps process-wide settings to one test at a time and puts them back when dropped.
pub struct Settings(#[expect(dead_code)] MutexGuard<'static, ()>);

impl Settings {
    pub fn lock() -> Settings {
        Settings(SETTINGS.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn set(&self, tier: Tier, threads: usize) {
        Tier::force(Some(tier));
        pool::set_num_threads(threads);
    }
}

impl Drop for Settings {
    fn drop(&mut self) {
        Tier::force(None);
        pool::set_num_threads(0);
    }
}

/// A tensor on the device.
#[derive(Clone)]
pub struct Tensor {
    pub memory: Arc<dyn DeviceMemory>,
    pub dtype: DType,
    pub layout: Layout,
}

impl Tensor {
    pub fn arg(&self) -> Arg<'_> {
        Arg::new(&self.memory, 0, self.dtype, &self.layout)
    }

    pub fn info(&self) -> ArgInfo<'_> {
        ArgInfo::new(self.dtype, &self.layout)
    }

    pub fn upload(storage: &HostTensor, layout: Layout) -> Tensor {
        let backend = lampyr_cpu::backend();
        let (memory, _) = reference::to_device(&*backend, storage).unwrap();
        Tensor { memory, dtype: storage.dtype(), layout }
    }

    pub fn empty(dtype: DType, shape: &[usize]) -> Tensor {
        let layout = Layout::contiguous(shape);
        let bytes = layout.len() * dtype.size();
        let memory = lampyr_cpu::backend().allocate(bytes).unwrap();
        lampyr_cpu::backend().upload(&vec![0xa5; bytes], &memory, 0).unwrap();
        Tensor { memory, dtype, layout }
    }

    pub fn download(&self) -> HostTensor {
        reference::to_host(&*lampyr_cpu::backend(), &self.arg()).unwrap()
    }

    pub fn contiguous(&self) -> Tensor {
        let copy = Tensor::empty(self.dtype, &self.layout.shape);
        lampyr_cpu::backend().copy(&self.arg(), &copy.arg()).unwrap();
        copy
    }
}

/// A case with its inputs on the device and what the reference says of it.
pub struct Prepared {
    pub case: Case,
    pub name: String,
    pub inputs: Vec<Tensor>,
    pub want: Vec<HostTensor>,
}

impl Prepared {
    /// `None` for cases with sequences.
    pub fn new(op: &str, case: Case) -> Option<Prepared> {
        if case.inputs.iter().any(|i| i.sequence.is_some()) {
            return None;
        }
        let name = format!("{op}/{}", case.name);
        let values = case.values().unwrap();
        let outputs = case.op.reference(&values).unwrap_or_else(|e| panic!("{name}: {e}"));
        let want = outputs.iter().map(HostValue::tensor).collect::<Result<Vec<_>, _>>().ok()?;
        let want = want.into_iter().cloned().collect();
        let inputs = case
            .inputs
            .iter()
            .map(|i| {
                let (storage, layout) = i.storage(0).unwrap();
                Tensor::upload(&storage, layout)
            })
            .collect();
        Some(Prepared { case, name, inputs, want })
    }

    fn outputs(&self) -> Vec<Tensor> {
        self.want.iter().map(|w| Tensor::empty(w.dtype(), w.shape())).collect()
    }

    /// The kernel, or the reason why there is none.
    pub fn kernel(&self) -> Result<&'static dyn Kernel, &'static str> {
        let outputs = self.outputs();
        let ins: Vec<ArgInfo> = self.inputs.iter().map(Tensor::info).collect();
        let outs: Vec<ArgInfo> = outputs.iter().map(Tensor::info).collect();
        match resolve(&*lampyr_cpu::backend(), &*self.case.op, &ins, &outs) {
            Choice::Kernel(kernel) => Ok(kernel),
            Choice::Fallback(reason) => Err(reason.code()),
        }
    }

    /// Inputs as `kernel` takes them.
    fn inputs_for(&self, kernel: &dyn Kernel) -> Vec<Tensor> {
        let fit = |(i, t): (usize, &Tensor)| match kernel.accepts(&*self.case.op, i) {
            Accepts::Contiguous if !t.layout.is_contiguous() => t.contiguous(),
            _ => t.clone(),
        };
        self.inputs.iter().enumerate().map(fit).collect()
    }

    /// Runs `kernel`; `alias` puts output `.1` where a copy of input `.0` lies.
    pub fn run(
        &self,
        kernel: &'static dyn Kernel,
        alias: Option<(usize, usize)>,
        visible: bool,
    ) -> Result<Vec<HostTensor>, String> {
        let op = &*self.case.op;
        let mut inputs = self.inputs_for(kernel);
        let mut outputs = self.outputs();
        if let Some((i, o)) = alias {
            let copy = Tensor::upload(&self.storage(&inputs[i]), inputs[i].layout.clone());
            outputs[o] = Tensor { dtype: outputs[o].dtype, ..copy.clone() };
            inputs[i] = copy;
        }
        let ins: Vec<Arg> = inputs.iter().map(Tensor::arg).collect();
        let in_infos: Vec<ArgInfo> = inputs.iter().map(Tensor::info).collect();
        let out_infos: Vec<ArgInfo> = outputs.iter().map(Tensor::info).collect();
        let backend = lampyr_cpu::backend();
        if let Some(measured) = kernel.measure(&*backend, op, &ins) {
            let shapes = measured.map_err(|e| e.to_string())?;
            let same = shapes.iter().zip(&self.want).all(|(s, w)| s.as_slice() == w.shape());
            if !same {
                return Err(format!("measured {shapes:?}"));
            }
        }
        let bytes = kernel.workspace(op, &in_infos, &out_infos);
        let workspace = (bytes > 0).then(|| Tensor::empty(DType::U8, &[bytes]));
        let shown = op.visible_outputs().filter(|_| visible).unwrap_or(usize::MAX);
        let outs: Vec<Option<Arg>> = outputs.iter().enumerate().map(|(i, t)| (i < shown).then(|| t.arg())).collect();
        let launch = Launch {
            op,
            inputs: &ins,
            outputs: &outs,
            workspace: workspace.as_ref().map(Tensor::arg),
            packed: &[],
            backend: &*backend,
        };
        backend.enqueue(kernel, &launch).map_err(|e| e.to_string())?;
        backend.synchronize().map_err(|e| e.to_string())?;
        Ok(outputs.iter().take(shown).map(Tensor::download).collect())
    }

    fn storage(&self, t: &Tensor) -> HostTensor {
        let mut bytes = vec![0u8; t.memory.len()];
        lampyr_cpu::backend().download(&t.memory, 0, &mut bytes).unwrap();
        let count = bytes.len() / t.dtype.size();
        HostTensor::copy_bytes(t.dtype, &[count], &bytes).unwrap()
    }

    /// What is wrong with `got`, if anything.
    pub fn check(&self, got: &[HostTensor]) -> Result<(), String> {
        for (i, (got, want)) in got.iter().zip(&self.want).enumerate() {
            let tolerance = self.case.tolerance.unwrap_or(Tolerance::of(want.dtype()));
            if got.dtype() != want.dtype() || got.shape() != want.shape() {
                return Err(format!("output {i}: {} instead of {}", got.describe(), want.describe()));
            }
            if tolerance == Tolerance::EXACT && !want.dtype().is_float() && got.bytes() != want.bytes() {
                return Err(format!("output {i}: {got:?} instead of {want:?}"));
            }
            for (at, (g, w)) in got.to_f64().into_iter().zip(want.to_f64()).enumerate() {
                let close = (g - w).abs() <= tolerance.absolute + tolerance.relative * w.abs();
                if !(close || g == w || (g.is_nan() && w.is_nan())) {
                    return Err(format!("output {i}, element {at}: {g} instead of {w}"));
                }
            }
        }
        Ok(())
    }
}

/// All cases of all ops.
pub fn all() -> Vec<Prepared> {
    let entries = lampyr_ops::registry::all();
    entries.iter().flat_map(|e| (e.cases)().into_iter().filter_map(|c| Prepared::new(e.name, c))).collect()
}

/// Fails with all findings, or passes without any.
pub fn report(findings: Vec<String>) {
    assert!(findings.is_empty(), "{} findings:\n{}", findings.len(), findings.join("\n"));
}
