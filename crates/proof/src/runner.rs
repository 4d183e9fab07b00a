//! Runs a proof: starts the processes, injects faults, then waits until all subscribers have
//! everything.

mod injecting;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use offhook_client::Client;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::faults::Faults;
use crate::ledger::{Expected, Findings};
use crate::messages::{Instruction, Progress, Reach, Secure, Total, Update};
use crate::network::Network;
use crate::plan::{Dialect, Plan, channel};
use crate::processes::Processes;
use crate::random::Random;
use crate::report::{Broken, Memory, Report};
use crate::server::{Server, create_certificate, held};
use crate::system::FaultySystem;

/// How long the processes may take to get ready: hundreds of connections and subscriptions.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// How often the members are queried until they are correct.
const ASK_AGAIN: Duration = Duration::from_millis(200);

/// The stage of a proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Subscribers are connecting.
    Starting,
    /// Faults are being injected.
    Faults,
    /// Faults are over; subscribers receive what they are missing.
    Settling,
}

/// The status of a running proof.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Status {
    /// The stage.
    pub stage: Stage,
    /// How long it has been running.
    pub elapsed: Duration,
    /// The number of open connections.
    pub connections: usize,
    /// The injected faults.
    pub broken: Broken,
    /// The clients' progress.
    pub progress: Progress,
}

struct Runner<'a> {
    plan: &'a Plan,
    directory: &'a Path,
    /// The server's certificate in PEM, if it speaks HTTP/3.
    certificate: Option<String>,
    network: Network,
    /// What makes its disk and its clock fail, where there is a compiler to make it.
    system: Option<FaultySystem>,
    /// None while it is down.
    server: Option<Server>,
    /// What the server's process took when the clients were ready.
    began_with: Option<u64>,
    processes: Processes,
    /// The newest backup, and the number of backups.
    backup: Option<PathBuf>,
    random: Random,
    began: Instant,
    stage: Stage,
    broken: Broken,
    progress: Vec<Progress>,
    show: &'a mut dyn FnMut(Status),
    /// Frozen processes and connections, and when to resume them.
    frozen: Vec<(Instant, Resume)>,
}

#[derive(Clone, Copy, Debug)]
enum Resume {
    Connections,
    Process(usize),
    Server,
}

/// Runs a proof in this directory.
pub(crate) async fn run(
    plan: &Plan,
    directory: &Path,
    show: &mut dyn FnMut(Status),
) -> io::Result<Report> {
    let certificate = match plan.transport.needs_http3() {
        true => Some(create_certificate(directory)?),
        false => None,
    };
    let mut runner = Runner {
        plan,
        directory,
        certificate,
        network: Network::open().await?,
        system: FaultySystem::build(directory).await?,
        server: None,
        began_with: None,
        processes: Processes::new(),
        backup: None,
        random: Random::new(plan.seed),
        began: Instant::now(),
        stage: Stage::Starting,
        broken: Broken::default(),
        progress: Vec::new(),
        show,
        frozen: Vec::new(),
    };
    runner.start_server().await?;
    runner.start_clients().await?;
    runner.began_with = runner.server.as_ref().and_then(Server::memory);
    runner.inject_faults().await?;
    runner.settle().await
}

impl Runner<'_> {
    async fn start_server(&mut self) -> io::Result<()> {
        let system = self.system.take();
        if let Some(system) = &system {
            // It is to fail while it runs: a start that fails is for an operator.
            system.fail_fsyncs(0)?;
        }
        let starting = Server::start(self.plan, self.directory, system.as_ref());
        let server = if self.processes.len() == 0 {
            starting.await?
        } else {
            self.listen_while(starting).await??
        };
        self.system = system;
        self.network.forward_to(Some(server.listening()));
        self.server = Some(server);
        Ok(())
    }

    /// Subscribers first, so that they see everything.
    async fn start_clients(&mut self) -> io::Result<()> {
        let plan = self.plan;
        let reach = Reach {
            url: self.network.url(),
            webtransport: self.certificate.clone().map(|certificate| Secure {
                url: self.network.webtransport_url(),
                certificate,
            }),
        };
        for process in 0..plan.processes {
            let ours = (0..plan.subscribers).filter(|n| n % plan.processes == process);
            let instruction = Instruction::Subscribe {
                reach: reach.clone(),
                dialect: plan.dialect,
                transport: plan.transport,
                subscribers: ours
                    .map(|subscriber| plan.followed_by(subscriber))
                    .collect(),
            };
            self.processes.start(&plan.program, &instruction).await?;
        }
        self.progress = vec![Progress::default(); plan.processes + 2];
        self.await_ready(plan.processes).await?;
        for half in 0..2 {
            let ours = (0..plan.publishers).filter(|n| n % 2 == half);
            let instruction = Instruction::Publish {
                reach: reach.clone(),
                dialect: plan.dialect,
                transport: plan.transport,
                publishers: ours.map(|n| (n, plan.published_by(n))).collect(),
                rate: plan.rate,
            };
            self.processes.start(&plan.program, &instruction).await?;
        }
        self.await_ready(2).await
    }

    async fn await_ready(&mut self, mut count: usize) -> io::Result<()> {
        let deadline = Instant::now() + READY_WITHIN;
        while count > 0 {
            match timeout_at(deadline, self.next_update()).await {
                Ok(update) => count -= usize::from(matches!(update?, (_, Update::Ready))),
                Err(_) => return Err(io::Error::other("the clients do not get ready")),
            }
        }
        Ok(())
    }

    /// The next update; progress is displayed in the meantime.
    async fn next_update(&mut self) -> io::Result<(usize, Update)> {
        let (number, update) = self.processes.next().await?;
        if let Update::Progress(progress) = &update
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
        Ok((number, update))
    }

    fn summed(&self) -> Progress {
        let parts = self.progress.iter().copied();
        parts.fold(Progress::default(), Progress::and)
    }

    async fn inject_faults(&mut self) -> io::Result<()> {
        self.stage = Stage::Faults;
        let end = Instant::now() + self.plan.length;
        let has_restores = self.plan.dialect.survives_restores();
        let mut faults = Faults::new(self.random.clone(), self.processes.len(), has_restores);
        loop {
            let complete = faults.is_complete();
            let (pause, fault) = faults.next();
            let at = Instant::now() + pause;
            if at >= end && complete {
                break;
            }
            self.listen_until(at).await?;
            self.inject(fault).await?;
        }
        self.listen_until(end).await?;
        for (_, frozen) in std::mem::take(&mut self.frozen) {
            self.resume(frozen);
        }
        Ok(())
    }

    async fn listen_until(&mut self, end: Instant) -> io::Result<()> {
        self.listen_while(sleep_until(end)).await
    }

    /// Handles updates in the meantime, and resumes what was frozen for long enough.
    async fn listen_while<T>(&mut self, future: impl Future<Output = T>) -> io::Result<T> {
        tokio::pin!(future);
        loop {
            let next = self.frozen.iter().map(|(at, _)| *at).min();
            let resuming = async {
                match next {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                done = &mut future => return Ok(done),
                update = self.next_update() => drop(update?),
                () = resuming => self.resume_due(),
            }
        }
    }

    fn resume_due(&mut self) {
        let now = Instant::now();
        let due = self.frozen.extract_if(.., |(at, _)| *at <= now);
        for (_, what) in due.collect::<Vec<_>>() {
            self.resume(what);
        }
    }

    fn resume(&self, what: Resume) {
        match what {
            Resume::Connections => self.network.resume(),
            Resume::Process(number) => self.processes.resume(number),
            Resume::Server => {
                if let Some(server) = &self.server {
                    server.resume();
                }
            }
        }
    }

    /// The faults are over: every subscriber must receive everything that was published.
    async fn settle(mut self) -> io::Result<Report> {
        self.stage = Stage::Settling;
        let began = Instant::now();
        let totals = self.published().await?;
        let deadline = Instant::now() + self.plan.patience;
        let channels = timeout_at(deadline, self.expected(&totals)).await;
        let late = |_| io::Error::other("the server did not report its channels in time");
        let channels = channels.map_err(late)??;
        self.processes
            .instruct_all(&Instruction::Expect { channels })
            .await?;
        let (found, lacking, late) = self.found().await?;
        let settled = began.elapsed();
        let deadline = Instant::now() + self.plan.patience;
        let presence = self.wrong_members(deadline).await?;
        let memory = self.memory(deadline).await?;
        if let Some(system) = &self.system {
            self.broken.failed_fsyncs = system.failed_fsyncs()?;
        }
        self.broken.has_system = self.system.is_some();
        let findings = found.values().map(|(findings, _)| *findings);
        Ok(Report {
            plan: self.plan.clone(),
            broken: self.broken,
            progress: self.summed(),
            findings: findings.fold(Findings::default(), Findings::and),
            disagreements: disagreements(found.values().map(|(_, orders)| orders)),
            presence,
            memory,
            late,
            lacking,
            settled,
        })
    }

    /// What the server holds once everybody has everything: nothing for connections.
    async fn memory(&mut self, deadline: Instant) -> io::Result<Memory> {
        let address = self.server.as_ref().map(Server::address);
        let address = address.ok_or_else(|| io::Error::other("the server is down"))?;
        let held = loop {
            let held = self.listen_while(held(address)).await??;
            if held == 0 || Instant::now() > deadline {
                break held;
            }
            self.listen_until(Instant::now() + ASK_AGAIN).await?;
        };
        Ok(Memory {
            held,
            began: self.began_with,
            ended: self.server.as_ref().and_then(Server::memory),
        })
    }

    /// The next update; `None` if the count has not grown for as long as the plan allows.
    ///
    /// The total time is not limited: it depends on the faults, and on the speed of the machine.
    async fn update_while_growing(
        &mut self,
        seen: &mut (u64, Instant),
        count: impl Fn(Progress) -> u64,
    ) -> io::Result<Option<(usize, Update)>> {
        let now = count(self.summed());
        if now != seen.0 {
            *seen = (now, Instant::now() + self.plan.patience);
        }
        match timeout_at(seen.1, self.next_update()).await {
            Ok(update) => Ok(Some(update?)),
            Err(_) => Ok(None),
        }
    }

    /// What each publisher published, once all of it is acknowledged.
    async fn published(&mut self) -> io::Result<BTreeMap<usize, Total>> {
        self.processes.instruct_all(&Instruction::Stop).await?;
        let mut published = BTreeMap::new();
        let mut seen = (u64::MAX, Instant::now());
        while published.len() < self.plan.publishers {
            let update = self.update_while_growing(&mut seen, |progress| progress.published);
            let silent = || io::Error::other("the publishers receive no answers");
            if let (_, Update::Published { totals }) = update.await?.ok_or_else(silent)? {
                published.extend(totals.into_iter().map(|total| (total.publisher, total)));
            }
        }
        Ok(published)
    }

    async fn expected(&self, totals: &BTreeMap<usize, Total>) -> io::Result<Vec<Expected>> {
        let client = self.client();
        let mut channels = Vec::new();
        for number in 0..self.plan.channels {
            let ours = |publisher| self.plan.published_by(publisher) == number;
            let published = (0..self.plan.publishers).map(|publisher| match ours(publisher) {
                true => totals.get(&publisher).map_or(0, |total| total.count),
                false => 0,
            });
            let published: Vec<u64> = published.collect();
            let head = match self.plan.dialect {
                // Messages have no offsets; what is received again does not count.
                Dialect::Mqtt { .. } => published.iter().sum(),
                Dialect::Native | Dialect::SocketIo => {
                    let newest = client.history(channel(number)).limit(1).await;
                    newest.map_err(io::Error::other)?.head.offset
                }
            };
            let here = totals.values().filter(|total| ours(total.publisher));
            let discarded = here
                .filter(|_| self.broken.restores > 0)
                .map(|total| (total.publisher, total.discarded.clone()));
            channels.push(Expected {
                published,
                discarded: discarded.collect(),
                sessions_lost: self.broken.keys_deleted.into(),
                head,
            });
        }
        Ok(channels)
    }

    fn client(&self) -> Client {
        Client::to(self.network.url())
            .connection(|connect| connect.no_proxy())
            .start()
    }

    /// Channels that do not have exactly their subscribers as members. Members of sessions that could
    /// not be resumed leave when their grace is over, so some time is given.
    async fn wrong_members(&mut self, deadline: Instant) -> io::Result<usize> {
        if !self.plan.dialect.has_members() {
            return Ok(0);
        }
        let client = self.client();
        let mut wrong = 0;
        for number in 0..self.plan.channels {
            let subscribers = (0..self.plan.subscribers).map(|n| self.plan.followed_by(n));
            let expected = subscribers.filter(|channels| channels.contains(&number));
            let expected = expected.count() as u64;
            loop {
                let members = client.presence(channel(number)).await;
                if members.map_err(io::Error::other)?.total == expected {
                    break;
                }
                if Instant::now() > deadline {
                    wrong += 1;
                    break;
                }
                self.listen_until(Instant::now() + ASK_AGAIN).await?;
            }
        }
        Ok(wrong)
    }

    /// What the processes of subscribers found, and how many of them lacked something in the end.
    async fn found(&mut self) -> io::Result<(Found, Vec<String>, usize)> {
        let mut found = Found::new();
        let mut lack = Vec::new();
        let mut seen = (u64::MAX, Instant::now());
        while found.len() < self.plan.processes {
            let update = self.update_while_growing(&mut seen, |progress| progress.delivered);
            match update.await? {
                Some((number, update)) => record(&mut found, &mut lack, number, update),
                None => break,
            }
        }
        let late = self.plan.processes - found.len();
        if late > 0 {
            self.processes.instruct_all(&Instruction::Report).await?;
        }
        let patience = Instant::now() + READY_WITHIN;
        while found.len() < self.plan.processes {
            let update = timeout_at(patience, self.next_update()).await;
            let silent =
                |_| io::Error::other("the subscribers did not report their findings in time");
            let (number, update) = update.map_err(silent)??;
            record(&mut found, &mut lack, number, update);
        }
        Ok((found, lack, late))
    }
}

fn record(found: &mut Found, lack: &mut Vec<String>, number: usize, update: Update) {
    if let Update::Found {
        findings,
        orders,
        lacking,
    } = update
    {
        found.insert(number, (findings, orders));
        lack.extend(lacking);
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
