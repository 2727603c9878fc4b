//! `cargo xtask test`: the steps in order, the first failure, the table at the end.

use std::time::{Duration, Instant};

use clap::Args;

use crate::run::{Failure, Result, Workspace};
use crate::steps::{STEPS, Step};

/// Which steps to run.
#[derive(Args)]
pub struct Options {
    /// Run only these steps (comma-separated)
    #[arg(long, value_delimiter = ',', value_name = "STEP", conflicts_with = "from")]
    only: Vec<String>,
    /// Run this step and the ones after it
    #[arg(long, value_name = "STEP")]
    from: Option<String>,
    /// List the steps and stop
    #[arg(long)]
    list: bool,
}

/// Runs the chosen steps; an error when one failed.
pub fn test(workspace: &Workspace, options: &Options) -> Result {
    let chosen = choose(options)?;
    if options.list {
        for step in chosen {
            println!("{:13} {}", step.name, step.about);
        }
        return Ok(());
    }
    let mut walls = Vec::new();
    let mut failed = None;
    for (index, step) in chosen.iter().enumerate() {
        println!("\n== {} ({}/{})", step.name, index + 1, chosen.len());
        let start = Instant::now();
        let result = (step.run)(workspace);
        walls.push(start.elapsed());
        if let Err(failure) = result {
            println!("\nFAILED: {}\n{failure}", step.name);
            if let Some(command) = &failure.command {
                println!("to repeat the command: {command}");
            }
            println!("to repeat the step:    cargo xtask test --only {}", step.name);
            failed = Some(step.name);
            break;
        }
    }
    println!("\n{}", table(&chosen, &walls, failed.is_some()));
    println!("{} passed, {} failed", walls.len() - usize::from(failed.is_some()), u8::from(failed.is_some()));
    failed.map_or(Ok(()), |name| Err(Failure::new(format!("step {name} failed"))))
}

fn choose(options: &Options) -> Result<Vec<&'static Step>> {
    if let Some(name) = &options.from {
        let first = position(name)?;
        return Ok(STEPS[first..].iter().collect());
    }
    if options.only.is_empty() {
        return Ok(STEPS.iter().collect());
    }
    let mut positions = options.only.iter().map(|name| position(name)).collect::<Result<Vec<_>>>()?;
    positions.sort_unstable();
    positions.dedup();
    Ok(positions.into_iter().map(|position| &STEPS[position]).collect())
}

fn position(name: &str) -> Result<usize> {
    let name = name.trim().replace([' ', '_'], "-");
    STEPS.iter().position(|step| step.name == name).ok_or_else(|| {
        let names: Vec<_> = STEPS.iter().map(|step| step.name).collect();
        Failure::new(format!("no step is called {name}; the steps are {}", names.join(", ")))
    })
}

fn table(steps: &[&Step], walls: &[Duration], last_failed: bool) -> String {
    let mut text = format!("{:13} {:>9}  result\n", "step", "wall");
    for (index, step) in steps.iter().enumerate() {
        let wall = walls.get(index).map_or_else(|| "-".to_owned(), |wall| seconds(*wall));
        let result = match index {
            _ if index >= walls.len() => "not run",
            _ if last_failed && index + 1 == walls.len() => "FAILED",
            _ => "ok",
        };
        text += &format!("{:13} {wall:>9}  {result}\n", step.name);
    }
    text + &format!("{:13} {:>9}", "total", seconds(walls.iter().sum()))
}

fn seconds(wall: Duration) -> String {
    let seconds = wall.as_secs_f64();
    if seconds < 59.95 {
        format!("{seconds:.1} s")
    } else {
        format!("{} m {:02} s", wall.as_secs() / 60, wall.as_secs() % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(only: &[&str], from: Option<&str>) -> Options {
        Options { only: only.iter().map(|&name| name.to_owned()).collect(), from: from.map(str::to_owned), list: false }
    }

    #[test]
    fn chosen_steps_keep_their_order() {
        let names = |options| choose(&options).map(|steps| steps.iter().map(|step| step.name).collect::<Vec<_>>());
        assert_eq!(names(options(&[], None)).unwrap().len(), STEPS.len());
        assert_eq!(names(options(&["ruff", "rust tests", "fmt", "fmt"], None)).unwrap(), ["fmt", "rust-tests", "ruff"]);
        assert_eq!(names(options(&[], Some("stubs"))).unwrap(), ["stubs", "python-tests"]);
        assert!(names(options(&["no-such-step"], None)).is_err());
    }

    #[test]
    fn the_table_tells_failed_from_not_run() {
        let steps: Vec<_> = STEPS.iter().take(3).collect();
        let text = table(&steps, &[Duration::from_millis(1500), Duration::from_secs(61)], true);
        let results: Vec<_> = text.lines().map(|line| line.split_whitespace().last().unwrap_or("")).collect();
        assert_eq!(results, ["result", "ok", "FAILED", "run", "s"]);
        assert!(text.contains("1.5 s") && text.contains("1 m 01 s") && text.contains("1 m 02 s"), "{text}");
    }
}
