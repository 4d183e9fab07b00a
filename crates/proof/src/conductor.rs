//! Runs a proof: hires the crew, breaks things, then waits until everybody has everything.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::Duration;

use offhook_client::Client;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::chance::Chance;
use crate::crew::Crew;
use crate::ledger::Findings;
use crate::network::Network;
use crate::plan::{Plan, channel};
use crate::report::{Broken, Report};
use crate::server::{Server, forget_seals};
use crate::weather::{Happening, Weather};
use crate::words::{Expected, News, Order, Progress};

/// How long the crew may take to get ready: hundreds of connections and subscriptions.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// Where a proof is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Subscribers come.
    Gathering,
    /// Things are broken.
    Storm,
    /// Nothing is broken any more; who lacks something gets it.
    Calm,
}

/// A proof as of now, for the show.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Status {
    /// Where it is.
    pub stage: Stage,
    /// For how long it has been running.
    pub elapsed: Duration,
    /// Connections that are open.
    pub connections: usize,
    /// What was broken.
    pub broken: Broken,
    /// What the clients did.
    pub progress: Progress,
}

struct Conductor<'a> {
    plan: &'a Plan,
    directory: &'a Path,
    network: Network,
    /// None while it is dead.
    server: Option<Server>,
    crew: Crew,
    chance: Chance,
    began: Instant,
    stage: Stage,
    broken: Broken,
    progress: Vec<Progress>,
    show: &'a mut dyn FnMut(Status),
    /// What ends when.
    frozen: Vec<(Instant, Thaw)>,
}

#[derive(Clone, Copy, Debug)]
enum Thaw {
    Connections,
    Process(usize),
}

/// Runs a proof in this directory, and shows how it goes.
pub(crate) async fn conduct(
    plan: &Plan,
    directory: &Path,
    show: &mut dyn FnMut(Status),
) -> io::Result<Report> {
    let mut conductor = Conductor {
        plan,
        directory,
        network: Network::open().await?,
        server: None,
        crew: Crew::new(),
        chance: Chance::new(plan.seed),
        began: Instant::now(),
        stage: Stage::Gathering,
        broken: Broken::default(),
        progress: Vec::new(),
        show,
        frozen: Vec::new(),
    };
    conductor.start_server().await?;
    conductor.gather().await?;
    conductor.storm().await?;
    conductor.calm().await
}

impl Conductor<'_> {
    async fn start_server(&mut self) -> io::Result<()> {
        let starting = Server::start(self.plan, self.directory);
        let server = if self.crew.len() == 0 {
            starting.await?
        } else {
            self.listen_while(starting).await??
        };
        self.network.lead_to(Some(server.address()));
        self.server = Some(server);
        Ok(())
    }

    /// Subscribers first, so that they see everything.
    async fn gather(&mut self) -> io::Result<()> {
        let plan = self.plan;
        for process in 0..plan.processes {
            let ours = (0..plan.subscribers).filter(|n| n % plan.processes == process);
            let order = Order::Watch {
                url: self.network.url(),
                subscribers: ours
                    .map(|subscriber| plan.followed_by(subscriber))
                    .collect(),
            };
            self.crew.hire(&plan.program, &order).await?;
        }
        self.progress = vec![Progress::default(); plan.processes + 2];
        self.await_ready(plan.processes).await?;
        for half in 0..2 {
            let ours = (0..plan.publishers).filter(|n| n % 2 == half);
            let order = Order::Publish {
                url: self.network.url(),
                publishers: ours.map(|n| (n, plan.published_by(n))).collect(),
                rate: plan.rate,
            };
            self.crew.hire(&plan.program, &order).await?;
        }
        self.await_ready(2).await
    }

    async fn await_ready(&mut self, mut count: usize) -> io::Result<()> {
        let deadline = Instant::now() + READY_WITHIN;
        while count > 0 {
            match timeout_at(deadline, self.hear()).await {
                Ok(news) => count -= usize::from(matches!(news?, (_, News::Ready))),
                Err(_) => return Err(io::Error::other("the clients do not get ready")),
            }
        }
        Ok(())
    }

    /// The next news; progress is shown on the way.
    async fn hear(&mut self) -> io::Result<(usize, News)> {
        let (number, news) = self.crew.next().await?;
        if let News::Progress(progress) = &news
            && let Some(known) = self.progress.get_mut(number)
        {
            *known = *progress;
        }
        let status = Status {
            stage: self.stage,
            elapsed: self.began.elapsed(),
            connections: self.network.connections(),
            broken: self.broken,
            progress: self.summed(),
        };
        (self.show)(status);
        Ok((number, news))
    }

    fn summed(&self) -> Progress {
        let parts = self.progress.iter().copied();
        parts.fold(Progress::default(), Progress::and)
    }

    async fn storm(&mut self) -> io::Result<()> {
        self.stage = Stage::Storm;
        let end = Instant::now() + self.plan.length;
        let mut weather = Weather::new(self.chance.clone(), self.crew.len());
        loop {
            let complete = weather.is_complete();
            let (pause, happening) = weather.next();
            let at = Instant::now() + pause;
            if at >= end && complete {
                break;
            }
            self.listen_until(at).await?;
            self.happens(happening).await?;
        }
        self.listen_until(end).await?;
        for (_, thaw) in std::mem::take(&mut self.frozen) {
            self.thaw(thaw);
        }
        Ok(())
    }

    async fn listen_until(&mut self, end: Instant) -> io::Result<()> {
        self.listen_while(sleep_until(end)).await
    }

    /// Takes news meanwhile, and thaws what has been frozen for long enough.
    async fn listen_while<T>(&mut self, future: impl Future<Output = T>) -> io::Result<T> {
        tokio::pin!(future);
        loop {
            let next = self.frozen.iter().map(|(at, _)| *at).min();
            let thawing = async {
                match next {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                done = &mut future => return Ok(done),
                news = self.hear() => drop(news?),
                () = thawing => self.thaw_due(),
            }
        }
    }

    fn thaw_due(&mut self) {
        let now = Instant::now();
        let due = self.frozen.extract_if(.., |(at, _)| *at <= now);
        for (_, what) in due.collect::<Vec<_>>() {
            self.thaw(what);
        }
    }

    fn thaw(&self, what: Thaw) {
        match what {
            Thaw::Connections => self.network.thaw(),
            Thaw::Process(number) => self.crew.thaw(number),
        }
    }

    async fn happens(&mut self, happening: Happening) -> io::Result<()> {
        let now = Instant::now();
        match happening {
            Happening::CutConnections { percent } => {
                self.broken.cut += self.network.cut(percent, &mut self.chance);
            }
            Happening::FreezeConnections { percent, time } => {
                self.broken.frozen_connections += self.network.freeze(percent, &mut self.chance);
                self.frozen.push((now + time, Thaw::Connections));
            }
            Happening::FreezeProcess { number, time } => {
                self.broken.frozen_processes += 1;
                self.crew.freeze(number);
                self.frozen.push((now + time, Thaw::Process(number)));
            }
            Happening::KillServer { time, keeps_seals } => {
                self.broken.kills += 1;
                self.network.lead_to(None);
                if let Some(server) = self.server.take() {
                    server.kill().await?;
                }
                if !keeps_seals {
                    self.broken.forgotten += 1;
                    forget_seals(self.directory)?;
                }
                self.listen_until(now + time).await?;
                self.start_server().await?;
            }
            Happening::RestartServer => {
                self.broken.stops += 1;
                self.network.lead_to(None);
                if let Some(server) = self.server.take() {
                    self.listen_while(server.stop()).await??;
                }
                self.start_server().await?;
            }
        }
        Ok(())
    }

    /// Nothing is broken any more: everything that was published has to come to everybody.
    async fn calm(mut self) -> io::Result<Report> {
        self.stage = Stage::Calm;
        let began = Instant::now();
        let deadline = began + self.plan.patience;
        let totals = timeout_at(deadline, self.published()).await;
        let late = |_| io::Error::other("the publishers do not get their answers");
        let totals = totals.map_err(late)??;
        let channels = timeout_at(deadline, self.expected(&totals)).await;
        let late = |_| io::Error::other("the server does not say what its channels have");
        let channels = channels.map_err(late)??;
        self.crew.order_all(&Order::Expect { channels }).await?;
        let (found, late) = self.found(deadline).await?;
        let findings = found.values().map(|(findings, _)| *findings);
        Ok(Report {
            plan: self.plan.clone(),
            broken: self.broken,
            progress: self.summed(),
            findings: findings.fold(Findings::default(), Findings::and),
            disagreements: disagreements(found.values().map(|(_, orders)| orders)),
            late,
            calm: began.elapsed(),
        })
    }

    /// How many each publisher published, when all of them are acknowledged.
    async fn published(&mut self) -> io::Result<BTreeMap<usize, u64>> {
        self.crew.order_all(&Order::Stop).await?;
        let mut published = BTreeMap::new();
        while published.len() < self.plan.publishers {
            if let (_, News::Published { totals }) = self.hear().await? {
                published.extend(totals);
            }
        }
        Ok(published)
    }

    async fn expected(&self, totals: &BTreeMap<usize, u64>) -> io::Result<Vec<Expected>> {
        let client = Client::to(self.network.url())
            .connection(|connect| connect.no_proxy())
            .start();
        let mut channels = Vec::new();
        for number in 0..self.plan.channels {
            let newest = client.history(channel(number)).limit(1).await;
            let head = newest.map_err(io::Error::other)?.head.offset;
            let ours = |publisher| self.plan.published_by(publisher) == number;
            let published = (0..self.plan.publishers).map(|publisher| match ours(publisher) {
                true => totals.get(&publisher).copied().unwrap_or(0),
                false => 0,
            });
            let published = published.collect();
            channels.push(Expected { published, head });
        }
        Ok(channels)
    }

    /// What the processes of subscribers found, and how many of them lacked something in the end.
    async fn found(&mut self, deadline: Instant) -> io::Result<(Found, usize)> {
        let mut found = Found::new();
        while found.len() < self.plan.processes {
            match timeout_at(deadline, self.hear()).await {
                Ok(news) => {
                    if let (number, News::Found { findings, orders }) = news? {
                        found.insert(number, (findings, orders));
                    }
                }
                Err(_) => break,
            }
        }
        let late = self.plan.processes - found.len();
        if late > 0 {
            self.crew.order_all(&Order::Report).await?;
        }
        let patience = Instant::now() + READY_WITHIN;
        while found.len() < self.plan.processes {
            let news = timeout_at(patience, self.hear()).await;
            let silent = |_| io::Error::other("the subscribers do not say what they found");
            if let (number, News::Found { findings, orders }) = news.map_err(silent)?? {
                found.insert(number, (findings, orders));
            }
        }
        Ok((found, late))
    }
}

type Found = BTreeMap<usize, (Findings, Vec<Vec<u64>>)>;

/// Channels that were seen in more than one order.
fn disagreements<'a>(seen: impl Iterator<Item = &'a Vec<Vec<u64>>>) -> usize {
    let mut orders: BTreeMap<usize, Vec<u64>> = BTreeMap::new();
    for channels in seen {
        for (channel, sums) in channels.iter().enumerate() {
            orders.entry(channel).or_default().extend(sums);
        }
    }
    for sums in orders.values_mut() {
        sums.sort_unstable();
        sums.dedup();
    }
    orders.values().filter(|sums| sums.len() > 1).count()
}
