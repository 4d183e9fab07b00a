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

/// Collects what the servers of all concurrent tests log from now on.
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
    /// Like the default of `log.level`: Offhook's own modules, and warnings of others.
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
    // The journal is for the whole process. Other tests' servers write to it, too, but not about this
    // channel.
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
    for part in [
        "WARN",
        "forbidden",
        "address=127.0.0.1",
        "connection=",
        "session=",
        "setting=\"channels\"",
    ] {
        assert!(told[0].contains(part), "{part}: {told:?}");
    }
    let counted = |line: &&String| line.contains("more=999") && line.contains("forbidden");
    assert_eq!(
        lines.iter().filter(counted).count(),
        1,
        "the rest is counted"
    );
}

#[tokio::test]
async fn a_refused_page_is_logged_with_its_address_origin_path_and_the_setting_that_decided() {
    let journal = journal();
    let hall = Hall::open(config()).await;
    let handshake = |host: &str, origin: &str| {
        format!(
            "GET /ws?token=a-secret HTTP/1.1\r\nHost: {host}\r\nOrigin: {origin}\r\n\
             Upgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Protocol: offhook.v1.json\r\n\r\n"
        )
    };
    let line_with = |part: &str| {
        let lines = journal.lines();
        lines
            .into_iter()
            .find(|line| line.contains(part))
            .expect("it is logged")
    };
    // As behind a proxy that terminates TLS.
    let page = "https://logged.example";
    let (status, _, body) = hall.raw(&handshake("logged.example", page)).await;
    assert_eq!(status, 403);
    assert!(body.contains("behind_tls_proxy"), "{body}");
    let told = line_with("origin=https://logged.example");
    for part in [
        "WARN",
        "kind=\"origin\"",
        "connection=",
        "address=127.0.0.1",
        "path=/ws",
        "setting=\"origins\"",
        "behind_tls_proxy",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let secret = |line: &String| line.contains("a-secret");
    assert!(!journal.lines().iter().any(secret));

    // As behind a proxy that does not forward the port.
    let page = "http://logged.example:8443";
    let (_, _, body) = hall.raw(&handshake("logged.example", page)).await;
    assert!(body.contains("$http_host"), "{body}");
    // A host name that is not the server's.
    let other = handshake("other.example", "http://other.example");
    assert_eq!(hall.raw(&other).await.0, 421);
    let told = line_with("origin=http://other.example");
    assert!(told.contains("setting=\"hosts\""), "{told}");
}
