//! Python environments: an interpreter that is new enough, a virtual environment, pinned packages.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::run::{Failure, Result, Workspace, output};

const CANDIDATES: [&str; 5] = ["python3.13", "python3.12", "python3.11", "python3", "python"];
const OLDEST: (u32, u32) = (3, 11);

/// The environment of the Python tests.
pub const TEST: Environment = Environment { folder: ".venv", requirements: "python/requirements-test.txt" };
/// The environment that holds torch.
pub const PARITY: Environment = Environment { folder: ".parity-venv", requirements: "xtask/requirements-parity.txt" };
/// The environment of the zoo: torch with its models, ONNX Runtime and Lampyr's package.
pub const ZOO: Environment = Environment { folder: ".zoo-venv", requirements: "xtask/requirements-zoo.txt" };

/// A virtual environment in the root of the workspace and the packages it holds.
pub struct Environment {
    folder: &'static str,
    requirements: &'static str,
}

impl Environment {
    /// Where the environment's interpreter is or will be.
    pub fn interpreter(&self, workspace: &Workspace) -> PathBuf {
        let below = if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" };
        workspace.root.join(self.folder).join(below)
    }

    /// Makes the environment where it is absent; returns its interpreter.
    pub fn interpreter_ready(&self, workspace: &Workspace) -> Result<PathBuf> {
        let interpreter = self.interpreter(workspace);
        if interpreter.is_file() {
            return match version(workspace, &interpreter) {
                Some(found) if found >= OLDEST => Ok(interpreter),
                _ => Err(Failure::new(format!(
                    "{}: its interpreter does not run or is older than {}; remove the folder and run this again",
                    self.folder,
                    show(OLDEST)
                ))),
            };
        }
        let python = Python::find(workspace)?;
        if !python.has_ensurepip {
            python.add_ensurepip(workspace)?;
        }
        workspace.run(workspace.command(python.program).args(["-m", "venv", "--clear", self.folder]))?;
        Ok(interpreter)
    }

    /// Makes the environment and installs its packages where either is missing; returns its interpreter.
    pub fn ready(&self, workspace: &Workspace) -> Result<PathBuf> {
        let interpreter = self.interpreter_ready(workspace)?;
        let wanted = fs::read_to_string(workspace.root.join(self.requirements))
            .map_err(|e| Failure::new(format!("{}: {e}", self.requirements)))?;
        let stamp = workspace.root.join(self.folder).join("requirements.installed");
        if fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
            return Ok(interpreter);
        }
        workspace.run(workspace.command(&interpreter).args(["-m", "pip", "install", "-q", "-r", self.requirements]))?;
        fs::write(&stamp, wanted).map_err(|e| Failure::new(format!("{}: {e}", stamp.display())))?;
        Ok(interpreter)
    }
}

struct Python {
    program: &'static str,
    version: (u32, u32),
    has_ensurepip: bool,
}

impl Python {
    /// The first interpreter that is new enough, one that can make an environment before one that cannot.
    fn find(workspace: &Workspace) -> Result<Self> {
        let mut found: Vec<Self> = CANDIDATES
            .iter()
            .filter_map(|&program| Some((program, version(workspace, Path::new(program))?)))
            .filter(|&(_, version)| version >= OLDEST)
            .map(|(program, version)| {
                let has_ensurepip = output(workspace.command(program).args(["-c", "import ensurepip, venv"])).is_some();
                Self { program, version, has_ensurepip }
            })
            .collect();
        found.sort_by_key(|python| !python.has_ensurepip);
        found.into_iter().next().ok_or_else(|| {
            Failure::new(format!(
                "no Python {} or newer (looked for {}); install one and put it on PATH",
                show(OLDEST),
                CANDIDATES.join(", ")
            ))
        })
    }

    /// Debian ships `ensurepip` in a package of its own: installs it when running as root, else names the command.
    fn add_ensurepip(&self, workspace: &Workspace) -> Result {
        let packages = [format!("python{}-venv", show(self.version)), "python3-venv".to_owned()];
        let root = output(workspace.command("id").arg("-u")).is_some_and(|id| id.trim() == "0");
        if root && output(workspace.command("apt-get").arg("--version")).is_some() {
            // A failed update still leaves package lists that may do.
            let _ = workspace.run(workspace.command("apt-get").args(["update", "-q"]));
            if packages.iter().any(|package| workspace.run(&mut apt_install(workspace, package)).is_ok()) {
                return Ok(());
            }
        }
        Err(Failure::new(format!(
            "{} cannot make a virtual environment: its ensurepip module is missing.\n\
             On Debian and Ubuntu: sudo apt-get install -y {}   (or {})",
            self.program, packages[0], packages[1]
        )))
    }
}

fn apt_install(workspace: &Workspace, package: &str) -> Command {
    let mut command = workspace.command("apt-get");
    command.args(["install", "-y", package]).env("DEBIAN_FRONTEND", "noninteractive");
    command
}

fn version(workspace: &Workspace, program: &Path) -> Option<(u32, u32)> {
    let printed = output(workspace.command(program).args(["-c", "import sys; print('%d.%d' % sys.version_info[:2])"]))?;
    let (major, minor) = printed.trim().split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

fn show((major, minor): (u32, u32)) -> String {
    format!("{major}.{minor}")
}
