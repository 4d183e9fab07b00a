//! The report as an HTML page: one file, without scripts, with plots drawn as SVG.

use std::fmt::Write as _;

use super::plot::{Plot, Scale};
use super::{Percentiles, Report, grouped, milliseconds};

const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1c2126;--dim:#5d6871;--paper:#fff;--rule:#d8dde1;--a:#0b62c4;\
--b:#b4480e;--bad:#b3261e}\
@media(prefers-color-scheme:dark){:root{--ink:#e8ebee;--dim:#9aa5ae;--paper:#14181b;--rule:#343c42;\
--a:#6db3ff;--b:#ff9f68;--bad:#ff8a80}}\
body{font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:60rem;\
margin:2rem auto;padding:0 1rem}\
h1{font-size:1.4rem}h2{font-size:1.15rem;margin-top:2.5rem}h3{font-size:1rem;margin-bottom:.3rem}\
table{border-collapse:collapse;font-variant-numeric:tabular-nums}\
th,td{text-align:right;padding:.2rem .9rem .2rem 0;border-bottom:1px solid var(--rule)}\
th:first-child,td:first-child{text-align:left}th{color:var(--dim);font-weight:500}\
svg{width:100%;height:auto;display:block}svg text{fill:var(--dim);font-size:11px}\
svg .grid{stroke:var(--rule)}svg .a{stroke:var(--a)}svg .b{stroke:var(--b)}\
svg path{fill:none;stroke-width:1.6}svg .before{stroke-dasharray:4 4;opacity:.7}\
.bad{color:var(--bad)}.dim{color:var(--dim)}.key{font-size:.85rem;color:var(--dim)}\
.key i{display:inline-block;width:1.6em;border-top:2px solid;vertical-align:middle;margin:0 .3em 0 1em}\
.key .a{border-color:var(--a)}.key .b{border-color:var(--b)}";

/// The page for these runs, each with the earlier run of the same name, if there is one.
pub(in crate::bench) fn page(runs: &[(&Report, Option<&Report>)]) -> String {
    let mut page = String::new();
    let url = runs.first().map_or("", |(report, _)| report.url.as_str());
    let _ = write!(
        page,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>offhook bench {0}</title>\
         <style>{STYLE}</style></head><body>\n<h1>offhook bench {0}</h1>\n",
        escaped(url)
    );
    for (report, before) in runs {
        section(&mut page, report, *before);
    }
    page.push_str("</body></html>\n");
    page
}

fn section(page: &mut String, report: &Report, before: Option<&Report>) {
    let name = report.name.as_deref().unwrap_or("The run");
    let _ = writeln!(
        page,
        "<h2>{}</h2>\n<p>{}</p>",
        escaped(name),
        escaped(&report.load())
    );
    numbers(page, report, before);
    for reached in &report.thresholds {
        let (class, word) = if reached.ok {
            ("dim", "reached")
        } else {
            ("bad", "not reached")
        };
        let text = escaped(&reached.to_string());
        let _ = writeln!(page, "<p class=\"{class}\">threshold {text}: {word}</p>");
    }
    let faults = report.faults.count();
    if faults > 0 {
        let _ = writeln!(page, "<p class=\"bad\">{} faults</p>", grouped(faults));
    }
    for warning in &report.warnings {
        let _ = writeln!(page, "<p class=\"dim\">note: {}</p>", escaped(warning));
    }
    plots(page, report, before);
}

fn numbers(page: &mut String, report: &Report, before: Option<&Report>) {
    page.push_str(
        "<table><tr><th></th><th>per second</th><th>p50</th><th>p90</th><th>p99</th><th>p99.9</th>\
         <th>max</th></tr>\n",
    );
    let name = if report.deliveries.is_some() {
        "published"
    } else {
        "answers"
    };
    let rows = [
        (name.to_owned(), Some(&report.answers)),
        ("delivered".to_owned(), report.deliveries.as_ref()),
        (
            format!("{name} before"),
            before.map(|before| &before.answers),
        ),
        (
            "delivered before".to_owned(),
            before.and_then(|before| before.deliveries.as_ref()),
        ),
    ];
    for (name, part) in rows {
        let Some(part) = part else { continue };
        let _ = write!(
            page,
            "<tr><td>{name}</td><td>{}</td>",
            grouped(part.per_second as u64)
        );
        match &part.latency_us {
            Some(Percentiles {
                p50,
                p90,
                p99,
                p999,
                max,
                ..
            }) => {
                for time in [p50, p90, p99, p999, max] {
                    let _ = write!(page, "<td>{}</td>", milliseconds(*time));
                }
            }
            None => page.push_str("<td></td><td></td><td></td><td></td><td></td>"),
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</table>\n");
}

fn plots(page: &mut String, report: &Report, before: Option<&Report>) {
    let over_time = |report: &Report, get: fn(&super::series::Sample) -> f64| -> Vec<(f64, f64)> {
        let samples = report.series.iter();
        samples.map(|sample| (sample.at, get(sample))).collect()
    };
    // An interval without messages has no latency.
    let latency = |report: &Report, get: fn(&super::series::Sample) -> f64| -> Vec<(f64, f64)> {
        let samples = report.series.iter().filter(|sample| sample.p50_us > 0.0);
        samples
            .map(|sample| (sample.at, get(sample) / 1e3))
            .collect()
    };
    let mut rate = Plot::new("messages a second, over seconds", Scale::Even, Scale::Even);
    let mut time = Plot::new("latency in ms, over seconds", Scale::Even, Scale::Log);
    let mut spread = Plot::new("latency in ms, by percentile", Scale::Nines, Scale::Log);
    for (report, is_before) in before
        .map(|before| (before, true))
        .into_iter()
        .chain([(report, false)])
    {
        rate.curve(
            "a",
            is_before,
            over_time(report, |sample| sample.per_second),
        );
        time.curve("a", is_before, latency(report, |sample| sample.p50_us));
        time.curve("b", is_before, latency(report, |sample| sample.p99_us));
        let points = report.distribution.iter();
        spread.curve(
            "a",
            is_before,
            points.map(|(at, us)| (*at, us / 1e3)).collect(),
        );
    }
    let dashed = if before.is_some() {
        " dashed: before"
    } else {
        ""
    };
    for (plot, key) in [
        (rate, ""),
        (time, "<i class=\"a\"></i>p50<i class=\"b\"></i>p99"),
        (spread, ""),
    ] {
        let _ = writeln!(page, "<h3>{}</h3>", plot.title());
        let _ = writeln!(page, "{}<p class=\"key\">{key}{dashed}</p>", plot.svg());
    }
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            c => escaped.push(c),
        }
    }
    escaped
}
