//! The results as an HTML page: one file, without scripts, readable in the light, in the dark and on a phone.

use std::fmt::Write as _;

use super::carrier::ALL;
use super::figure::{self, Row};
use super::results::{Cell, Results};
use super::table::{milliseconds, processor};

const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1c2126;--dim:#59636c;--paper:#fff;--rule:#dde2e6;--a:#0b62c4;\
--b:#a8520b;--c:#7a3ab8}\
@media(prefers-color-scheme:dark){:root{--ink:#e8ebee;--dim:#9aa5ae;--paper:#14181b;--rule:#343c42;\
--a:#6db3ff;--b:#ffad66;--c:#d29bff}}\
body{font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:70rem;\
margin:1.5rem auto;padding:0 1rem}\
h1{font-size:1.4rem}h2{font-size:1.15rem;margin:2.2rem 0 .6rem}h3{font-size:1rem;margin:0 0 .2rem}\
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(20rem,100%),1fr));gap:1.5rem 2.5rem}\
figure{margin:0}figcaption,.dim{color:var(--dim);font-size:.9rem}\
svg{width:100%;height:auto;display:block}svg text{fill:var(--ink);font-size:11px}\
svg .grid{stroke:var(--rule)}svg line,svg path{stroke-width:2;fill:none}svg .grid{stroke-width:1}\
svg circle{stroke-width:1.6}svg .open{fill:var(--paper)}\
svg .a{stroke:var(--a)}svg .b{stroke:var(--b)}svg .c{stroke:var(--c)}\
svg .a.full,svg rect.a{fill:var(--a)}svg .b.full,svg rect.b{fill:var(--b)}svg .c.full,svg rect.c{fill:var(--c)}\
.key i{display:inline-block;width:1.3em;border-top:3px solid;vertical-align:middle;margin:0 .3em 0 0}\
.key span{margin-right:1em;white-space:nowrap}.key .a{border-color:var(--a)}.key .b{border-color:var(--b)}.key .c{border-color:var(--c)}\
.wide{overflow-x:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums}\
th,td{text-align:right;padding:.2rem .8rem .2rem 0;border-bottom:1px solid var(--rule);white-space:nowrap}\
th:first-child,td:first-child{text-align:left}th{color:var(--dim);font-weight:500}";

/// The classes of colours; further losses begin again.
const COLOURS: [&str; 3] = ["a", "b", "c"];

fn colour(number: usize) -> &'static str {
    COLOURS.get(number % COLOURS.len()).copied().unwrap_or("a")
}

pub(super) fn page(results: &Results) -> String {
    let mut page = String::new();
    let _ = write!(
        page,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>offhook bench transports</title>\
         <style>{STYLE}</style></head><body>\n<h1>Transports under packet loss</h1>\n<p>{}.</p>\n\
         <div class=\"plots\">\n",
        results.conditions.load()
    );
    by_loss(
        &mut page,
        results,
        "Latency in ms",
        "From publishing to receipt: the median (dot) and the 99th percentile (ring), on a logarithmic scale.",
        |cell| (cell.latency.p50, cell.latency.p99),
    );
    by_loss(
        &mut page,
        results,
        "Reconnecting in ms",
        "From the first packet of a new connection until a missed message has arrived: the median (dot) and the \
         longest (ring), on a logarithmic scale.",
        |cell| (cell.reconnect.p50, cell.reconnect.max),
    );
    bytes(&mut page, results);
    processor_time(&mut page, results);
    blocking(&mut page, results);
    page.push_str("</div>\n");
    for loss in &results.conditions.losses {
        table(&mut page, results, *loss);
    }
    blocking_table(&mut page, results);
    for failure in &results.failures {
        let _ = writeln!(page, "<p>{}</p>", escaped(failure));
    }
    page.push_str("</body></html>\n");
    page
}

/// A plot, unless there is nothing to show.
fn plot(page: &mut String, title: &str, svg: &str, key: &str, caption: &str) {
    if svg.is_empty() {
        return;
    }
    let _ = writeln!(
        page,
        "<figure><h3>{title}</h3>{svg}<figcaption><p class=\"key\">{key}</p><p>{caption}</p></figcaption></figure>"
    );
}

/// A key of colours and their meaning.
fn key(names: impl Iterator<Item = String>) -> String {
    let entries = names
        .enumerate()
        .map(|(number, name)| format!("<span><i class=\"{}\"></i>{name}</span>", colour(number)));
    entries.collect()
}

fn of(results: &Results, at: usize, loss: f64) -> Option<&Cell> {
    let carrier = ALL.get(at).copied()?;
    let mut cells = results.cells.iter();
    cells.find(|cell| cell.carrier == carrier && cell.loss == loss)
}

/// Ranges of each transport, one for each loss.
fn by_loss(
    page: &mut String,
    results: &Results,
    title: &str,
    caption: &str,
    get: fn(&Cell) -> (f64, f64),
) {
    let losses = &results.conditions.losses;
    let rows = ALL.iter().enumerate().map(|(at, carrier)| Row {
        name: carrier.title().to_owned(),
        ranges: losses
            .iter()
            .enumerate()
            .filter_map(|(number, loss)| {
                let (from, to) = get(of(results, at, *loss)?);
                Some((colour(number), from, to))
            })
            .collect(),
    });
    let rows: Vec<_> = rows.filter(|row| !row.ranges.is_empty()).collect();
    let svg = figure::ranges(title, "ms", &rows);
    let key = key(losses.iter().map(|loss| format!("{loss} % loss")));
    plot(page, title, &svg, &key, caption);
}

/// The cells of the lowest loss.
fn first(results: &Results) -> impl Iterator<Item = &Cell> {
    let lowest = results.conditions.losses.first().copied().unwrap_or(0.0);
    results.cells.iter().filter(move |cell| cell.loss == lowest)
}

fn bytes(page: &mut String, results: &Results) {
    let rows = first(results).map(|cell| {
        let parts = vec![("a", cell.bytes_down), ("b", cell.bytes_up)];
        (cell.carrier.title().to_owned(), parts)
    });
    let svg = figure::bars("Bytes for each delivery", "B", &rows.collect::<Vec<_>>());
    let lowest = results.conditions.losses.first().copied().unwrap_or(0.0);
    let caption = format!("At {lowest} % loss: {}.", results.conditions.counted());
    let names = ["to the client", "to the server"].map(str::to_owned);
    plot(
        page,
        "Bytes for each delivery",
        &svg,
        &key(names.into_iter()),
        &caption,
    );
}

fn processor_time(page: &mut String, results: &Results) {
    let rows = first(results).filter_map(|cell| {
        let parts = vec![("a", cell.processor_us?)];
        Some((cell.carrier.title().to_owned(), parts))
    });
    let title = "Processor time of the server in µs for each delivery";
    let svg = figure::bars(title, "µs", &rows.collect::<Vec<_>>());
    let caption = "With its share of publishing. At this low load most of it is the cost of waking up; under full \
                   load a delivery costs far less.";
    plot(page, title, &svg, "", caption);
}

fn blocking(page: &mut String, results: &Results) {
    let curves = results.blocking.iter().enumerate();
    let curves: Vec<_> = curves
        .map(|(number, blocking)| (colour(number), blocking.curve.clone()))
        .collect();
    let title = "One lost packet: the delay of other channels in ms";
    let svg = figure::curves(title, "ms", &curves);
    let names = results.blocking.iter();
    let key = key(names.map(|blocking| blocking.carrier.title().to_owned()));
    let caption = "A packet with a message of one channel is lost. The curves show the median delay of the messages \
                   of three other channels, by when they were published after it. On one stream they wait until the \
                   lost packet is sent again; with a stream for each subscription they do not.";
    plot(page, title, &svg, &key, caption);
}

fn table(page: &mut String, results: &Results, loss: f64) {
    let mut cells = results
        .cells
        .iter()
        .filter(|cell| cell.loss == loss)
        .peekable();
    if cells.peek().is_none() {
        return;
    }
    let _ = writeln!(
        page,
        "<h2>{loss} % loss</h2><div class=\"wide\"><table><tr><th>transport</th><th>p50 ms</th><th>p99 ms</th>\
         <th>max ms</th><th>bytes down</th><th>bytes up</th><th>CPU µs</th><th>reconnect ms</th><th>longest ms</th>\
         <th>too late</th><th>missing</th><th>packets lost</th></tr>"
    );
    for cell in cells {
        let _ = writeln!(
            page,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{:.0}</td><td>{:.0}</td><td>{}</td><td>{}</td>\
             <td>{}</td><td>{}</td><td>{}</td><td>{} of {}</td></tr>",
            cell.carrier.title(),
            milliseconds(cell.latency.p50),
            milliseconds(cell.latency.p99),
            milliseconds(cell.latency.max),
            cell.bytes_down,
            cell.bytes_up,
            processor(cell.processor_us),
            milliseconds(cell.reconnect.p50),
            milliseconds(cell.reconnect.max),
            cell.not_reconnected,
            cell.expected - cell.arrived,
            cell.lost,
            cell.packets,
        );
    }
    page.push_str("</table></div>\n");
}

fn blocking_table(page: &mut String, results: &Results) {
    if results.blocking.is_empty() {
        return;
    }
    page.push_str(
        "<h2>One lost packet</h2><div class=\"wide\"><table><tr><th>transport</th><th>lost message, p50 ms</th>\
         <th>other channels, p50 ms</th><th>p99 ms</th><th>max ms</th><th>trials</th></tr>\n",
    );
    for blocking in &results.blocking {
        let _ = writeln!(
            page,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            blocking.carrier.title(),
            milliseconds(blocking.own.p50),
            milliseconds(blocking.others.p50),
            milliseconds(blocking.others.p99),
            milliseconds(blocking.others.max),
            blocking.trials
        );
    }
    page.push_str("</table></div>\n");
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
