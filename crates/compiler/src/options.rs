use std::collections::BTreeMap;
use std::path::PathBuf;

use lampyr_base::{Device, knobs};

/// What the caller decides about devices.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Where inputs are expected and nodes run unless something below says otherwise.
    pub device: Device,
    /// Devices that placement may also choose when it estimates them to be faster, transfers included.
    pub candidates: Vec<Device>,
    /// Devices by node name; they override everything else.
    pub nodes: BTreeMap<String, Device>,
    /// Devices by op name.
    pub ops: BTreeMap<String, Device>,
}

impl Policy {
    /// Everything on `device`.
    pub fn on(device: Device) -> Policy {
        Policy { device, candidates: Vec::new(), nodes: BTreeMap::new(), ops: BTreeMap::new() }
    }
}

/// How a graph is compiled.
#[derive(Clone, Debug)]
pub struct Options {
    /// Whether nodes are fused.
    pub fuse: bool,
    /// Threads of the CPU pool that estimates assume; `None`: all of them.
    pub threads: Option<usize>,
    /// Cap in bytes of planned and data-dependent memory of one run, weights not counted.
    pub memory_cap: Option<usize>,
    /// Stop after this many passes.
    pub stop_after: Option<usize>,
    /// Run the verifier between all passes.
    pub verify: bool,
    /// The graph is used for inference only: dropout is removed and batch norms are folded into weights.
    pub inference: bool,
    /// Devices.
    pub policy: Policy,
    /// File of measured costs, read when it exists.
    pub tuning: Option<PathBuf>,
    /// Take it that the device has a kernel for everything, as tests of passes do: nothing is written out, and fusions
    /// are not refused for want of a kernel.
    pub assume_kernels: bool,
    /// Whether regions of convolutions may have the channels of images last.
    pub channels_last: bool,
    /// Largest constant, in bytes, that constant folding makes.
    pub fold_limit: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            fuse: true,
            threads: None,
            memory_cap: None,
            stop_after: knobs::STOP_AFTER.number(),
            verify: knobs::VERIFY.on(),
            inference: true,
            policy: Policy::on(Device::CPU),
            tuning: None,
            assume_kernels: false,
            channels_last: true,
            fold_limit: 1 << 20,
        }
    }
}
