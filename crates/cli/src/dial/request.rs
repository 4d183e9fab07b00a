//! Converts flags to options of the library's connection builder.

use std::{sync::Arc, time::Duration};

use offhook::protocol::deflate::DeflateConfig;
use offhook::{Connect, HttpVersion};
use offhook_client::{Position, Since};

use super::Dial;
use super::frames::FrameLog;
use super::output::Output;
use crate::failure::Failure;

impl Dial {
    /// Applies all flags except subprotocols.
    pub(super) fn ask(&self, connect: Connect, output: &Arc<Output>) -> Result<Connect, Failure> {
        // What is shown are the bytes of a handshake over HTTP/1.1.
        let mut connect = connect.version(HttpVersion::Http1);
        for (name, value) in &self.header {
            connect = connect.header(name, value);
        }
        if let Some(origin) = &self.origin {
            connect = connect.origin(origin);
        }
        if self.deflate {
            connect = connect.deflate(DeflateConfig::default());
        }
        if let Some(proxy) = &self.proxy {
            connect = connect.proxy(proxy);
        }
        if self.no_proxy {
            connect = connect.no_proxy();
        }
        if let Some(tls) = self.trust.tls()? {
            connect = connect.tls(tls);
        }
        if self.frames {
            connect = connect.wiretap(Arc::new(FrameLog::new(Arc::clone(output))));
        }
        Ok(connect)
    }
}

/// `Name: value`.
pub(crate) fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text
        .split_once(':')
        .ok_or("expected NAME: VALUE, such as 'Authorization: Bearer 42'")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

/// `1s`, `500ms`.
pub(crate) fn time(text: &str) -> Result<Duration, String> {
    offhook_server::config::parse_time(text)
        .ok_or_else(|| "expected a time like 500ms, 1s or 5m".to_owned())
}

/// The position to start from.
pub(super) fn since(text: &str) -> Result<Since, String> {
    match text {
        "now" => Ok(Since::Now),
        "start" => Ok(Since::Start),
        "state" => Ok(Since::State),
        _ => {
            let last = text.parse().map(Since::Last).ok();
            let position = || text.parse::<Position>().map(Since::After).ok();
            let expected =
                "expected now, start, state, a number, or a position like 1700000000000000.42";
            last.or_else(position).ok_or_else(|| expected.to_owned())
        }
    }
}
