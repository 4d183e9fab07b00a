//! The results as Markdown.

use std::fmt::Write as _;

use crate::results::{RateSummary, ScenarioResult, ServerResult, Summary};

/// One table over all scenarios, and one with the details of each.
pub(crate) fn markdown(results: &[ScenarioResult]) -> String {
    let mut out = overview(results);
    for result in results {
        let _ = write!(
            out,
            "\n### {}: {}\n\n",
            result.scenario.name, result.scenario.about
        );
        details(&mut out, result);
    }
    out
}

/// The server that the others are compared with: ours, else the baseline, else the first.
fn reference(result: &ScenarioResult) -> Option<&ServerResult> {
    result
        .servers
        .iter()
        .find(|server| server.summary.figure().is_some())
}

fn overview(results: &[ScenarioResult]) -> String {
    let mut names: Vec<&str> = Vec::new();
    for server in results.iter().flat_map(|result| &result.servers) {
        if !names.contains(&server.name.as_str()) {
            names.push(&server.name);
        }
    }
    let mut out = String::from("| server |");
    for result in results {
        let _ = write!(out, " {} |", result.scenario.name);
    }
    out.push_str("\n|---|");
    out.push_str(&"--:|".repeat(results.len()));
    for name in names {
        let _ = write!(out, "\n| {name} |");
        for result in results {
            let server = result.servers.iter().find(|server| server.name == name);
            let cell = server.map_or("–".into(), |server| overview_cell(server, result));
            let _ = write!(out, " {cell} |");
        }
    }
    out.push('\n');
    out
}

fn overview_cell(server: &ServerResult, result: &ScenarioResult) -> String {
    match &server.summary {
        Summary::Rate(rate) => {
            let speed = short(rate.per_second);
            format!(
                "{speed} · {} · {:.2} µs",
                ratio(server, result),
                rate.user_us
            )
        }
        Summary::Memory {
            fresh_kib,
            after_burst_kib,
        } => {
            format!("{fresh_kib:.2} / {after_burst_kib:.2} KiB")
        }
        Summary::Failed(_) => "failed".into(),
    }
}

fn details(out: &mut String, result: &ScenarioResult) {
    let is_memory = result
        .servers
        .iter()
        .any(|server| matches!(server.summary, Summary::Memory { .. }));
    let against = reference(result).map_or("–", |server| &server.name);
    out.push_str(&match is_memory {
        true => format!("| server | after a 32 B echo | vs {against} | after a 64 KiB echo |\n"),
        false => format!(
            "| server | per second | vs {against} | spread | user µs | total µs | p50 µs | \
             p99 µs | bytes back | server busy | load busy |\n"
        ),
    });
    out.push_str(if is_memory {
        "|---|--:|--:|--:|\n"
    } else {
        RATE_RULE
    });
    for server in &result.servers {
        let name = format!("{} {}", server.name, server.version);
        let ratio = ratio(server, result);
        let cells = match &server.summary {
            Summary::Rate(rate) => rate_cells(rate, &ratio),
            Summary::Memory {
                fresh_kib,
                after_burst_kib,
            } => {
                format!("{fresh_kib:.2} KiB | {ratio} | {after_burst_kib:.2} KiB")
            }
            Summary::Failed(error) => format!("failed: {}", error.replace('|', "/")),
        };
        let _ = writeln!(out, "| {} | {cells} |", name.trim_end());
    }
}

const RATE_RULE: &str = "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n";

fn rate_cells(rate: &RateSummary, ratio: &str) -> String {
    let time = |time: Option<f64>| time.map_or("–".into(), |time| format!("{time:.0}"));
    format!(
        "{} | {ratio} | {:.0} % | {:.3} | {:.3} | {} | {} | {:.0} | {:.0} % | {:.0} %",
        short(rate.per_second),
        rate.spread * 100.0,
        rate.user_us,
        rate.total_us,
        time(rate.p50_us),
        time(rate.p99_us),
        rate.bytes_each,
        rate.server_busy * 100.0,
        rate.load_busy * 100.0,
    )
}

fn ratio(server: &ServerResult, result: &ScenarioResult) -> String {
    let base = reference(result).and_then(|server| server.summary.figure());
    match (server.summary.figure(), base) {
        (Some(figure), Some(base)) if base > 0.0 => format!("{:.2}×", figure / base),
        _ => "–".into(),
    }
}

/// Formats a number with three digits and an exponent.
pub(crate) fn short(number: f64) -> String {
    match number {
        1e6.. => format!("{:.2}M", number / 1e6),
        1e3.. => format!("{:.1}k", number / 1e3),
        _ => format!("{number:.0}"),
    }
}
