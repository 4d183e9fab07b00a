//! CONNECT and CONNECTED: the version, the client's identity, and heart-beats.

use std::time::Duration;

use bytes::Bytes;
use offhook_engine::CommandId;

use super::{
    dialect::{Phase, Stomp},
    frame::{Frame, Invalid, Version},
    subscribing::WINDOW,
};
use crate::dialect::{Connect, Intent, Named, Welcome};

/// The longest client id in bytes. 256: client libraries generate ids of about thirty.
const CLIENT_ID: usize = 256;
/// The prefix of session names, which separates them from the sessions of MQTT clients with the
/// same id.
const PREFIX: &str = "stomp:";
/// The requested time that a session with durable subscriptions outlives its connection. The
/// server's setting limits it.
const KEPT: Duration = Duration::from_secs(u32::MAX as u64);
/// The shortest interval of the server's heart-beats, even if the client requests a shorter one. 1
/// s: a lost server is noticed soon, and a heart-beat costs little.
const SHORTEST: Duration = Duration::from_secs(1);

/// The parameters of a client, from its CONNECT.
#[derive(Clone, Copy, Debug)]
pub(super) struct Client {
    pub(super) version: Version,
    /// Whether it gave a client id.
    pub(super) has_name: bool,
    /// The interval at which the server sends heart-beats; `None` if it sends none.
    pub(super) server_beats: Option<Duration>,
    /// The interval at which the client promises to send something.
    pub(super) client_beats: Option<Duration>,
}

impl Client {
    pub(super) const UNKNOWN: Self = Self {
        version: Version::V10,
        has_name: false,
        server_beats: None,
        client_beats: None,
    };
}

impl Stomp {
    pub(super) fn connect(&mut self, frame: &Frame) -> Result<(), Invalid> {
        let version = version_of(frame)?;
        self.client.version = version;
        self.decoder.set_version(version);
        if let Some(given) = frame.header("heart-beat") {
            (self.client.server_beats, self.client.client_beats) = self.agree(given)?;
        }
        let id = frame.header("client-id").unwrap_or_default();
        if id.len() > CLIENT_ID {
            let detail = format!("client-id: {} bytes; the limit is {CLIENT_ID}", id.len());
            return Err(Invalid::new("bad header", detail));
        }
        self.client.has_name = !id.is_empty();
        let named = self.client.has_name.then(|| {
            Box::new(Named {
                name: [PREFIX, id].concat(),
                fresh: false,
                expiry: Some(KEPT),
                window: WINDOW,
                will: None,
            })
        });
        let passcode = frame.header("passcode").filter(|token| !token.is_empty());
        self.phase = Phase::Asked;
        self.queue.push_back(Intent::Connect(Connect {
            id: CommandId(0),
            token: passcode.map(str::to_owned),
            resume: None,
            info: Bytes::new(),
            positions: Vec::new(),
            lineage: false,
            named,
        }));
        Ok(())
    }

    /// The intervals of the server's and the client's heart-beats (1.2 "Heart-beating").
    fn agree(&self, given: &str) -> Result<(Option<Duration>, Option<Duration>), Invalid> {
        let millis = |text: &str| text.trim().parse::<u32>().ok().map(u64::from);
        let both = given.split_once(',');
        let both = both.and_then(|(can, wants)| Some((millis(can)?, millis(wants)?)));
        let Some((can, wants)) = both else {
            let shown: String = given.chars().take(40).collect();
            let detail =
                format!("heart-beat: expected two numbers like 10000,10000, found {shown:?}");
            return Err(Invalid::new("bad header", detail));
        };
        let ours = self.settings.heart_beat;
        let agreed = |given: u64| (given > 0).then(|| Duration::from_millis(given));
        let server = agreed(wants).map(|wants| wants.max(ours.min(SHORTEST)));
        let client = agreed(can).map(|can| can.max(ours));
        // An interval of 0 in the settings disables heart-beats.
        let is_on = !ours.is_zero();
        Ok((server.filter(|_| is_on), client.filter(|_| is_on)))
    }

    pub(super) fn connected(&self, welcome: &Welcome<'_>) -> Frame {
        let frame = Frame::new("CONNECTED").with("version", self.client.version.number());
        let frame = frame
            .with("session", &welcome.session.to_string())
            .with("server", concat!("offhook/", env!("CARGO_PKG_VERSION")));
        let ours = self.settings.heart_beat;
        let sends = ours.min(SHORTEST);
        let frame = frame.with(
            "heart-beat",
            &format!("{},{}", sends.as_millis(), ours.as_millis()),
        );
        match welcome.user {
            "" => frame,
            user => frame.with("user-name", user),
        }
    }
}

/// The newest version that both sides support (1.2 "Protocol Negotiation").
fn version_of(frame: &Frame) -> Result<Version, Invalid> {
    let Some(given) = frame.header("accept-version") else {
        return Ok(Version::V10);
    };
    let accepts = |version: &Version| given.split(',').any(|one| one.trim() == version.number());
    Version::ALL.into_iter().find(accepts).ok_or_else(|| {
        let shown: String = given.chars().take(40).collect();
        let detail = format!(
            "accept-version: this server supports 1.0, 1.1 and 1.2, and the client {shown:?}"
        );
        Invalid::new("unsupported version", detail)
    })
}
