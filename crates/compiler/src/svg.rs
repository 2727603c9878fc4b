//! The arena over time as a picture.

use std::fmt::Write;

use crate::report::PlanReport;

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 480.0;

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// SVG text: x is the step, y the offset; one rectangle per slot, named on hover.
pub fn memory_map_svg(report: &PlanReport) -> String {
    let steps = report.steps.len().max(1) as f64;
    let top = report.slots.iter().map(|s| s.offset.saturating_add(s.bytes)).max().unwrap_or(0).max(1) as f64;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\" font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n",
        WIDTH + 80.0,
        HEIGHT + 60.0
    );
    for (i, s) in report.slots.iter().enumerate().filter(|(_, s)| s.bytes > 0) {
        let x = 60.0 + s.start as f64 / steps * WIDTH;
        let w = (s.end - s.start + 1) as f64 / steps * WIDTH;
        let h = s.bytes as f64 / top * HEIGHT;
        let y = 20.0 + HEIGHT - s.offset as f64 / top * HEIGHT - h;
        let _ = writeln!(
            out,
            "<rect x=\"{x:.2}\" y=\"{y:.2}\" width=\"{w:.2}\" height=\"{h:.2}\" fill=\"hsl({},60%,70%)\" stroke=\"white\" \
             stroke-width=\"0.5\"><title>{}: {} bytes at {}, steps {} to {}</title></rect>",
            (i * 47) % 360,
            escape(&s.value),
            s.bytes,
            s.offset,
            s.start,
            s.end
        );
    }
    let bound = 20.0 + HEIGHT - (report.lower_bound_bytes as f64 / top * HEIGHT).min(HEIGHT);
    let _ = writeln!(
        out,
        "<line x1=\"60\" x2=\"{:.0}\" y1=\"{bound:.2}\" y2=\"{bound:.2}\" stroke=\"black\" stroke-dasharray=\"4\"/>\n\
         <text x=\"60\" y=\"14\">arena {} bytes, lower bound {}, without sharing {}</text>\n\
         <text x=\"60\" y=\"{:.0}\">step</text>\n</svg>",
        WIDTH + 60.0,
        report.arena_bytes,
        report.lower_bound_bytes,
        report.unplanned_bytes,
        HEIGHT + 40.0
    );
    out
}
