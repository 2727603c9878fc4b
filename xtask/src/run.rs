//! Child processes: where they run, how they are shown, what a failure says.

use std::ffi::OsStr;
use std::fmt;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use cargo_metadata::MetadataCommand;

/// The workspace that the verbs work on.
pub struct Workspace {
    /// The folder of the workspace's `Cargo.toml`.
    pub root: PathBuf,
    /// Cargo's target folder.
    pub target: PathBuf,
}

impl Workspace {
    /// Asks cargo for the workspace around the current folder.
    pub fn find() -> Result<Self> {
        let metadata =
            MetadataCommand::new().no_deps().exec().map_err(|e| Failure::new(format!("cargo metadata: {e}")))?;
        Ok(Self { root: metadata.workspace_root.into(), target: metadata.target_directory.into() })
    }

    /// A command that will run in the root of the workspace.
    ///
    /// The variables that `cargo run` sets for this process describe xtask; a nested build must not see them.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.root);
        for (key, _) in std::env::vars_os() {
            let name = key.to_string_lossy();
            if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
                command.env_remove(&key);
            }
        }
        command
    }

    /// `cargo` with these arguments.
    pub fn cargo(&self, arguments: &[&str]) -> Command {
        let mut command = self.command("cargo");
        command.args(arguments);
        command
    }

    /// Runs a command with its output streamed through.
    pub fn run(&self, command: &mut Command) -> Result {
        let shown = self.show(command);
        println!("$ {shown}");
        // Children write to the same descriptor, unbuffered by this process.
        let _ = std::io::stdout().flush();
        match command.status() {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(Failure { message: format!("`{shown}` ended with {status}"), command: Some(shown) }),
            Err(error) => Err(Failure { message: format!("`{shown}` did not start: {error}"), command: Some(shown) }),
        }
    }

    /// The command as one would type it in the root of the workspace.
    fn show(&self, command: &Command) -> String {
        let variables =
            command.get_envs().filter_map(|(key, value)| Some(format!("{}={}", key.display(), self.word(value?))));
        let words = std::iter::once(command.get_program()).chain(command.get_args()).map(|word| self.word(word));
        variables.chain(words).collect::<Vec<_>>().join(" ")
    }

    fn word(&self, word: &OsStr) -> String {
        let path = Path::new(word);
        let word = path.strip_prefix(&self.root).unwrap_or(path).display().to_string();
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
        if !word.is_empty() && word.chars().all(plain) { word } else { format!("'{}'", word.replace('\'', r"'\''")) }
    }
}

/// What a command printed, both streams together; `None` when it failed or did not start.
pub fn output(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

/// Why a verb or a step failed.
#[derive(Debug)]
pub struct Failure {
    /// One or more lines for the user.
    pub message: String,
    /// The command that repeats the failure, where there is one.
    pub command: Option<String>,
}

impl Failure {
    /// A failure that no single command stands for.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), command: None }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// The result of a verb or a step.
pub type Result<T = ()> = std::result::Result<T, Failure>;
