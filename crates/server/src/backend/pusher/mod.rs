//! Webhooks in the form of Pusher, and the counts of subscribers. A separate thread takes the changes of
//! the apps' channels from the broker, sends the requests, and tells the workers the counts.

mod counts;
mod hook;

use std::{fmt, sync::Arc, time::Instant};

use offhook_brokers::{Changes, ChannelChange};
use offhook_dialects::pusher::{Kind, Report, kind_of, name_of};
use offhook_engine::ChannelName;
use tokio::{
    sync::{Notify, oneshot},
    task::JoinSet,
    time::{sleep_until, timeout},
};

use self::{counts::Counts, hook::Hook};
use super::{
    GOODBYE, Running, queue::EventQueue, receiver::Receiver, signing::Signing,
    statistics::Delivered,
};
use crate::{
    config::{Config, PusherWebhook},
    door::Apps,
    start_error::StartError,
    worker::{Order, Orders, now},
};

/// The connection of the workers and the broker to the thread.
pub(crate) struct PusherLink {
    apps: Apps,
    hooks: Vec<Arc<Hook>>,
    changes: Arc<Changes>,
    changed: Arc<Notify>,
    ends: Arc<Notify>,
    /// Whether subscribers are told how many they are.
    tells_subscribers: bool,
}

/// Starts the thread, unless there is nothing to do for it.
pub(super) fn start(
    config: &Config,
    orders: &Arc<Orders>,
) -> Result<Option<(Running, Arc<PusherLink>)>, StartError> {
    let settings = &config.pusher;
    let tells_subscribers = settings.subscription_count && !settings.apps.is_empty();
    if settings.webhooks.is_empty() && !tells_subscribers {
        return Ok(None);
    }
    let hooks = settings.webhooks.iter().map(|hook| open(config, hook));
    let hooks = hooks.collect::<Result<Vec<_>, _>>()?;
    let changed = Arc::new(Notify::new());
    let (apps, waker) = (Apps::of(&settings.apps), Arc::clone(&changed));
    let wanted = move |channel: &ChannelName| apps.owner(channel.as_str()).is_some();
    let changes = Changes::new(config.backend.events, wanted, move || waker.notify_one());
    let link = Arc::new(PusherLink {
        apps: Apps::of(&settings.apps),
        hooks,
        changes: Arc::new(changes),
        changed,
        ends: Arc::default(),
        tells_subscribers,
    });
    let (served, orders) = (Arc::clone(&link), Arc::clone(orders));
    let ends = Arc::clone(&link.ends);
    let thread = Running::start("offhook-pusher", ends, move || served.run(orders))?;
    Ok(Some((thread, link)))
}

fn open(config: &Config, hook: &PusherWebhook) -> Result<Arc<Hook>, StartError> {
    let mut entries = config.pusher.apps.iter();
    // The first key, as with Pusher: the newer one of two is not known everywhere yet.
    let key = entries.find(|entry| *entry.id() == *hook.app).cloned();
    let key = key.ok_or_else(|| {
        let app = hook.app.clone().into();
        StartError::NoSuchApp { app }
    })?;
    Ok(Arc::new(Hook {
        app: hook.app.clone(),
        prefix: key.prefix().into(),
        wanted: hook.events.clone(),
        queue: EventQueue::new(config.backend.events),
        receiver: Receiver::new(&hook.url, &config.backend, Signing::Pusher(key))?,
    }))
}

impl PusherLink {
    /// The queue into which the broker must put changes of channels.
    pub(super) const fn changes(&self) -> &Arc<Changes> {
        &self.changes
    }

    /// Queues what a connection reports.
    pub(crate) fn report(&self, report: &Report) {
        for hook in self.hooks_of(report.channel()) {
            hook.report(report);
        }
    }

    /// The counters of all webhooks together.
    pub(crate) fn delivered(&self) -> Delivered {
        let each = self
            .hooks
            .iter()
            .map(|hook| Delivered::of(&hook.queue, &hook.receiver));
        each.fold(Delivered::default(), Delivered::and)
    }

    /// The webhooks of the app to which a channel belongs.
    fn hooks_of(&self, channel: &ChannelName) -> impl Iterator<Item = &Arc<Hook>> {
        let owner = self.apps.owner(channel.as_str());
        let hooks = self.hooks.iter();
        hooks.filter(move |hook| owner.is_some_and(|app| hook.is_of(app)))
    }

    async fn run(self: Arc<Self>, orders: Arc<Orders>) {
        let mut delivering = JoinSet::new();
        for hook in &self.hooks {
            let hook = Arc::clone(hook);
            delivering.spawn_local(async move {
                let next = || hook.next(now().unix_ms);
                hook.queue.deliver(&hook.receiver, next).await;
            });
        }
        let mut counts = Counts::default();
        loop {
            let due = counts.poll_timeout();
            let timer = async {
                match due {
                    Some(at) => sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.changed.notified() => {}
                () = timer => {}
                () = self.ends.notified() => break,
            }
            self.handle_changes(&mut counts);
            let due = counts.take(Instant::now());
            if self.tells_subscribers && !due.is_empty() {
                // Meanwhile, changes wait, and the last count of each channel remains.
                tell(&orders, due.clone()).await;
            }
            self.tell_hooks(&due);
        }
        self.handle_changes(&mut counts);
        self.tell_hooks(&counts.take(Instant::now()));
        for hook in &self.hooks {
            hook.queue.close();
        }
        let _late = timeout(GOODBYE, delivering.join_all()).await;
    }

    fn handle_changes(&self, counts: &mut Counts) {
        let (changes, dropped) = self.changes.take();
        for hook in &self.hooks {
            hook.queue.note_dropped(dropped);
        }
        for change in changes {
            for hook in self.hooks_of(change.channel()) {
                hook.changed(&change);
            }
            if let ChannelChange::Member { change, members } = change
                && self.is_counted(&change.channel)
            {
                counts.changed(&change.channel, members, Instant::now());
            }
        }
    }

    /// Whether subscribers of a channel are counted. Those of presence channels know each other.
    fn is_counted(&self, channel: &ChannelName) -> bool {
        let owner = self.apps.owner(channel.as_str());
        let name = owner.and_then(|app| name_of(app.prefix(), channel.as_str()));
        name.is_some_and(|name| kind_of(&name) != Kind::Presence)
    }

    fn tell_hooks(&self, counts: &[(ChannelName, u64)]) {
        for (channel, count) in counts {
            for hook in self.hooks_of(channel) {
                hook.counted(channel, *count);
            }
        }
    }
}

impl fmt::Debug for PusherLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PusherLink").finish_non_exhaustive()
    }
}

/// Lets the workers tell subscribers the counts of their channels, and waits until they have.
async fn tell(orders: &Orders, counts: Vec<(ChannelName, u64)>) {
    let counts: Arc<[(ChannelName, u64)]> = counts.into();
    let workers = (0..orders.workers()).map(|worker| {
        let (done, told) = oneshot::channel();
        let counts = Arc::clone(&counts);
        orders.give(worker, Order::Counted { counts, done });
        told
    });
    let workers: Vec<_> = workers.collect();
    for told in workers {
        // A worker that has ended has no subscribers to tell.
        let _ended = told.await;
    }
}
