//! The server's logs: their destination and format.

use std::io;

use offhook_server::config::{LogFormat, Logging};
use tracing_subscriber::{
    Layer as _,
    filter::{LevelFilter, Targets},
    fmt,
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

/// Writes logs to stderr from now on.
pub(super) fn write(config: &Logging) {
    let lines = fmt::layer().with_writer(io::stderr);
    let layer = match config.format {
        LogFormat::Text => lines.with_ansi(has_colours()).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry()
        .with(layer.with_filter(levels(&config.level)))
        .init();
}

/// A level without a target applies to this program; its dependencies log only what matters.
fn levels(text: &str) -> Targets {
    if let Ok(level) = text.parse::<LevelFilter>() {
        let others = level.min(LevelFilter::WARN);
        return Targets::new()
            .with_default(others)
            .with_target("offhook", level);
    }
    // The configuration has validated it.
    text.parse().unwrap_or_default()
}

/// Decided as elsewhere in this program: by `NO_COLOR` and similar variables, and by whether it is
/// a terminal.
fn has_colours() -> bool {
    anstream::AutoStream::choice(&io::stderr()) != anstream::ColorChoice::Never
}
