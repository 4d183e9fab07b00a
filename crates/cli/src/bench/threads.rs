//! The threads: they open connections, run together, and report their counts.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use offhook::protocol::CloseCode;
use offhook::{Sender, WebSocket};
use tokio::runtime::Builder;
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinSet, LocalSet, spawn_local};
use tokio::time::{interval, sleep, timeout};

use super::channels::{Publisher, Subscriber, introduce};
use super::echo::{Echo, Messages};
use super::load_sender::{LoadSender, Shared, with_causes};
use super::pace::Pace;
use super::plan::{Load, Plan, Window};
use super::progress::Progress;
use super::report::{Sample, Series};
use super::tally::{Counts, Glance};
use crate::failure::Failure;

/// The result of a run.
#[derive(Debug)]
pub(super) struct Found {
    /// Samples over the time of the run.
    pub(super) series: Vec<Sample>,
    pub(super) counts: Counts,
    /// CPU time that this process used while measuring.
    pub(super) busy: Duration,
}

/// An update from a thread.
enum Update {
    /// One more connection is open.
    Opened,
    /// Counts since the last update.
    Glance(Glance),
    Failed(String),
    Done(Box<Counts>),
}

/// The number of updates that can be queued.
const QUEUE: usize = 1024;

/// How often the live display is updated.
const LOOK: Duration = Duration::from_millis(250);

/// Connections opened at the same time: fewer than any server's backlog.
const OPENING: usize = 64;

/// The time between the last thread being ready and the first message.
const READY: Duration = Duration::from_millis(20);

/// Executes the plan.
pub(super) fn run(plan: &Plan, is_quiet: bool) -> Result<Found, Failure> {
    let (tell, updates) = sync_channel(QUEUE);
    let (go, going) = watch::channel(None);
    thread::scope(|scope| {
        for part in 0..plan.threads {
            let (tell, going) = (tell.clone(), going.clone());
            scope.spawn(move || work(plan, part, &tell, going));
        }
        drop(tell);
        // Dropped on an early return, which ends the threads that wait for it.
        let go = go;
        let mut progress = Progress::new(plan, is_quiet);
        wait_until_open(plan, &updates, &mut progress)?;
        let window = plan.window(Instant::now() + READY);
        go.send_replace(Some(window));
        watch_it(plan, window, &updates, &mut progress)
    })
}

fn wait_until_open(
    plan: &Plan,
    updates: &Receiver<Update>,
    progress: &mut Progress,
) -> Result<(), Failure> {
    let mut opened = 0;
    while opened < plan.connections() {
        match updates.recv() {
            Ok(Update::Opened) => opened += 1,
            Ok(Update::Failed(why)) => {
                let connections = plan.connections();
                let failure = Failure::Failed(format!(
                    "only {opened} of {connections} connections could be opened: {why}"
                ));
                return Err(advise(failure, plan, &why));
            }
            Ok(Update::Glance(_) | Update::Done(_)) => {}
            Err(_) => return Err(Failure::Failed("a thread has ended".to_owned())),
        }
        progress.opening(opened);
    }
    Ok(())
}

/// A hint about refused connections.
fn advise(failure: Failure, plan: &Plan, why: &str) -> Failure {
    let is_of_channels = why.contains(offhook_client::SUBPROTOCOL);
    if is_of_channels && matches!(plan.load, Load::Echo { .. }) {
        return failure.hint(
            "this server does not echo, it has channels: --subscribers N loads it with publishers \
             and subscribers",
        );
    }
    failure
}

fn watch_it(
    plan: &Plan,
    window: Window,
    updates: &Receiver<Update>,
    progress: &mut Progress,
) -> Result<Found, Failure> {
    let (mut counts, mut done) = (Counts::default(), 0);
    let (mut busy_before, mut busy_after) = (None, None);
    let mut glance = Glance::default();
    let mut shown = Instant::now();
    let mut series = Series::default();
    while done < plan.threads {
        match updates.recv_timeout(LOOK) {
            Ok(Update::Glance(more)) => glance.add(&more),
            Ok(Update::Done(more)) => {
                counts.add(&more);
                done += 1;
            }
            Ok(Update::Failed(why)) => return Err(Failure::Failed(why)),
            Ok(Update::Opened) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        let now = Instant::now();
        if now >= window.measured_from && busy_before.is_none() {
            busy_before = Some(processor_time());
        }
        if now >= window.end && busy_after.is_none() {
            busy_after = Some(processor_time());
        }
        if now - shown >= LOOK {
            progress.running(&window, &glance, now - shown);
            if now < window.end + LOOK {
                series.push(sample(&window, &glance, now, now - shown));
            }
            glance.clear();
            shown = now;
        }
    }
    progress.finish();
    let busy = match (busy_before, busy_after) {
        (Some(before), Some(after)) => after - before,
        _ => Duration::ZERO,
    };
    let series = series.finish();
    Ok(Found {
        series,
        counts,
        busy,
    })
}

fn sample(window: &Window, glance: &Glance, now: Instant, over: Duration) -> Sample {
    Sample {
        at: now.saturating_duration_since(window.start).as_secs_f64(),
        per_second: glance.count as f64 / over.as_secs_f64(),
        p50_us: glance.times.percentile(50.0),
        p99_us: glance.times.percentile(99.0),
    }
}

/// The CPU time of this process, all threads together.
fn processor_time() -> Duration {
    #[cfg(unix)]
    {
        use rustix::time::{ClockId, clock_gettime};
        let time = clock_gettime(ClockId::ProcessCPUTime);
        let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
        let nanoseconds = u32::try_from(time.tv_nsec).unwrap_or_default();
        Duration::new(seconds, nanoseconds)
    }
    #[cfg(not(unix))]
    Duration::ZERO
}

/// The work of one thread.
fn work(
    plan: &Plan,
    part: usize,
    tell: &SyncSender<Update>,
    going: watch::Receiver<Option<Window>>,
) {
    let done = match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => LocalSet::new().block_on(&runtime, take_part(plan, part, tell, going)),
        Err(error) => Err(error.to_string()),
    };
    let updates = match done {
        Ok(counts) => Update::Done(Box::new(counts)),
        Err(why) => Update::Failed(why),
    };
    // If this fails, the run has failed already.
    let _ = tell.send(updates);
}

async fn take_part(
    plan: &Plan,
    part: usize,
    tell: &SyncSender<Update>,
    mut going: watch::Receiver<Option<Window>>,
) -> Result<Counts, String> {
    let opened = open(plan, part, tell).await?;
    let Ok(window) = going.wait_for(Option::is_some).await.map(|window| *window) else {
        return Ok(Counts::default());
    };
    let window = window.ok_or("the run was cancelled before it started")?;
    let shared = Shared::new(window, plan.schedule);
    let closers: Vec<Sender> = opened.iter().map(|one| one.socket.sender()).collect();
    let senders = begin(plan, opened, &shared);
    let looking = spawn_local(look(Rc::clone(&shared), tell.clone()));
    sleep(window.start.saturating_duration_since(Instant::now())).await;
    let all = plan.load.senders_in_all();
    Pace::new(senders.clone(), Rc::clone(&shared), all, part)
        .keep()
        .await;
    sleep(window.end.saturating_duration_since(Instant::now())).await;
    wait_for_answers(&senders, &shared, plan.grace).await;
    looking.abort();
    count_unanswered(&senders, &shared);
    let counts = shared.counts.take();
    close_all(&closers).await;
    Ok(counts)
}

/// How long to wait at the end for servers to close.
const GOODBYE: Duration = Duration::from_millis(500);

/// Closes every connection, so that the server does not report lost connections.
async fn close_all(closers: &[Sender]) {
    for sender in closers {
        // Some connections may already be closed.
        let _ = sender.close(CloseCode::NORMAL, "");
    }
    let all_closed = async {
        for sender in closers {
            sender.ended().await;
        }
    };
    // A connection that is not closed in time is dropped.
    let _ = timeout(GOODBYE, all_closed).await;
}

/// An open connection and its role.
struct Opened {
    socket: WebSocket,
    role: Role,
}

#[derive(Clone, Copy, Debug)]
enum Role {
    Echo,
    Publisher { channel: usize },
    Subscriber { channel: usize },
}

/// The role of connection `number`.
fn role(load: &Load, number: usize) -> Role {
    match load {
        Load::Echo { .. } => Role::Echo,
        Load::Channels {
            subscribers, names, ..
        } if number < *subscribers => Role::Subscriber {
            channel: number % names.len(),
        },
        Load::Channels {
            subscribers, names, ..
        } => Role::Publisher {
            channel: (number - subscribers) % names.len(),
        },
    }
}

/// Opens this thread's share of the connections.
async fn open(plan: &Plan, part: usize, tell: &SyncSender<Update>) -> Result<Vec<Opened>, String> {
    let places = Arc::new(Semaphore::new(OPENING));
    let mut opening = JoinSet::new();
    for number in (part..plan.connections()).step_by(plan.threads) {
        let places = Arc::clone(&places);
        let (connect, load) = (plan.connect.clone(), plan.load.clone());
        opening.spawn_local(async move {
            // The semaphore is never closed.
            let _place = places.acquire().await;
            let mut socket = connect.open().await.map_err(|error| with_causes(&error))?;
            let role = role(&load, number);
            if let Load::Channels {
                names,
                token,
                dialect,
                ..
            } = &load
            {
                let channel = match role {
                    Role::Subscriber { channel } => Some(names[channel].as_str()),
                    Role::Echo | Role::Publisher { .. } => None,
                };
                introduce(&mut socket, *dialect, token.as_deref(), channel).await?;
            }
            Ok::<_, String>(Opened { socket, role })
        });
    }
    let mut opened = Vec::new();
    while let Some(one) = opening.join_next().await {
        opened.push(one.map_err(|error| error.to_string())??);
        // If this fails, the run has failed already.
        let _ = tell.send(Update::Opened);
    }
    Ok(opened)
}

/// Starts receiving on all connections; returns the senders.
fn begin(plan: &Plan, opened: Vec<Opened>, shared: &Rc<Shared>) -> Vec<Rc<dyn LoadSender>> {
    let (is_binary, any_answer) = match &plan.load {
        Load::Echo {
            is_binary,
            any_answer,
            ..
        } => (*is_binary, *any_answer),
        Load::Channels { .. } => (false, false),
    };
    let messages = Rc::new(Messages::new(plan.size, is_binary, any_answer));
    let mut senders: Vec<Rc<dyn LoadSender>> = Vec::new();
    for Opened { socket, role } in opened {
        let shared = Rc::clone(shared);
        match role {
            Role::Echo => {
                let sender = Echo::new(&socket, Rc::clone(&messages), shared);
                spawn_local(Rc::clone(&sender).listen(socket));
                senders.push(sender);
            }
            Role::Publisher { channel } => {
                let name = plan.load.channel(channel);
                let to = (plan.load.dialect(), channel, name);
                let sender = Publisher::new(&socket, shared, to, plan.size, plan.epoch);
                spawn_local(Rc::clone(&sender).listen(socket));
                senders.push(sender);
            }
            Role::Subscriber { channel } => {
                let subscriber = Subscriber::new(shared, plan.load.dialect(), channel, plan.epoch);
                spawn_local(subscriber.listen(socket));
            }
        }
    }
    senders
}

/// Reports counts at intervals.
async fn look(shared: Rc<Shared>, tell: SyncSender<Update>) {
    let mut looks = interval(LOOK);
    loop {
        looks.tick().await;
        let glance = shared.glance.take();
        // If the display falls behind, it shows fewer updates.
        let _ = tell.try_send(Update::Glance(glance));
    }
}

/// After this long without a delivery, no more are expected.
const QUIET: Duration = Duration::from_millis(300);

/// Waits until every message is answered and deliveries have stopped, at most for the grace period.
async fn wait_for_answers(senders: &[Rc<dyn LoadSender>], shared: &Shared, grace: Duration) {
    let deadline = Instant::now() + grace;
    let mut heard = (0, Instant::now());
    while Instant::now() < deadline {
        let is_waiting = senders.iter().any(|sender| !sender.unanswered().is_empty());
        let delivered: u64 = shared.counts.borrow().delivered.iter().sum();
        if delivered != heard.0 {
            heard = (delivered, Instant::now());
        }
        if !is_waiting && (delivered == 0 || heard.1.elapsed() > QUIET) {
            return;
        }
        sleep(Duration::from_millis(5)).await;
    }
}

/// Counts messages that were never answered with the time they were waited for.
fn count_unanswered(senders: &[Rc<dyn LoadSender>], shared: &Shared) {
    let now = Instant::now();
    let mut counts = shared.counts.borrow_mut();
    for intended in senders.iter().flat_map(|sender| sender.unanswered()) {
        counts.unanswered += 1;
        counts.answers.note(intended, now, &shared.window);
    }
}
