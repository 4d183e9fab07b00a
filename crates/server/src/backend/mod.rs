//! Webhooks: the backend decides who may do what, and receives events. A separate thread sends the
//! requests, so that no worker waits for the backend.
//!
//! A worker passes a question of its engine to [`BackendLink::ask`] and continues. The verdict
//! comes back as an [`Order`]. Events are queued, and sent one batch after the other.

mod answer;
mod breaker;
mod client;
mod events;
mod failures;
mod question;
mod signing;
mod statistics;

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use bytes::Bytes;
use offhook_brokers::Changes;
use offhook_engine::{
    Ask, ChannelName, ErrorCode, Identity, NoAnswer, Refusal, RuleBook, SessionId, Verdict,
    VerdictId, Wish,
};
use tokio::{
    sync::{Notify, Semaphore, mpsc},
    task::{LocalSet, spawn_local},
    time::{sleep, timeout, timeout_at},
};

use self::{
    breaker::{Breaker, Turn},
    client::{Client, RequestError},
    events::{Batch, Events},
    failures::Failures,
};
use crate::{
    auth::Classes,
    config::{Backend, Config},
    start_error::StartError,
    tokens::random_bytes,
    worker::{Order, Orders, now},
};

/// The pause before the first retry; it doubles with each. 100 ms: long enough for a load balancer
/// to notice a restarting process, and short enough for two retries within the timeout.
const AGAIN: Duration = Duration::from_millis(100);

/// The longest pause between two attempts to deliver events. 30 s: the same as that of the circuit
/// breaker.
const LONGEST: Duration = Duration::from_secs(30);

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
    events: Events,
    /// Wakes the task that delivers events.
    wake: Arc<Notify>,
    breaker: Mutex<Breaker>,
    counts: Counts,
    failures: Failures,
    ends: Notify,
    closing: AtomicBool,
}

#[derive(Debug, Default)]
struct Counts {
    asked: AtomicU64,
    answered: AtomicU64,
    failed: AtomicU64,
    told: AtomicU64,
}

/// The thread that serves a [`BackendLink`].
pub(crate) struct Running {
    link: Arc<BackendLink>,
    thread: JoinHandle<()>,
}

impl Running {
    /// Tries to deliver the remaining events within [`GOODBYE`], and ends the thread.
    pub(crate) fn end(self) {
        self.link.ends.notify_one();
        if self.thread.join().is_err() {
            tracing::error!("the thread that asks the backend has panicked");
        }
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").finish_non_exhaustive()
    }
}

/// A started link, and the queue into which the broker must put changes of channels.
pub(crate) struct Started {
    pub(crate) running: Running,
    pub(crate) link: Arc<BackendLink>,
    pub(crate) changes: Arc<Changes>,
}

/// Starts the link; none if no backend is configured.
pub(crate) fn start(
    config: &Config,
    rules: &Arc<RuleBook>,
    orders: Arc<Orders>,
) -> Result<Option<Started>, StartError> {
    let settings = config.backend.clone();
    let Some(url) = settings.url.clone() else {
        return Ok(None);
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(StartError::System)?;
    let client = Client::new(&url, &settings)?;
    let (questions, asked) = mpsc::channel(settings.queue);
    let wake = Arc::new(Notify::new());
    let rules = Arc::clone(rules);
    let wanted = move |channel: &ChannelName| rules.rules(channel).is_some_and(|of| of.notify);
    let waker = Arc::clone(&wake);
    let changes = Changes::new(settings.events, wanted, move || waker.notify_one());
    let changes = Arc::new(changes);
    let link = Arc::new(BackendLink {
        events: Events::new(settings.events, Arc::clone(&wake), Arc::clone(&changes)),
        wake,
        questions,
        breaker: Mutex::default(),
        counts: Counts::default(),
        failures: Failures::default(),
        ends: Notify::new(),
        closing: AtomicBool::new(false),
        settings,
    });
    if link.tells(config) {
        link.events.put(events::started(now().unix_ms));
    }
    let asking = Asking {
        link: Arc::clone(&link),
        client: Arc::new(client),
        orders,
        of_users: config.auth.grants.clone().into(),
        classes: Classes::of(&config.limits),
        place: url.without_query().into(),
    };
    let run = move || {
        let local = LocalSet::new();
        runtime.block_on(local.run_until(asking.run(asked)));
    };
    let thread = std::thread::Builder::new().name("offhook-backend".to_owned());
    let thread = thread.spawn(run).map_err(StartError::System)?;
    let running = Running {
        link: Arc::clone(&link),
        thread,
    };
    Ok(Some(Started {
        running,
        link,
        changes,
    }))
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

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        // Each change is whole before anything that could panic.
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
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
    client: Arc<Client>,
    orders: Arc<Orders>,
    of_users: Arc<[offhook_auth::UserGrant]>,
    classes: Classes,
    /// The backend's URL in logs.
    place: Arc<str>,
}

impl Asking {
    async fn run(self, mut asked: mpsc::Receiver<Question>) {
        let telling = spawn_local(self.clone().tell_events());
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
        self.link.closing.store(true, Ordering::Relaxed);
        self.link.wake.notify_one();
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
            if !self.link.breaker().lets_through(Instant::now()) {
                return None;
            }
            let given = question.until.saturating_duration_since(Instant::now());
            let request = timeout_at(
                question.until.into(),
                self.client.request(&id, body.clone()),
            );
            let answer = request.await.unwrap_or(Err(RequestError::TimedOut));
            let verdict = answer.and_then(|body| {
                let now_ms = now().unix_ms;
                let settings = (&*self.of_users, &self.classes);
                answer::verdict(wish, identity, &body, settings, now_ms)
                    .map_err(RequestError::Useless)
            });
            match verdict {
                Ok(verdict) => {
                    self.succeeded();
                    return Some(verdict);
                }
                Err(error) => {
                    self.note_failure(question::kind(wish), &error);
                    self.failed_within(&error, given);
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

    fn succeeded(&self) {
        if self.link.breaker().succeeded() == Some(Turn::Closed) {
            tracing::info!(backend = %self.place, "the backend answers again");
        }
    }

    /// Records a request that got no usable answer within this time.
    fn failed_within(&self, error: &RequestError, given: Duration) {
        let is_hasty = given < self.link.settings.timeout / 2;
        if matches!(error, RequestError::TimedOut) && is_hasty {
            // The caller did not wait long enough, which says nothing about the backend. It must
            // not keep others from using it.
            self.link.breaker().gave_up();
        } else if error.is_answer() {
            self.succeeded();
        } else {
            self.failed(error);
        }
    }

    fn failed(&self, error: &RequestError) {
        if self.link.breaker().failed(Instant::now()) == Some(Turn::Opened) {
            tracing::warn!(
                backend = %self.place, %error,
                "the backend fails repeatedly; no requests are made for a while"
            );
        }
    }

    /// Delivers batch after batch, and repeats each until the backend accepts it. Ends after the
    /// last batch when the server stops.
    async fn tell_events(self) {
        loop {
            while let Some(batch) = self.link.events.batch(now().unix_ms) {
                self.tell(batch).await;
            }
            if self.link.closing.load(Ordering::Relaxed) {
                return;
            }
            self.link.wake.notified().await;
        }
    }

    async fn tell(&self, batch: Batch) {
        let Batch { body, count } = batch;
        let (id, body) = (question::fresh_id(), Bytes::from(body));
        let mut pause = AGAIN;
        loop {
            let closed = self.link.breaker().pause(Instant::now());
            if let Some(closed) = closed {
                sleep(closed).await;
            }
            if self.link.breaker().lets_through(Instant::now()) {
                let told = self.tell_once(&id, &body).await;
                if let Err(error) = &told {
                    self.note_failure("events", error);
                }
                match told {
                    Ok(()) => return self.note_told(count),
                    Err(error)
                        if error.is_temporary() || matches!(error, RequestError::TimedOut) =>
                    {
                        self.failed(&error);
                    }
                    Err(_) => {
                        // It would be refused again, and block all later events forever.
                        self.link.events.refused(count);
                        return self.succeeded();
                    }
                }
            }
            sleep(jittered(pause)).await;
            pause = (pause * 2).min(LONGEST);
        }
    }

    async fn tell_once(&self, id: &str, body: &Bytes) -> Result<(), RequestError> {
        let request = timeout(
            self.link.settings.timeout,
            self.client.request(id, body.clone()),
        );
        let answer = request.await.unwrap_or(Err(RequestError::TimedOut));
        match answer {
            // The body of the answer is ignored.
            Ok(_)
            | Err(
                RequestError::TooLarge(_) | RequestError::Status(hyper::StatusCode::NO_CONTENT),
            ) => {
                self.succeeded();
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn note_failure(&self, kind: &'static str, error: &RequestError) {
        let failures = &self.link.failures;
        failures.note(kind, error, &self.place, Instant::now());
    }

    fn note_told(&self, count: usize) {
        let many = u64::try_from(count).unwrap_or(u64::MAX);
        self.link.counts.told.fetch_add(many, Ordering::Relaxed);
    }
}

/// A random duration between half of `pause` and all of it, so that requests that failed at the
/// same time are not repeated at the same time.
fn jittered(pause: Duration) -> Duration {
    let random = random_bytes().map_or(u32::MAX, u32::from_be_bytes);
    pause.mul_f64(0.5 + 0.5 * f64::from(random) / f64::from(u32::MAX))
}
