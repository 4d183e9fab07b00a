//! CONNECT: a client connects to a namespace. The first CONNECT begins the session.

use std::{borrow::Cow, sync::Arc};

use bytes::Bytes;
use offhook_engine::{ErrorCode, Refusal, Retry};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    answer,
    dialect::{Phase, Purpose, SocketIo},
    packet::{Kind, Packet},
    recovery::{self, Brought, Note},
    spaces::{MAX_SPACES, Subscription},
};
use crate::{
    dialect::{Connect, Intent, Named, Payload, Welcome},
    json::{MAX_NESTING, Object, is_shallow},
    native::MAX_INFO,
};

/// The limit of unacknowledged publications, over all of a client's subscriptions with a window.
const WINDOW: u16 = 1024;

/// The session of a client that requested recovery.
#[derive(Debug)]
pub(super) struct Recovery {
    /// The namespace whose subscriptions are restored.
    pub(super) namespace: Arc<str>,
    /// When the session began.
    pub(super) stamp: u64,
}

/// The `auth` of a CONNECT.
#[derive(Debug, Default, Deserialize)]
struct Auth<'a> {
    #[serde(borrow)]
    token: Option<Cow<'a, str>>,
    #[serde(borrow)]
    info: Option<&'a RawValue>,
    #[serde(default)]
    recover: bool,
    events: Option<bool>,
    #[serde(borrow)]
    pid: Option<Cow<'a, str>>,
    #[serde(borrow)]
    offset: Option<Cow<'a, str>>,
}

impl SocketIo {
    /// Handles a CONNECT to a namespace.
    pub(super) fn enter(&mut self, packet: &Packet) {
        let namespace: Arc<str> = Arc::from(&*packet.namespace);
        let auth = match auth(&packet.json) {
            Ok(auth) => auth,
            Err(refusal) => return self.refuse_entry(namespace, refusal),
        };
        if self.phase == Phase::New {
            return self.begin(namespace, auth);
        }
        let is_entering =
            |purpose: &Purpose| matches!(purpose, Purpose::Enter(of) if *of == namespace);
        if self.spaces.find(&namespace).is_some() || self.pending.values().any(is_entering) {
            let refusal = bad("the namespace is already connected");
            return self.refuse_entry(namespace, refusal);
        }
        let entering = self.pending.values();
        let entering = entering.filter(|purpose| matches!(purpose, Purpose::Enter(_)));
        if self.spaces.are_full(entering.count()) {
            let refusal = bad(format!(
                "the connection already has {MAX_SPACES} namespaces, which is the limit"
            ));
            return self.refuse_entry(namespace, refusal);
        }
        match auth.token {
            // The token has to belong to the same user, since a connection has one session.
            Some(token) => {
                let id = self.number(Purpose::Enter(namespace));
                let token = token.into_owned();
                self.queue.push_back(Intent::Refresh { id, token });
            }
            None => {
                let mut out = Vec::new();
                self.entered(&namespace, None, &mut out);
                self.say(out);
            }
        }
    }

    fn refuse_entry(&mut self, namespace: Arc<str>, refusal: Refusal) {
        let id = Some(self.number(Purpose::Enter(namespace)));
        self.queue.push_back(Intent::Refuse { id, refusal });
    }

    /// Begins the session.
    fn begin(&mut self, namespace: Arc<str>, auth: Auth<'_>) {
        self.phase = Phase::Asked;
        let id = self.number(Purpose::Enter(namespace));
        let offset = auth.offset.as_deref().unwrap_or_default();
        let brought = auth.pid.as_deref().filter(|_| auth.recover);
        self.brought = brought.and_then(|pid| Brought::read(pid, offset));
        self.wants_recovery = auth.recover;
        self.wants_names = auth.events.unwrap_or(!self.settings.rooms.are_none());
        let name = self.brought.as_ref().map(|brought| brought.name.clone());
        let named = auth.recover.then(|| {
            Box::new(Named {
                fresh: name.is_none(),
                name: name.unwrap_or_default(),
                expiry: Some(self.settings.recovery),
                window: WINDOW,
                will: None,
            })
        });
        let info = auth.info.map_or("", RawValue::get);
        self.queue.push_back(Intent::Connect(Connect {
            id,
            token: auth.token.map(Cow::into_owned),
            resume: None,
            info: Bytes::copy_from_slice(info.as_bytes()),
            positions: Vec::new(),
            lineage: true,
            named,
        }));
    }

    /// The session has begun, or was resumed.
    pub(super) fn welcomed(&mut self, welcome: &Welcome<'_>, out: &mut Vec<Payload>) {
        self.phase = Phase::Open;
        self.session = Some(welcome.session);
        let Some(Purpose::Enter(namespace)) = self.pending.remove(&welcome.id) else {
            debug_assert!(false, "a welcome answers a CONNECT");
            return;
        };
        let id = welcome.named.as_ref().map(|known| {
            let brought = self.brought.take();
            let note = known.resumed.then(|| Note::read(known.note)).flatten();
            let goes_on = note
                .zip(brought.as_ref())
                .filter(|(note, brought)| note.stamp == brought.stamp);
            let stamp = match (&goes_on, &brought) {
                (Some((note, _)), _) => note.stamp,
                // A client recognises a resumed session by an unchanged id.
                (None, Some(brought)) if brought.stamp >= welcome.unix_ms => {
                    brought.stamp.wrapping_add(1)
                }
                (None, _) => welcome.unix_ms,
            };
            self.recovery = Some(Recovery {
                namespace: Arc::clone(&namespace),
                stamp,
            });
            match goes_on {
                Some((note, brought)) => self.restore(&namespace, &note, brought),
                None => self.begin_note(),
            }
            recovery::id(known.name, stamp)
        });
        self.entered(&namespace, id.as_deref(), out);
    }

    /// Restores the subscriptions of an earlier connection, from the positions that the client
    /// sent.
    fn restore(&mut self, namespace: &Arc<str>, note: &Note, brought: &Brought) {
        let brought_numbers = brought.positions.keys().copied();
        let latest = brought_numbers.chain([note.latest]).max();
        self.spaces.skip(latest.unwrap_or(0));
        for kept in &note.subscriptions {
            let Some(mut subscription) = Subscription::from_kept(namespace, kept) else {
                continue;
            };
            let number = kept.number;
            subscription.position = brought.positions.get(&number).copied();
            // The engine restores acknowledged subscriptions itself.
            let wish = subscription
                .window
                .is_none()
                .then(|| subscription.again(number));
            self.spaces.insert(number, subscription);
            if let Some(wish) = wish {
                let id = self.number(Purpose::Restore(number));
                let command = offhook_engine::Command::Subscribe(wish);
                self.queue.push_back(Intent::Command { id, command });
            }
        }
    }

    /// Confirms that the client is connected to a namespace.
    pub(super) fn entered(
        &mut self,
        namespace: &Arc<str>,
        recovery_id: Option<&str>,
        out: &mut Vec<Payload>,
    ) {
        let session = self.session.map(|session| session.to_string());
        let json = Object::part().text("sid", session.as_deref().unwrap_or_default());
        let json = match recovery_id {
            Some(id) => json.text("pid", id),
            None => json,
        };
        Packet::new(Kind::Connect, namespace, json.end()).write(out);
        self.spaces.enter(Arc::clone(namespace));
        self.join_rooms_of_everyone(namespace);
    }

    /// Refuses to connect the client to a namespace. The stock client does not retry after that. If
    /// a retry may succeed, the connection is closed instead, after which the stock client retries.
    pub(super) fn not_entered(
        &mut self,
        namespace: &str,
        refusal: &Refusal,
        out: &mut Vec<Payload>,
    ) {
        let is_first = self.phase != Phase::Open;
        if is_first {
            self.phase = Phase::New;
        }
        if is_first && refusal.code.retry() != Retry::Never {
            return self.end(TRY_AGAIN_LATER, refusal.code.name());
        }
        answer::connect_error(namespace, refusal).write(out);
    }
}

/// "Try again later", registered by RFC 6455 §11.7.
const TRY_AGAIN_LATER: u16 = 1013;

fn auth(json: &str) -> Result<Auth<'_>, Refusal> {
    if json.is_empty() {
        return Ok(Auth::default());
    }
    let auth: Auth<'_> =
        serde_json::from_str(json).map_err(|error| bad(format!("auth: {error}")))?;
    let info = auth.info.map_or("", RawValue::get);
    if info.len() > MAX_INFO || !is_shallow(info) {
        return Err(bad(format!(
            "auth: info: longer than {MAX_INFO} bytes, or nested deeper than {MAX_NESTING} levels"
        )));
    }
    Ok(auth)
}

fn bad(detail: impl Into<Cow<'static, str>>) -> Refusal {
    Refusal::new(ErrorCode::BadRequest, detail)
}
