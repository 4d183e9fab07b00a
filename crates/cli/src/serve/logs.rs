//! The server's logs: their destination, format and level.

use std::{io, panic};

use offhook_server::config::{LogFormat, Logging};
use tracing_subscriber::{
    Layer as _, Registry,
    filter::{LevelFilter, Targets},
    fmt,
    layer::SubscriberExt as _,
    reload,
    util::SubscriberInitExt as _,
};

/// The logs of this process.
#[derive(Debug)]
pub(super) struct Logs {
    levels: reload::Handle<Targets, Registry>,
}

impl Logs {
    /// Writes logs to stderr from now on.
    pub(super) fn write(config: &Logging) -> Self {
        let lines = fmt::layer().with_writer(io::stderr);
        let layer = match config.format {
            LogFormat::Text => lines.with_ansi(has_colours()).boxed(),
            LogFormat::Json => {
                log_panics();
                lines.json().flatten_event(true).boxed()
            }
        };
        let (filter, handle) = reload::Layer::new(levels(&config.level));
        tracing_subscriber::registry()
            .with(layer.with_filter(filter))
            .init();
        Self { levels: handle }
    }

    /// Changes the levels.
    pub(super) fn set_level(&self, level: &str) {
        if let Err(error) = self.levels.reload(levels(level)) {
            tracing::error!(%error, "the log level cannot be changed");
        }
    }
}

/// Logs panics, because every line must be an object.
fn log_panics() {
    panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        let message = panic.payload_as_str().unwrap_or("no message");
        tracing::error!(place, "a thread has panicked: {message}");
    }));
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

/// Whether to use colours, decided as elsewhere in this program: by `NO_COLOR` and similar
/// variables, and by whether stderr is a terminal.
fn has_colours() -> bool {
    anstream::AutoStream::choice(&io::stderr()) != anstream::ColorChoice::Never
}
