//! Handles requests to sign in, and client events.

use bytes::Bytes;
use offhook_engine::{Command, ErrorCode, Format, Refusal, Tags};

use super::{
    dialect::{Purpose, Pusher},
    event::{self, CACHE_KEY, EVENT_TAG},
    message::{self, SignIn, bad},
    names::{Kind, USER, channel_of, is_cache, kind_of},
    report::{ClientEvent, Report},
};
use crate::dialect::Intent;

impl Pusher {
    pub(super) fn sign_in(&mut self, wish: SignIn) {
        let SignIn { auth, user_data } = wish;
        let waits = |purpose: &Purpose| matches!(purpose, Purpose::SignIn { .. });
        if self.user.is_some() || self.pending.values().any(waits) {
            let detail = "this connection is already signed in; open another one for another user";
            return self.refuse(Purpose::Nothing, bad(detail));
        }
        let text = format!("{}::user::{user_data}", self.socket_id);
        let signed = self.is_signed(&auth, &text);
        let user = signed.then(|| {
            let user = message::user(&user_data)?;
            Ok((self.user_name(&user)?, user))
        });
        match user {
            None => {
                let detail = "auth: is not a signature of this connection and user_data by a key of \
                              this app";
                let refusal = Refusal::new(ErrorCode::Unauthenticated, detail);
                self.refuse(Purpose::NotSignedIn, refusal);
            }
            Some(Err(refusal)) => self.refuse(Purpose::Nothing, refusal),
            Some(Ok((name, user))) => {
                let id = self.number(Purpose::SignIn { user, user_data });
                self.queue.push_back(Intent::Identify {
                    id,
                    user: name,
                    since_ms: self.began_ms,
                });
            }
        }
    }

    /// Whether this is the channel of the user who signed in.
    pub(super) fn is_own_channel(&self, name: &str) -> bool {
        let user = name.strip_prefix(USER);
        user.is_some() && user == self.user.as_deref()
    }

    /// Handles a client event.
    pub(super) fn send(&mut self, event: &str, name: &str, data: Bytes) -> Result<(), Refusal> {
        if !self.settings.client_events {
            let detail = "client events are not enabled (pusher.client_events)";
            return Err(Refusal::new(ErrorCode::Forbidden, detail));
        }
        if !matches!(kind_of(name), Kind::Private | Kind::Presence) {
            let detail = "client events can be sent only to private and presence channels";
            return Err(Refusal::new(ErrorCode::Forbidden, detail));
        }
        event::check_event(event)?;
        let channel = channel_of(self.prefix(), name)?;
        let subscription = self.subscriptions.get(&channel);
        let subscription = subscription.filter(|subscription| subscription.has_begun());
        let Some(subscription) = subscription else {
            let detail =
                "client events can be sent only to channels that the client is subscribed to";
            return Err(Refusal::new(ErrorCode::NotSubscribed, detail));
        };
        let tags = [(EVENT_TAG, event), ("key", CACHE_KEY)];
        let count = if is_cache(name) { 2 } else { 1 };
        let tags = Tags::new(tags.into_iter().take(count))?;
        let report = self.settings.reports.then(|| {
            Box::new(Report::ClientEvent(ClientEvent {
                channel: channel.clone(),
                event: event.to_owned(),
                data: data.clone(),
                socket_id: self.socket_id.clone(),
                user: subscription.member(),
            }))
        });
        let id = self.number(Purpose::Event(report));
        let command = Command::Publish {
            channel,
            data,
            format: Format::Json,
            tags,
            key: None,
        };
        self.queue.push_back(Intent::Permitted { id, command });
        Ok(())
    }
}
