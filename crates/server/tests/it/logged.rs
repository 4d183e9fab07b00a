//! Refusals are logged for the operator once per kind, not once per attempt.

use std::{
    fmt::{self, Write},
    sync::{Mutex, Once},
};

use serde_json::json;
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

use crate::hall::{Hall, config};

/// Stores the log output of the whole process as text, since the first call of [`journal`].
pub(crate) struct Journal(Mutex<Vec<String>>);

/// What is logged from now on, by the servers of all tests that run at the same time.
pub(crate) fn journal() -> &'static Journal {
    static JOURNAL: Journal = Journal(Mutex::new(Vec::new()));
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| tracing::subscriber::set_global_default(&JOURNAL).unwrap());
    &JOURNAL
}

impl Journal {
    /// Everything so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

impl Subscriber for &'static Journal {
    /// As the setting `log.level` with a word: Offhook's own modules, and warnings of others.
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("offhook") || *metadata.level() <= Level::WARN
    }
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn event(&self, event: &Event<'_>) {
        let mut text = Text(event.metadata().level().to_string());
        event.record(&mut text);
        self.0.lock().unwrap().push(text.0);
    }
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        write!(self.0, " {field}={value:?}").unwrap();
    }
}

#[tokio::test]
async fn a_thousand_refusals_of_a_kind_are_logged_as_one_line_with_a_count() {
    // For the whole process: other tests' servers write here, too, but not about this channel.
    let journal = journal();
    let hall = Hall::open(config()).await;
    let mut caller = hall.caller().await;
    for _ in 0..1_000 {
        let request = json!({"type": "subscribe", "channel": "silent/as the grave"});
        caller.refused(request).await;
    }
    drop(caller);
    hall.close().await;
    let lines = journal.lines();
    let told: Vec<_> = lines
        .iter()
        .filter(|line| line.contains("silent/as the grave"))
        .collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].contains("WARN") && told[0].contains("forbidden"),
        "{told:?}"
    );
    let counted = |line: &&String| line.contains("more=999") && line.contains("forbidden");
    assert_eq!(
        lines.iter().filter(counted).count(),
        1,
        "the rest is counted"
    );
}
