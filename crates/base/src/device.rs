use std::fmt;

/// The kind of device a backend drives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DeviceKind {
    /// The host processor.
    Cpu,
    /// NVIDIA GPUs.
    Cuda,
    /// Apple GPUs.
    Metal,
    /// Vulkan devices.
    Vulkan,
    /// A device registered at run time, for tests and plug-ins.
    Custom(&'static str),
}

/// One device: its kind and its index among the devices of that kind. Printed as `cpu`, `cuda:1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Device {
    /// Kind of the device.
    pub kind: DeviceKind,
    /// Index among the devices of this kind.
    pub index: u16,
}

impl Device {
    /// The host processor.
    pub const CPU: Device = Device { kind: DeviceKind::Cpu, index: 0 };
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.kind {
            DeviceKind::Cpu => return f.write_str("cpu"),
            DeviceKind::Cuda => "cuda",
            DeviceKind::Metal => "metal",
            DeviceKind::Vulkan => "vulkan",
            DeviceKind::Custom(name) => name,
        };
        write!(f, "{name}:{}", self.index)
    }
}
