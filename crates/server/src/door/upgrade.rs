//! Decides which WebSockets are opened: by path, then by subprotocol, within the limits.

use std::{sync::Arc, time::Instant};

use offhook::{
    Settings, Transport, WebSocket,
    protocol::handshake::{Negotiated, Refusal, Request, Response, ServerDecision},
};

use offhook_engine::Identity;

use super::{
    Place, hosts, refusal,
    routes::{NoRoute, Spoken},
};
use crate::{
    auth::{Places, TwoTokens, presented},
    refused::Client,
    tokens::random_bytes,
    worker::{Approach, Guest, Pressure, Verified, Worker, now},
};

/// How long a token in a URL may be valid, unless the configuration allows tokens in URLs. 15
/// minutes: this limits the use of a token that is read from a proxy's log, and is long enough for
/// a page to request a new one.
const URL_TOKEN_MS: u64 = 15 * 60 * 1000;

/// An accepted WebSocket that is not created from its stream yet.
pub(crate) struct Way {
    pub(crate) negotiated: Negotiated,
    /// Bytes received after the handshake.
    pub(crate) unread: Vec<u8>,
}

impl Way {
    pub(crate) fn into_socket(
        self,
        stream: impl Into<Transport>,
        settings: &Settings,
    ) -> WebSocket {
        // The dialect was chosen by it; an idle connection does not keep its name.
        let negotiated = Negotiated {
            protocol: None,
            ..self.negotiated
        };
        WebSocket::server(stream, negotiated, &self.unread, settings)
    }
}

/// An accepted handshake.
pub(crate) struct Upgrade {
    pub(crate) response: Response,
    pub(crate) negotiated: Negotiated,
    /// The client's identity, and the dialect of the connection.
    pub(crate) guest: Guest,
}

/// Decides about a valid handshake: accepts it, or returns the refusal.
pub(crate) fn upgrade(
    worker: &Worker,
    mut decision: ServerDecision,
    place: &mut Place,
) -> Result<Upgrade, Response> {
    let (spoken, identity) = match check(worker, &mut decision, place) {
        Ok(checked) => checked,
        Err(away) => {
            let client = Client::with(Some(place.peer()), decision.request());
            worker.note_refusal(away.kind, &away.sentence, client);
            return Err(decision.reject(away.refusal()));
        }
    };
    let approach = approach(worker, decision.request(), place, Places::Handshake);
    let upgrades = (spoken.upgrades)(decision.request());
    let speaker = (spoken.begin)(&worker.shared, decision.request());
    let accepted = decision.accept();
    Ok(Upgrade {
        response: accepted.response,
        negotiated: accepted.negotiated,
        guest: Guest {
            speaker,
            identity,
            approach,
            peer: Some(place.peer()),
            upgrades,
        },
    })
}

/// Why a client may not connect.
#[derive(Debug)]
pub(crate) struct TurnedAway {
    /// For the log.
    pub(crate) kind: &'static str,
    /// The status of the answer.
    pub(crate) status: u16,
    /// What is wrong and what to do.
    pub(crate) sentence: String,
    /// An additional header field of the answer.
    pub(crate) field: Option<(&'static str, String)>,
}

impl TurnedAway {
    fn new(kind: &'static str, status: u16, sentence: impl Into<String>) -> Self {
        Self {
            kind,
            status,
            sentence: sentence.into(),
            field: None,
        }
    }

    fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.field = Some((name, value.into()));
        self
    }

    fn refusal(&self) -> Refusal {
        let refusal = refusal(self.status, &self.sentence);
        match &self.field {
            None => refusal,
            Some((name, value)) => refusal
                .header(name, value)
                .expect("numbers and the sentences here are valid field values"),
        }
    }
}

fn check(
    worker: &Worker,
    decision: &mut ServerDecision,
    place: &mut Place,
) -> Result<(Spoken, Option<Verified>), TurnedAway> {
    check_host(worker, decision.request())?;
    let spoken = match worker.shared.routes.choose(decision) {
        Ok(spoken) => spoken,
        Err(NoRoute::Path(paths)) => {
            let sentence =
                format!("no WebSocket is served at this path; the server's is at {paths}");
            return Err(TurnedAway::new("path", 404, sentence));
        }
        Err(NoRoute::Subprotocol(known)) => {
            let sentence = format!("offer the subprotocol {known} (Sec-WebSocket-Protocol)");
            return Err(TurnedAway::new("subprotocol", 400, sentence));
        }
        Err(NoRoute::Request(sentence)) => {
            return Err(TurnedAway::new("request", 400, sentence));
        }
    };
    let identity = admit(worker, decision.request(), place, Places::Handshake)?;
    let anonymous = || Verified {
        identity: Arc::new(Identity::stranger()),
        at_ms: now().unix_ms,
    };
    let identity = identity.or_else(|| spoken.admits.then(anonymous));
    Ok((spoken, identity))
}

/// Refuses a page that reached the server by a name that is not the server's.
fn check_host(worker: &Worker, request: &Request) -> Result<(), TurnedAway> {
    if hosts::is_ours(request, &worker.live().config) {
        return Ok(());
    }
    Err(other_host(request))
}

/// Whether a client may open a connection with an ordinary request, and who it is.
pub(crate) fn admit_request(
    worker: &Worker,
    request: &Request,
    place: &mut Place,
) -> Result<Option<Verified>, TurnedAway> {
    let config = &worker.shared.config;
    let token = presented(request, config, Places::Request);
    let has_token = !matches!(token, Ok(None));
    if !hosts::is_ours_for_request(request, has_token, &worker.live().config) {
        return Err(other_host(request));
    }
    admit(worker, request, place, Places::Request)
}

fn other_host(request: &Request) -> TurnedAway {
    let host = request.authority();
    let sentence = format!(
        "{host:?} is not a name of this server; if it should be, add it to the setting `hosts`"
    );
    // RFC 9110 §15.5.20.
    TurnedAway::new("host", 421, sentence)
}

/// Whether a client may open a connection now, and its identity according to its token, or else to
/// its certificate; none without either.
fn admit(
    worker: &Worker,
    request: &Request,
    place: &mut Place,
    places: Places,
) -> Result<Option<Verified>, TurnedAway> {
    has_room(worker, place, places)?;
    // Done last, because verifying a signature costs more than all other checks.
    let by_certificate = place.certified(now().unix_ms);
    match (by_token(worker, request, places)?, by_certificate) {
        (ByToken::None, by_certificate) => Ok(by_certificate),
        (ByToken::Backend, _) => Ok(None),
        (ByToken::Verified(token), Some(own)) if token.identity.user != own.identity.user => {
            let sentence = "token: it belongs to another user than the client's certificate";
            Err(invalid_token(sentence.to_owned()))
        }
        (ByToken::Verified(token), _) => Ok(Some(token)),
    }
}

/// RFC 6750 §3.1.
fn invalid_token(sentence: String) -> TurnedAway {
    TurnedAway::new("token", 401, sentence)
        .with("WWW-Authenticate", "Bearer error=\"invalid_token\"")
}

/// The identity in the token of a request.
enum ByToken {
    Verified(Verified),
    /// Only the backend can verify the token.
    Backend,
    /// There is no token.
    None,
}

/// Whether the server has room for another connection now. Each call counts as a handshake.
pub(crate) fn has_room(
    worker: &Worker,
    place: &mut Place,
    places: Places,
) -> Result<(), TurnedAway> {
    if place.is_over() {
        let sentence = "the server has reached its limit of connections";
        return Err(busy(worker, "connections", sentence));
    }
    if worker.shared.memory.pressure() >= Pressure::Severe {
        let sentence = "the server's memory is in use by existing connections and channels";
        return Err(busy(worker, "memory", sentence));
    }
    let is_let = match places {
        Places::Handshake => place.handshake(Instant::now()),
        Places::Request => place.request(Instant::now()),
    };
    if !is_let {
        return Err(busy(worker, "handshakes", "too many handshakes at once"));
    }
    Ok(())
}

/// The facts about a client that are sent to the backend; none if the backend does not decide about
/// clients.
pub(crate) fn approach(
    worker: &Worker,
    request: &Request,
    place: &Place,
    places: Places,
) -> Option<Box<Approach>> {
    let backend = worker.shared.backend.as_ref();
    backend.filter(|backend| backend.asks_about_clients())?;
    let token = presented(request, &worker.shared.config, places);
    let token = token.ok().flatten();
    let token = token.filter(|_| worker.shared.passes_tokens_on());
    Some(Box::new(Approach {
        token: token.map(|token| token.text.to_owned()),
        origin: request.origin().map(str::to_owned),
        address: Some(place.address()),
    }))
}

/// The identity in the token of a handshake or another request.
fn by_token(worker: &Worker, request: &Request, places: Places) -> Result<ByToken, TurnedAway> {
    let config = &worker.shared.config;
    let token = presented(request, config, places);
    let token = token.map_err(|TwoTokens| {
        let sentence = "the handshake has two tokens; send one";
        TurnedAway::new("token", 400, sentence)
    })?;
    let Some(token) = token else {
        return Ok(ByToken::None);
    };
    if worker.shared.passes_tokens_on() {
        return Ok(ByToken::Backend);
    }
    let now_ms = now().unix_ms;
    let identity = worker.shared.auth.identity(token.text, now_ms);
    let identity = identity.map_err(|no| {
        let sentence = no.detail.into_owned();
        let Some(pause) = no.retry_after else {
            return invalid_token(sentence);
        };
        let seconds = pause.as_secs().max(1).to_string();
        TurnedAway::new("token", 503, sentence).with("Retry-After", seconds)
    })?;
    let long = |ends: u64| ends > now_ms.saturating_add(URL_TOKEN_MS);
    if token.is_in_url && !config.auth.query && identity.ends_ms.is_none_or(long) {
        let sentence = "token: URLs are written to logs, so a token in a URL has to expire within 15 minutes; \
                        use one that expires earlier, or send it as Authorization: Bearer";
        return Err(invalid_token(sentence.to_owned()));
    }
    Ok(ByToken::Verified(Verified {
        identity: Arc::new(identity),
        at_ms: now_ms,
    }))
}

/// RFC 9110 §10.2.3: when to return, at a different time for each client.
fn busy(worker: &Worker, kind: &'static str, sentence: &str) -> TurnedAway {
    let (least, spread) = worker.shared.admission.come_back(Instant::now());
    let random = random_bytes().map_or(u64::MAX / 2, u64::from_be_bytes);
    let after = (least + random % (spread + 1)).to_string();
    TurnedAway::new(kind, 503, sentence).with("Retry-After", after)
}
