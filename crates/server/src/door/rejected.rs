//! A handshake that is invalid, or whose page may not connect: what the client and the operator are
//! told.

use std::fmt;

use offhook::{
    OriginPolicy,
    protocol::handshake::{Carrier, Rejection, Response, Scheme},
};

use super::{Peer, refusal};
use crate::{refused::Client, worker::Worker};

/// A rejected handshake, with what its head says of the client.
#[derive(Debug)]
pub(super) struct Rejected {
    rejection: Rejection,
    origin: Option<String>,
    path: Option<String>,
    /// What to do about a page that may not connect.
    advice: Option<String>,
}

impl Rejected {
    /// `head` are the bytes that were received, valid or not.
    pub(super) fn new(rejection: Rejection, head: &[u8], worker: &Worker) -> Self {
        let origin = field(head, "origin");
        let own = &worker.handshake;
        let advice = match &origin {
            Some(origin) if matches!(rejection, Rejection::OriginDenied) => {
                let host = field(head, "host").unwrap_or_default();
                Some(advice(origin, &host, &own.origin, own.scheme))
            }
            _ => None,
        };
        Self {
            rejection,
            origin,
            path: path(head),
            advice,
        }
    }

    /// The kind of refusal, for the log and the metrics.
    pub(super) const fn kind(&self) -> &'static str {
        match self.advice {
            Some(_) => "origin",
            None => "handshake",
        }
    }

    pub(super) fn client(&self, peer: Peer) -> Client<'_> {
        Client {
            peer: Some(peer),
            origin: self.origin.as_deref(),
            path: self.path.as_deref(),
            ..Client::default()
        }
    }

    pub(super) fn response(&self) -> Response {
        match &self.advice {
            Some(advice) => refusal(403, advice).response(Carrier::Upgrade),
            None => self.rejection.response(Carrier::Upgrade),
        }
    }
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.advice {
            Some(advice) => f.write_str(advice),
            None => self.rejection.fmt(f),
        }
    }
}

/// Why a page may not connect. Behind a proxy, the usual reasons are that the proxy terminates TLS,
/// and that it does not forward `Host`.
fn advice(origin: &str, host: &str, policy: &OriginPolicy, scheme: Scheme) -> String {
    let allow = format!("add it to the setting `origins` (--origins {origin})");
    if !matches!(policy, OriginPolicy::SameOrigin) {
        return format!("pages from {origin} may not connect here; {allow}");
    }
    let own = format!("{}://{host}", scheme.as_str());
    let authority = origin.split_once("://").map_or("", |(_, authority)| authority);
    let why = if authority.eq_ignore_ascii_case(host) {
        "if a proxy terminates TLS, set `behind_tls_proxy`; otherwise"
    } else {
        "a proxy has to forward the client's Host, with its port (nginx: $http_host); otherwise"
    };
    format!("pages from {origin} may not connect here, only those from {own}: {why} {allow}")
}

/// The path of a request's first line, without the query.
fn path(head: &[u8]) -> Option<String> {
    let line = head.split(|byte| *byte == b'\n').next()?;
    let target = line.split(|byte| *byte == b' ').nth(1)?;
    let path = target.split(|byte| *byte == b'?').next()?;
    Some(String::from_utf8_lossy(path).into_owned())
}

/// The first field of this name.
fn field(head: &[u8], name: &str) -> Option<String> {
    let lines = head.split(|byte| *byte == b'\n').skip(1);
    let value = lines
        .take_while(|line| !line.trim_ascii().is_empty())
        .find_map(|line| {
            let colon = line.iter().position(|byte| *byte == b':')?;
            let (found, value) = line.split_at(colon);
            let is_it = found.eq_ignore_ascii_case(name.as_bytes());
            is_it.then(|| value.get(1..)).flatten()
        })?;
    Some(String::from_utf8_lossy(value.trim_ascii()).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &[u8] = b"GET /ws?token=secret HTTP/1.1\r\nHost: chat.example:8443\r\n\
                          ORIGIN:  https://chat.example:8443 \r\n\r\nOrigin: no";

    #[test]
    fn path_and_fields_are_found_in_any_head() {
        assert_eq!(path(HEAD).as_deref(), Some("/ws"));
        assert_eq!(field(HEAD, "origin").as_deref(), Some("https://chat.example:8443"));
        assert_eq!(field(HEAD, "nothing"), None);
        for broken in [&b""[..], b"\r\n", b"GET", b"\xff \xff\n:\n\n"] {
            let _any = (path(broken), field(broken, "origin"));
        }
    }

    #[test]
    fn the_advice_names_what_a_proxy_does_wrong() {
        let same = OriginPolicy::SameOrigin;
        let tls = advice("https://a.example", "a.example", &same, Scheme::Http);
        assert!(tls.contains("behind_tls_proxy") && tls.contains("http://a.example"), "{tls}");
        let host = advice("https://a.example:8443", "a.example", &same, Scheme::Https);
        assert!(host.contains("$http_host"), "{host}");
        let list = advice("https://b.example", "a.example", &OriginPolicy::Any, Scheme::Https);
        assert!(list.contains("--origins https://b.example"), "{list}");
    }
}
