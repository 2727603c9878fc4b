use lampyr::{Result, backend, ops};
use lampyr_cpu::simd::Tier;
use serde::Serialize;

use crate::output::Output;

#[derive(Serialize)]
struct DeviceInfo {
    name: String,
    description: String,
}

#[derive(Serialize)]
struct Info {
    version: &'static str,
    platform: String,
    cpu: String,
    simd: &'static str,
    simd_available: Vec<&'static str>,
    threads: usize,
    ops: usize,
    devices: Vec<DeviceInfo>,
}

/// Name of the processor where the system tells it, else the architecture.
fn processor() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().filter(|l| l.starts_with("model name")).find_map(|l| l.split_once(':'));
    line.map_or_else(|| std::env::consts::ARCH.to_string(), |(_, name)| name.trim().to_string())
}

/// Prints what this build and this machine are.
pub fn run(output: Output) -> Result<String> {
    lampyr::init();
    let info = Info {
        version: env!("CARGO_PKG_VERSION"),
        platform: format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH),
        cpu: processor(),
        simd: Tier::current().name(),
        simd_available: Tier::available().map(Tier::name).collect(),
        threads: lampyr::num_threads(),
        ops: ops::registry::count(),
        devices: (backend::backends().iter())
            .map(|b| DeviceInfo { name: b.device().to_string(), description: b.describe() })
            .collect(),
    };
    output.either(&info, || {
        let devices: Vec<_> = info.devices.iter().map(|d| format!("{} ({})", d.name, d.description)).collect();
        output.bold(&format!("lampyr {}", info.version))
            + "\n"
            + &output.pairs(&[
                ("platform", info.platform.clone()),
                ("cpu", info.cpu.clone()),
                ("simd", format!("{} (of {})", info.simd, info.simd_available.join(", "))),
                ("threads", info.threads.to_string()),
                ("devices", devices.join(", ")),
                ("ops", info.ops.to_string()),
            ])
    })
}
