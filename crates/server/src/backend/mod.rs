//! Webhooks: the backend decides who may do what, and receives events. A separate thread sends the
//! requests, so that no worker waits for the backend.
//!
//! A worker passes a question of its engine to [`BackendLink::ask`] and continues. The verdict
//! comes back as an [`Order`]. Events are queued, and sent one batch after the other.
//!
//! Webhooks in the form of Pusher, in [`pusher`], are sent by a thread of their own.

mod answer;
mod breaker;
mod client;
mod events;
mod failures;
mod pusher;
mod question;
mod queue;
mod receiver;
mod signing;
mod statistics;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use bytes::Bytes;
use offhook_brokers::{Broker, Changes};
use offhook_engine::{
    Ask, ChannelName, ErrorCode, Identity, NoAnswer, Refusal, RuleBook, SessionId, Verdict,
    VerdictId, Wish,
};
use tokio::{
    sync::{Notify, Semaphore, mpsc},
    task::{LocalSet, spawn_local},
    time::{sleep, timeout},
};

pub(crate) use self::pusher::PusherLink;
use self::{
    client::RequestError,
    queue::EventQueue,
    receiver::{AGAIN, Receiver, jittered},
    signing::{Signer, Signing},
};
use crate::{
    auth::Classes,
    config::{Backend, Config, HttpUrl},
    start_error::StartError,
    worker::{Order, Orders, now},
};

/// How long the last events may take when the server stops. 2 s: less than supervisors wait before
/// they kill a process.
const GOODBYE: Duration = Duration::from_secs(2);

/// A question that waits for the backend, or is being sent.
#[derive(Debug)]
struct Question {
    worker: u16,
    id: VerdictId,
    wish: Wish,
    identity: Arc<Identity>,
    session: Option<SessionId>,
    until: Instant,
}

/// The connection of all workers to the backend's thread.
pub(crate) struct BackendLink {
    settings: Backend,
    questions: mpsc::Sender<Question>,
    events: Arc<EventQueue>,
    /// Changes of channels reported by the broker.
    changes: Arc<Changes>,
    receiver: Receiver,
    counts: Counts,
    ends: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Counts {
    asked: AtomicU64,
    answered: AtomicU64,
    failed: AtomicU64,
}

/// A thread that sends requests.
pub(crate) struct Running {
    ends: Arc<Notify>,
    thread: JoinHandle<()>,
}

impl Running {
    /// Runs this task in a thread with this name until `ends` is notified.
    fn start<F: Future<Output = ()>>(
        name: &str,
        ends: Arc<Notify>,
        task: impl FnOnce() -> F + Send + 'static,
    ) -> Result<Self, StartError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(StartError::System)?;
        let run = move || runtime.block_on(LocalSet::new().run_until(task()));
        let thread = std::thread::Builder::new().name(name.to_owned());
        let thread = thread.spawn(run).map_err(StartError::System)?;
        Ok(Self { ends, thread })
    }

    /// Lets the threads try to deliver the remaining events within [`GOODBYE`], and ends them.
    pub(crate) fn end(all: Vec<Self>) {
        for one in &all {
            one.ends.notify_one();
        }
        for one in all {
            if one.thread.join().is_err() {
                tracing::error!("a thread that sends requests to the backend has panicked");
            }
        }
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").finish_non_exhaustive()
    }
}

/// The connections of all workers to the threads.
#[derive(Debug, Default)]
pub(crate) struct Links {
    /// None without a backend.
    pub(crate) backend: Option<Arc<BackendLink>>,
    /// None without webhooks in the form of Pusher, and without counts of subscribers.
    pub(crate) pusher: Option<Arc<PusherLink>>,
}

/// Starts the threads that the configuration needs.
pub(crate) fn start(
    config: &Config,
    rules: &Arc<RuleBook>,
    orders: &Arc<Orders>,
    broker: &Arc<dyn Broker>,
) -> Result<(Vec<Running>, Links), StartError> {
    let (mut threads, mut links) = (Vec::new(), Links::default());
    if let Some(url) = &config.backend.url {
        let (thread, link) = start_link(config, url, rules, Arc::clone(orders))?;
        broker.observe(Arc::clone(&link.changes));
        threads.push(thread);
        links.backend = Some(link);
    }
    if let Some((thread, link)) = pusher::start(config, orders)? {
        broker.observe(Arc::clone(link.changes()));
        threads.push(thread);
        links.pusher = Some(link);
    }
    Ok((threads, links))
}

fn start_link(
    config: &Config,
    url: &HttpUrl,
    rules: &Arc<RuleBook>,
    orders: Arc<Orders>,
) -> Result<(Running, Arc<BackendLink>), StartError> {
    let settings = config.backend.clone();
    let signing = Signing::Standard(Signer::new(&settings.secrets));
    let receiver = Receiver::new(url, &settings, signing)?;
    let (questions, asked) = mpsc::channel(settings.queue);
    let rules = Arc::clone(rules);
    let wanted = move |channel: &ChannelName| rules.rules(channel).is_some_and(|of| of.notify);
    let events = Arc::new(EventQueue::new(settings.events));
    let woken = Arc::clone(&events);
    let changes = Changes::new(settings.events, wanted, move || woken.wake());
    let link = Arc::new(BackendLink {
        events,
        changes: Arc::new(changes),
        receiver,
        questions,
        counts: Counts::default(),
        ends: Arc::default(),
        settings,
    });
    if link.tells(config) {
        link.events.put(events::started(now().unix_ms));
    }
    let asking = Asking {
        link: Arc::clone(&link),
        orders,
        of_users: config.auth.grants.clone().into(),
        classes: Classes::of(&config.limits),
    };
    let ends = Arc::clone(&link.ends);
    let thread = Running::start("offhook-backend", ends, move || asking.run(asked))?;
    Ok((thread, link))
}

impl BackendLink {
    /// Whether any events are delivered.
    fn tells(&self, config: &Config) -> bool {
        self.settings.connections || config.channels.iter().any(|rule| rule.rules.notify)
    }

    /// Whether the backend decides about new clients.
    pub(crate) fn asks_about_clients(&self) -> bool {
        self.settings.connect
    }

    /// Queues a question.
    ///
    /// # Errors
    /// A refusal as the verdict if the queue is full.
    pub(crate) fn ask(
        &self,
        worker: u16,
        ask: Ask,
        session: Option<SessionId>,
    ) -> Result<(), (VerdictId, Verdict)> {
        let Ask {
            id,
            identity,
            wish,
            within,
            ..
        } = ask;
        let question = Question {
            worker,
            id,
            wish,
            identity,
            session,
            until: Instant::now() + within,
        };
        self.counts.asked.fetch_add(1, Ordering::Relaxed);
        self.questions.try_send(question).map_err(|_| {
            self.counts.failed.fetch_add(1, Ordering::Relaxed);
            let detail = "too many questions wait for the backend (backend.queue); try again";
            let refusal = Refusal::new(ErrorCode::Busy, detail).after(AGAIN * 10);
            (id, Verdict::Refused(refusal))
        })
    }

    /// Queues the event that a session was resumed or that its connection ended, if such events are
    /// enabled.
    pub(crate) fn tell_session(&self, kind: &str, identity: &Identity, session: SessionId) {
        if self.settings.connections {
            let event = events::of_session(kind, identity, session, now().unix_ms);
            self.events.put(event);
        }
    }
}

impl fmt::Debug for BackendLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BackendLink").finish_non_exhaustive()
    }
}

/// The state of the backend's thread.
#[derive(Clone)]
struct Asking {
    link: Arc<BackendLink>,
    orders: Arc<Orders>,
    of_users: Arc<[offhook_auth::UserGrant]>,
    classes: Classes,
}

impl Asking {
    async fn run(self, mut asked: mpsc::Receiver<Question>) {
        let link = Arc::clone(&self.link);
        let telling = spawn_local(async move {
            let next = || events::next(&link.events, &link.changes, now().unix_ms);
            link.events.deliver(&link.receiver, next).await;
        });
        let free = Arc::new(Semaphore::new(self.link.settings.concurrency));
        loop {
            let next = async {
                let permit = Arc::clone(&free).acquire_owned().await.ok()?;
                Some((permit, asked.recv().await?))
            };
            let next = tokio::select! {
                next = next => next,
                // Checked even if no permit is free because every request hangs.
                () = self.link.ends.notified() => None,
            };
            let Some((permit, question)) = next else {
                break;
            };
            let asking = self.clone();
            spawn_local(async move {
                asking.ask(question).await;
                drop(permit);
            });
        }
        self.link.events.close();
        let _late = timeout(GOODBYE, telling).await;
    }

    async fn ask(self, question: Question) {
        let asked = self.ask_until_answered(&question).await;
        let counts = &self.link.counts;
        let verdict = match asked {
            Some(verdict) => {
                counts.answered.fetch_add(1, Ordering::Relaxed);
                verdict
            }
            None => {
                counts.failed.fetch_add(1, Ordering::Relaxed);
                self.without_answer(&question.wish)
            }
        };
        let Question { worker, id, .. } = question;
        self.orders.give(worker, Order::Verdict { id, verdict });
    }

    /// The verdict if the backend gave no answer.
    fn without_answer(&self, wish: &Wish) -> Verdict {
        let is_call = matches!(wish, Wish::Call { .. });
        match self.link.settings.away {
            NoAnswer::Allow if !is_call => Verdict::Allowed,
            NoAnswer::Allow | NoAnswer::Refuse => {
                let detail = "the backend, which decides about this, gave no answer; try again";
                Verdict::Refused(Refusal::new(ErrorCode::BackendAway, detail))
            }
        }
    }

    /// The verdict; none if no request had a usable answer, or the circuit breaker is open.
    async fn ask_until_answered(&self, question: &Question) -> Option<Verdict> {
        let Question {
            wish,
            identity,
            session,
            ..
        } = question;
        let id = question::fresh_id();
        let body = Bytes::from(question::body(wish, identity, *session));
        // Repeating a question is harmless. A call may have an effect, and is repeated only if it
        // has a key by which the backend recognizes the repetition.
        let may_repeat = !matches!(wish, Wish::Call { key: None, .. });
        let mut left = if may_repeat {
            self.link.settings.retries
        } else {
            0
        };
        let mut pause = AGAIN;
        loop {
            let receiver = &self.link.receiver;
            if !receiver.lets_through() {
                return None;
            }
            let given = question.until.saturating_duration_since(Instant::now());
            let answer = receiver.request(&id, body.clone(), given).await;
            let verdict = answer.and_then(|body| {
                let now_ms = now().unix_ms;
                let settings = (&*self.of_users, &self.classes);
                answer::verdict(wish, identity, &body, settings, now_ms)
                    .map_err(RequestError::Useless)
            });
            match verdict {
                Ok(verdict) => {
                    receiver.succeeded();
                    return Some(verdict);
                }
                Err(error) => {
                    receiver.note_failure(question::kind(wish), &error);
                    receiver.failed_within(&error, given);
                    let again = Instant::now() + pause;
                    if left == 0 || !error.is_temporary() || again >= question.until {
                        return None;
                    }
                }
            }
            sleep(jittered(pause)).await;
            (left, pause) = (left - 1, pause * 2);
        }
    }
}
