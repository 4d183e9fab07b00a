//! Subscriptions: their signatures and answers.

use offhook_engine::{
    ChannelName, Command, CommandId, ErrorCode, Face, Refusal, Reply, Since, Subscribe,
    SubscriptionKey, SubscriptionName, Target,
};

use super::{
    dialect::{Purpose, Pusher},
    event, members,
    message::{self, bad},
    names::{Kind, channel_of, is_cache, kind_of},
    report::Report,
};
use crate::dialect::{Intent, Payload};

/// A subscription of the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Subscription {
    /// The command that requested it.
    by: CommandId,
    progress: Progress,
    cached: Cached,
    /// The id of the member, in a presence channel.
    member: Option<Box<str>>,
}

/// ```text
///       Subscribed              members
/// Asked ─────────▶ AwaitsMembers ──────▶ Begun
///   └──────── without members ─────────────▲
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Asked,
    AwaitsMembers,
    Begun,
}

/// Whether the client has received the channel's last event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cached {
    /// It has received it, or was told that there is none, or the channel is not a cache channel.
    Settled,
    /// The event may still be delivered.
    Awaited,
    /// There is none. The client is told so after the list of members.
    Missed,
}

impl Subscription {
    /// Whether the server has accepted it.
    pub(super) fn has_begun(&self) -> bool {
        self.progress != Progress::Asked
    }

    /// Whether the client has received the list of members.
    pub(super) fn knows_members(&self) -> bool {
        self.progress == Progress::Begun
    }

    /// The id of the member, in a presence channel.
    pub(super) fn member(&self) -> Option<Box<str>> {
        self.member.clone()
    }

    /// Records that the channel's last event is being delivered.
    pub(super) fn got_cached(&mut self) {
        self.cached = Cached::Settled;
    }

    /// Records that the list of members is being delivered. Returns whether the client has to be
    /// told that there is no last event.
    pub(super) fn members_came(&mut self) -> bool {
        self.progress = Progress::Begun;
        let is_missed = self.cached == Cached::Missed;
        if is_missed {
            self.cached = Cached::Settled;
        }
        is_missed
    }
}

/// The permission that a signature gives.
enum Permission {
    /// None: the channel's rules decide.
    None,
    Signed,
    /// As this member.
    Member(Face),
}

impl Pusher {
    pub(super) fn subscribe(&mut self, wish: message::Subscribe) {
        let name = wish.channel.clone();
        if let Err(refusal) = self.try_subscribe(wish) {
            self.refuse(Purpose::NotSubscribed(name), refusal);
        }
    }

    fn try_subscribe(&mut self, wish: message::Subscribe) -> Result<(), Refusal> {
        let channel = channel_of(self.prefix(), &wish.channel)?;
        if self.subscriptions.contains_key(&channel) {
            let detail = "the client is already subscribed to this channel";
            return Err(Refusal::new(ErrorCode::AlreadySubscribed, detail));
        }
        let is_cache = is_cache(&wish.channel);
        let since = if is_cache { Since::State } else { Since::Now };
        let asked = Subscribe::new(channel.clone(), since).without_echo();
        let permission = self.permission(wish)?;
        if !matches!(permission, Permission::None) && !self.is_own_name(channel.as_str()) {
            let detail = "the channel belongs to another app, whose signature is needed";
            return Err(Refusal::new(ErrorCode::Forbidden, detail));
        }
        let (asked, permitted) = match permission {
            Permission::None => (asked, false),
            Permission::Signed => (asked, true),
            Permission::Member(face) => {
                let asked = Subscribe {
                    members: true,
                    ..asked.with_presence().faced(face)
                };
                (asked, true)
            }
        };
        self.ask(channel, asked, permitted, is_cache);
        Ok(())
    }

    fn permission(&self, wish: message::Subscribe) -> Result<Permission, Refusal> {
        let message::Subscribe {
            channel,
            auth,
            channel_data,
        } = wish;
        let kind = kind_of(&channel);
        match kind {
            Kind::Public => return Ok(Permission::None),
            Kind::User if self.is_own_channel(&channel) => return Ok(Permission::Signed),
            Kind::User => {
                let detail = "only the user of this channel may subscribe to it, once signed in";
                return Err(Refusal::new(ErrorCode::Forbidden, detail));
            }
            Kind::Private | Kind::Encrypted | Kind::Presence => {}
        }
        // Otherwise a signature for the channel `private-a:b` would be one for `private-a` with this data.
        if let Some(data) = &channel_data
            && !message::is_member_data(data)
        {
            return Err(bad("channel_data: expected a JSON object"));
        }
        let auth = auth.unwrap_or_default();
        // The signature covers `channel_data` even in channels that do not use it.
        let text = match &channel_data {
            Some(data) => format!("{}:{channel}:{data}", self.socket_id),
            None => format!("{}:{channel}", self.socket_id),
        };
        if !self.is_signed(&auth, &text) {
            let detail =
                "auth: is not a signature of this connection and channel by a key of this app";
            return Err(Refusal::new(ErrorCode::Unauthenticated, detail));
        }
        if kind != Kind::Presence {
            return Ok(Permission::Signed);
        }
        let data = channel_data.ok_or_else(|| bad("channel_data: is missing"))?;
        let member = message::member(&data)?;
        Ok(Permission::Member(Face {
            user: self.user_name(&member.id)?.into(),
            info: member.info,
        }))
    }

    fn ask(&mut self, channel: ChannelName, wish: Subscribe, permitted: bool, is_cache: bool) {
        let without_cache = is_cache.then(|| {
            let since = Since::Now;
            Box::new((
                Subscribe {
                    since,
                    ..wish.clone()
                },
                permitted,
            ))
        });
        let id = self.number(Purpose::Subscribe {
            channel: channel.clone(),
            without_cache,
        });
        let subscription = Subscription {
            by: id,
            progress: Progress::Asked,
            cached: match is_cache {
                true => Cached::Awaited,
                false => Cached::Settled,
            },
            member: wish.face.as_ref().and_then(|face| {
                let id = face.user.strip_prefix(self.prefix())?;
                Some(id.into())
            }),
        };
        self.subscriptions.insert(channel, subscription);
        let command = Command::Subscribe(wish);
        self.queue.push_back(match permitted {
            true => Intent::Permitted { id, command },
            false => Intent::Command { id, command },
        });
    }

    pub(super) fn unsubscribe(&mut self, name: &str) {
        let Ok(channel) = channel_of(self.prefix(), name) else {
            return self.refuse(Purpose::Nothing, bad("channel: is not a valid name"));
        };
        self.subscriptions.remove(&channel);
        let id = self.number(Purpose::Silent);
        let command = Command::Unsubscribe {
            subscription: SubscriptionKey::from(channel),
        };
        self.queue.push_back(Intent::Command { id, command });
    }

    /// Handles the answer to a subscription. If the client has ended it in the meantime, nothing is
    /// reported.
    pub(super) fn subscribed(
        &mut self,
        id: CommandId,
        channel: &ChannelName,
        without_cache: Option<Box<(Subscribe, bool)>>,
        reply: &Reply,
        out: &mut Vec<Payload>,
    ) {
        let Some(name) = self.wire_name(channel) else {
            return;
        };
        let subscription = self.subscriptions.get_mut(channel);
        let Some(subscription) = subscription.filter(|subscription| subscription.by == id) else {
            return;
        };
        if let Reply::Refused(refusal) = reply {
            if refusal.code == ErrorCode::NoState
                && let Some(again) = without_cache
            {
                let (wish, permitted) = *again;
                return self.ask_again(channel, wish, permitted);
            }
            self.subscriptions.remove(channel);
            return out.push(event::subscription_error(&name, refusal));
        }
        if kind_of(&name) == Kind::Presence {
            subscription.progress = Progress::AwaitsMembers;
            return;
        }
        subscription.progress = Progress::Begun;
        let is_missed = subscription.cached == Cached::Missed;
        if is_missed {
            subscription.cached = Cached::Settled;
        }
        out.push(event::internal("subscription_succeeded", &name, "{}").into());
        if is_missed {
            self.missed(channel, &name, out);
        }
    }

    /// Subscribes again to a channel that keeps no state, so that there is no last event.
    fn ask_again(&mut self, channel: &ChannelName, wish: Subscribe, permitted: bool) {
        self.ask(channel.clone(), wish, permitted, false);
        if let Some(subscription) = self.subscriptions.get_mut(channel) {
            subscription.cached = Cached::Missed;
        }
    }

    /// Everything retained was delivered.
    pub(super) fn is_live(&mut self, about: &SubscriptionName, out: &mut Vec<Payload>) {
        let Target::Channel(channel) = &about.target else {
            return;
        };
        let Some(name) = self.wire_name(channel) else {
            return;
        };
        let Some(subscription) = self.subscriptions.get_mut(channel) else {
            return;
        };
        if subscription.cached != Cached::Awaited {
            return;
        }
        if subscription.progress != Progress::Begun {
            subscription.cached = Cached::Missed;
            return;
        }
        subscription.cached = Cached::Settled;
        self.missed(channel, &name, out);
    }

    /// Says that a cache channel has no last event.
    pub(super) fn missed(&mut self, channel: &ChannelName, name: &str, out: &mut Vec<Payload>) {
        out.push(event::bare("pusher:cache_miss", Some(name)));
        if self.settings.reports {
            let channel = channel.clone();
            let report = Box::new(Report::CacheMiss { channel });
            self.queue.push_back(Intent::Report(report));
        }
    }

    /// Handles a subscription that the server ended.
    pub(super) fn unsubscribed(
        &mut self,
        about: &SubscriptionName,
        refusal: &Refusal,
        out: &mut Vec<Payload>,
    ) {
        let Target::Channel(channel) = &about.target else {
            return;
        };
        if self.subscriptions.remove(channel).is_some()
            && let Some(name) = self.wire_name(channel)
        {
            out.push(event::subscription_error(&name, refusal));
        }
    }

    /// Handles a list of members, for a new subscription or after changes could not be delivered.
    pub(super) fn unasked(&mut self, reply: &Reply, out: &mut Vec<Payload>) {
        let Reply::Members {
            channel,
            members,
            total,
            ..
        } = reply
        else {
            return;
        };
        let Some(name) = self.wire_name(channel) else {
            return;
        };
        let list = members::list(self.prefix(), members, *total);
        let Some(subscription) = self.subscriptions.get_mut(channel) else {
            return;
        };
        let is_missed = subscription.members_came();
        let succeeded = event::internal("subscription_succeeded", &name, &list);
        out.push(succeeded.into());
        if is_missed {
            self.missed(channel, &name, out);
        }
    }
}
