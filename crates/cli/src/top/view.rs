//! Figures as a page, and as a line.

use std::fmt::Write as _;

use serde_json::Value;

use super::figures::Figures;
use crate::screen::{BOLD, DIM, WRONG, shown};

/// The page, drawn over the previous one: as many lines as fit, each cut at the terminal's edge.
pub(super) fn live(figures: &Figures, (rows, columns): (usize, usize)) -> String {
    // Move to the first line. Then clear to the end of each line, and everything below the last.
    let mut drawn = "\u{1b}[H".to_owned();
    for line in page(figures).lines().take(rows.saturating_sub(1)) {
        drawn.push_str(&cut(line, columns));
        drawn.push_str("\u{1b}[K\n");
    }
    drawn.push_str("\u{1b}[J");
    drawn
}

/// Cuts a line at this number of columns. Escape sequences that only change the colour take no
/// columns.
fn cut(line: &str, columns: usize) -> String {
    let (mut cut, mut taken, mut is_sequence) = (String::new(), 0, false);
    for c in line.chars() {
        is_sequence |= c == '\u{1b}';
        if !is_sequence {
            if taken == columns {
                continue;
            }
            taken += 1;
        }
        cut.push(c);
        is_sequence &= c != 'm';
    }
    cut
}

// Writing to a String never fails, here and below.
pub(super) fn page(figures: &Figures) -> String {
    let mut page = String::new();
    let health = match figures.healthy {
        true => "healthy".to_owned(),
        false => format!("{WRONG}not healthy, see /healthz{WRONG:#}"),
    };
    let _ = writeln!(
        page,
        "{BOLD}offhook {}{BOLD:#}  up {}, {} workers, {health}",
        shown(&figures.version),
        uptime(figures.uptime),
        figures.workers,
    );
    let _ = writeln!(
        page,
        "connections {}  (sockets {}, +{}/s -{}/s)  subscriptions {}",
        count(figures.connections),
        count(figures.sockets),
        rate(figures.opened),
        rate(figures.ended),
        count(figures.subscriptions),
    );
    let _ = writeln!(
        page,
        "published {}/s  deliveries {}/s  ({}/s)  received {}/s  caught up {}",
        rate(figures.published),
        rate(figures.deliveries),
        bytes(figures.delivered_bytes),
        rate(figures.received),
        count(figures.catching_up),
    );
    let _ = writeln!(
        page,
        "memory {} resident, {} unsent, {} of channels; limit {}, {}  disk {}",
        bytes(figures.resident),
        bytes(figures.unsent),
        bytes(figures.channels),
        bytes(figures.memory_limit),
        shown(&figures.pressure),
        bytes(figures.disk),
    );
    words(&mut page, "gaps", &figures.gaps);
    words(&mut page, "refused", &figures.refused);
    let _ = writeln!(
        page,
        "\n{DIM}{:<18} {:>9} {:>9}{DIM:#}",
        "latency", "p50", "p99"
    );
    for latency in &figures.latencies {
        let (middle, high) = (time(latency.middle), time(latency.high));
        let _ = writeln!(page, "{:<18} {middle:>9} {high:>9}", latency.name);
    }
    slowest(&mut page, &figures.slowest);
    busiest(&mut page, &figures.busiest);
    page
}

fn words(page: &mut String, name: &str, words: &[(String, f64)]) {
    if words.is_empty() {
        return;
    }
    let each = words.iter();
    let each: Vec<String> = each
        .map(|(word, number)| format!("{} {}", count(*number), shown(word)))
        .collect();
    let _ = writeln!(page, "{name} {}", each.join(", "));
}

fn slowest(page: &mut String, all: &[Value]) {
    if all.is_empty() {
        let _ = writeln!(
            page,
            "\n{DIM}no connection has more than 16 KiB unsent{DIM:#}"
        );
        return;
    }
    let _ = writeln!(
        page,
        "\n{DIM}{:>10} {:>10} {:>6}  slowest connections{DIM:#}",
        "connection", "unsent", "behind"
    );
    for one in all {
        let number = one["connection"].as_u64().unwrap_or_default();
        let unsent = bytes(one["unsent_bytes"].as_f64().unwrap_or_default());
        let behind = one["subscriptions_behind"].as_u64().unwrap_or_default();
        let session = one["session"].as_str().unwrap_or_default();
        let user = one["user"].as_str().unwrap_or("(no name)");
        let _ = writeln!(
            page,
            "{number:>10} {unsent:>10} {behind:>6}  {}  {}",
            shown(user),
            shown(session)
        );
    }
}

fn busiest(page: &mut String, all: &[Value]) {
    if all.is_empty() {
        let _ = writeln!(page, "\n{DIM}nothing is being published{DIM:#}");
        return;
    }
    let _ = writeln!(page, "\n{DIM}{:>10}  busiest channels{DIM:#}", "publish/s");
    for one in all {
        let per_second = rate(one["publishes_per_second"].as_f64().unwrap_or_default());
        let channel = one["channel"].as_str().unwrap_or_default();
        let _ = writeln!(page, "{per_second:>10}  {}", shown(channel));
    }
}

/// The most important figures on one line.
pub(super) fn line(figures: &Figures) -> String {
    let mut line = format!(
        "connections {} published/s {} deliveries/s {} resident {} unsent {}",
        count(figures.connections),
        rate(figures.published),
        rate(figures.deliveries),
        bytes(figures.resident),
        bytes(figures.unsent),
    );
    for latency in &figures.latencies {
        if latency.high.is_some() {
            let name = latency.name.replace(' ', "-");
            let _ = write!(line, " {name}-p99 {}", time(latency.high));
        }
    }
    let busiest = figures
        .busiest
        .first()
        .and_then(|one| one["channel"].as_str());
    if let Some(busiest) = busiest {
        let _ = write!(line, " busiest {}", shown(busiest));
    }
    if !figures.healthy {
        line.push_str(" NOT HEALTHY");
    }
    line.push('\n');
    line
}

fn count(number: f64) -> String {
    format!("{number:.0}")
}

fn rate(number: f64) -> String {
    match number {
        0.0..10.0 => format!("{number:.1}"),
        _ => format!("{number:.0}"),
    }
}

/// `1.5MiB`.
fn bytes(number: f64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut number, mut unit) = (number, 0);
    while number >= 1024.0 && unit + 1 < UNITS.len() {
        number /= 1024.0;
        unit += 1;
    }
    let digits = usize::from(unit > 0 && number < 100.0);
    format!("{number:.digits$}{}", UNITS[unit])
}

fn time(seconds: Option<f64>) -> String {
    match seconds {
        None => "-".to_owned(),
        Some(seconds) if seconds < 1e-3 => format!("{:.0}µs", seconds * 1e6),
        Some(seconds) if seconds < 1.0 => format!("{:.1}ms", seconds * 1e3),
        Some(seconds) => format!("{seconds:.1}s"),
    }
}

fn uptime(seconds: u64) -> String {
    let (minutes, hours) = (seconds / 60, seconds / 3_600);
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{minutes} min"),
        7_200..172_800 => format!("{hours} h"),
        _ => format!("{} d", hours / 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_by_what_is_seen() {
        let line = "\u{1b}[1mbold\u{1b}[0m and äö";
        assert_eq!(cut(line, 6), "\u{1b}[1mbold\u{1b}[0m a");
        assert_eq!(cut(line, 100), line);
        assert_eq!(cut("", 0), "");
    }

    #[test]
    fn amounts_have_units() {
        let all = [0.0, 1023.0, 1536.0, 104_857_600.0].map(bytes);
        assert_eq!(all, ["0B", "1023B", "1.5KiB", "100MiB"]);
        let all = [None, Some(0.000_25), Some(0.012), Some(2.0)].map(time);
        assert_eq!(all, ["-", "250µs", "12.0ms", "2.0s"]);
        assert_eq!(
            [59, 600, 7_200, 864_000].map(uptime),
            ["59 s", "10 min", "2 h", "10 d"]
        );
    }
}
