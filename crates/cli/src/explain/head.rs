//! The heads of the opening handshake: an HTTP request and its answer.

use std::sync::Arc;

use offhook_protocol::deflate::{
    DeflateConfig, DeflateMemory, DeflateParams, DeflateTerms, PERMESSAGE_DEFLATE, parse_extensions,
};
use offhook_protocol::handshake::{
    OriginPolicy, ServerConfig, ServerHandshake, ServerStep, accept_for_key,
};

use super::rule::Broken;

const EXTENSIONS: &str = "sec-websocket-extensions";

/// A head, line by line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// The lines without their ends; the first is the request or status line.
    pub(crate) lines: Vec<String>,
    /// Explanations of lines, by line number.
    pub(crate) meanings: Vec<(usize, String)>,
    /// Violated rules.
    pub(crate) broken: Vec<Broken>,
}

/// The parts of a request that the answer is checked against.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked {
    accept: Option<String>,
    offers_deflate: bool,
}

/// The result of an answer.
#[derive(Clone, Copy, Debug)]
pub(super) enum Answered {
    /// It opens the connection, perhaps with compression.
    Open(Option<DeflateParams>),
    /// The bytes that follow are not frames.
    No,
}

/// Servers accept far less.
pub(super) const LONGEST: usize = 64 * 1024;

/// Where a head ends; RFC 9112 §2.1.
pub(super) fn end(bytes: &[u8]) -> Option<usize> {
    let at = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    Some(at + 4)
}

impl Head {
    fn new(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let lines = text.trim_end().split("\r\n").map(str::to_owned).collect();
        Self {
            lines,
            meanings: Vec::new(),
            broken: Vec::new(),
        }
    }

    /// The client's head.
    pub(super) fn request(bytes: &[u8]) -> (Self, Asked) {
        let mut head = Self::new(bytes);
        let config = ServerConfig {
            origin: OriginPolicy::Any,
            ..ServerConfig::default()
        };
        match ServerHandshake::new(Arc::new(config)).receive(bytes) {
            Ok(ServerStep::Request { .. }) => {}
            Ok(_) => head.broken.push(Broken::new(
                "RFC 9112 §2.1",
                "a head must end with an empty line",
            )),
            Err(rejection) => {
                let rule = format!("{rejection} (a server answers {})", rejection.status());
                head.broken.push(Broken::new("RFC 6455 §4.2.1", rule));
            }
        }
        let accept = head.field("sec-websocket-key").map(|(line, key)| {
            let accept = accept_for_key(key.as_bytes());
            (line, String::from_utf8_lossy(&accept).into_owned())
        });
        if let Some((line, accept)) = &accept {
            head.meanings
                .push((*line, format!("the server answers {accept}")));
        }
        let offers = head.field(EXTENSIONS).map(|(_, offers)| offers);
        let asked = Asked {
            accept: accept.map(|(_, accept)| accept),
            offers_deflate: offers.is_some_and(|offers| offers.contains(PERMESSAGE_DEFLATE)),
        };
        (head, asked)
    }

    /// The server's head.
    pub(super) fn response(bytes: &[u8], asked: Option<&Asked>) -> (Self, Answered) {
        let mut head = Self::new(bytes);
        let status = head.lines.first().and_then(|line| line.split(' ').nth(1));
        if status != Some("101") {
            let line = "the connection is not opened: the bytes that follow are not frames";
            head.meanings.push((0, line.to_owned()));
            return (head, Answered::No);
        }
        head.check_upgrade();
        head.check_accept(asked);
        let deflate = head.deflate(asked);
        (head, Answered::Open(deflate))
    }

    /// RFC 6455 §4.2.2: the fields that switch the protocol.
    fn check_upgrade(&mut self) {
        for (name, expected) in [("upgrade", "websocket"), ("connection", "upgrade")] {
            let value = self.field(name).map(|(_, value)| value);
            let mut words = value.iter().flat_map(|value| value.split(','));
            let is_there = words.any(|word| word.trim().eq_ignore_ascii_case(expected));
            if !is_there {
                let rule = format!("the answer's {name} field must be {expected}");
                self.broken.push(Broken::new("RFC 6455 §4.2.2", rule));
            }
        }
    }

    fn check_accept(&mut self, asked: Option<&Asked>) {
        let Some((line, answer)) = self.field("sec-websocket-accept") else {
            let rule = "the answer must have a Sec-WebSocket-Accept";
            self.broken.push(Broken::new("RFC 6455 §4.2.2", rule));
            return;
        };
        match asked.and_then(|asked| asked.accept.as_deref()) {
            None => {}
            Some(accept) if accept == answer => {
                self.meanings
                    .push((line, "the correct answer to the client's key".to_owned()));
            }
            Some(accept) => {
                let rule = format!("Sec-WebSocket-Accept must be {accept} for the client's key");
                self.broken.push(Broken::new("RFC 6455 §4.2.2", rule));
            }
        }
    }

    fn deflate(&mut self, asked: Option<&Asked>) -> Option<DeflateParams> {
        let (line, value) = self.field(EXTENSIONS)?;
        if asked.is_some_and(|asked| !asked.offers_deflate) {
            let rule = "the answer must not name an extension that was not offered";
            self.broken.push(Broken::new("RFC 6455 §4.1", rule));
        }
        // The offer was the client's, so this only checks that the answer is consistent.
        let config = DeflateConfig::default().memory(DeflateMemory::Dedicated);
        let agreed = parse_extensions([value.as_bytes()])
            .map_err(|error| error.to_string())
            .and_then(|answer| config.confirm(&answer).map_err(|error| error.to_string()));
        match agreed {
            Ok(Some(params)) => {
                self.meanings.push((line, meaning(&params)));
                Some(params)
            }
            Ok(None) => None,
            Err(error) => {
                self.broken.push(Broken::new("RFC 7692 §7.1", error));
                None
            }
        }
    }

    /// The first field of this name, with its line's number.
    fn field(&self, name: &str) -> Option<(usize, String)> {
        let mut lines = self.lines.iter().enumerate().skip(1);
        lines.find_map(|(number, line)| {
            let (field, value) = line.split_once(':')?;
            let is_it = field.eq_ignore_ascii_case(name);
            is_it.then(|| (number, value.trim().to_owned()))
        })
    }
}

fn meaning(params: &DeflateParams) -> String {
    let side = |name, terms: DeflateTerms| {
        let context = if terms.context_takeover {
            "context kept"
        } else {
            "no context"
        };
        format!("{name} window 2^{}, {context}", terms.window_bits)
    };
    let (server, client) = (
        side("server", params.server()),
        side("client", params.client()),
    );
    format!("{server}; {client}")
}
