//! What the compiler did with a model, for people and for programs.

use std::fmt;

use lampyr_compiler::{PlanReport, Report, memory_map_svg};

/// Passes, fusions, placements, steps and memory of a compiled model. Prints as text.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// What the passes did.
    pub report: Report,
    /// Steps and memory for one set of shapes.
    pub plan: PlanReport,
}

fn bytes(n: usize) -> String {
    const UNITS: [&str; 4] = ["B", "KiB", "MiB", "GiB"];
    let (mut value, mut unit) = (n as f64, 0);
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{n} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

impl Explanation {
    pub(crate) fn new(report: Report, plan: PlanReport) -> Explanation {
        Explanation { report, plan }
    }

    /// As a JSON object with the members `compile` and `plan`.
    pub fn to_json(&self) -> String {
        format!("{{\"compile\":{},\"plan\":{}}}", self.report.to_json(), self.plan.to_json())
    }

    /// The memory map as SVG: steps to the right, offsets up.
    pub fn memory_map(&self) -> String {
        memory_map_svg(&self.plan)
    }

    /// As a page with the memory map.
    pub fn to_html(&self) -> String {
        format!(
            "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>{name}</title>\n<body>\n<h1>{name}</h1>\n\
             <h2>Memory over steps</h2>\n{map}\n<h2>Compilation</h2>\n<pre>{text}</pre>\n</body></html>\n",
            name = escape(&self.report.graph),
            map = self.memory_map(),
            text = escape(&self.to_string()),
        )
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (r, p) = (&self.report, &self.plan);
        writeln!(f, "graph `{}`", r.graph)?;
        writeln!(f, "\npasses (nodes before -> after, changes)")?;
        for pass in &r.passes {
            let ms = pass.nanoseconds as f64 / 1e6;
            let (from, to) = (pass.nodes_before, pass.nodes_after);
            writeln!(f, "  {:22} {from:5} -> {to:5}  {:5}  {ms:8.2} ms", pass.name, pass.changes)?;
        }
        let (done, left): (Vec<_>, Vec<_>) = r.fusions.iter().partition(|x| x.taken);
        writeln!(f, "\nfusions: {} done, {} not", done.len(), left.len())?;
        for fusion in done.into_iter().chain(left) {
            let sign = if fusion.taken { '+' } else { '-' };
            let nodes = fusion.nodes.join(" + ");
            let times = match fusion.fused_seconds.is_nan() {
                true => String::new(),
                false => {
                    format!(" ({:.1} us against {:.1} us)", fusion.fused_seconds * 1e6, fusion.unfused_seconds * 1e6)
                }
            };
            writeln!(f, "  {sign} {}: {nodes}: {}{times}", fusion.pattern, fusion.reason)?;
        }
        let convolutions: Vec<_> = r.layouts.iter().filter(|l| l.convolution).collect();
        if !convolutions.is_empty() {
            let count = convolutions.iter().filter(|l| l.channels_last).count();
            writeln!(f, "\nchannels last: {count} of {} convolutions", convolutions.len())?;
            for l in convolutions {
                writeln!(f, "  {} {}: {}", if l.channels_last { '+' } else { '-' }, l.node, l.reason)?;
            }
        }
        let peaks: Vec<_> = r.order.peaks.iter().map(|(name, n)| format!("{name} {}", bytes(*n as usize))).collect();
        writeln!(f, "\norder: {} (estimated peaks: {})", r.order.chosen, peaks.join(", "))?;
        writeln!(f, "\nsteps")?;
        for step in &p.steps {
            let what = if step.kernel.is_empty() { step.action } else { step.kernel };
            let place = if step.in_place { ", in place" } else { "" };
            writeln!(f, "  {:32} {what:24} {} ({}{place})", step.node, step.device, step.reason)?;
        }
        writeln!(f, "\nmemory")?;
        writeln!(f, "  arena        {:>12}", bytes(p.arena_bytes))?;
        writeln!(f, "  lower bound  {:>12}", bytes(p.lower_bound_bytes))?;
        writeln!(f, "  by size      {:>12}", bytes(p.greedy_bytes))?;
        writeln!(f, "  unplanned    {:>12}", bytes(p.unplanned_bytes))?;
        writeln!(f, "  imported     {:>12}", bytes(p.imported_bytes))?;
        writeln!(f, "  weights      {:>12}", bytes(p.weight_bytes))?;
        write!(f, "  outputs      {:>12}", bytes(p.output_bytes))
    }
}
