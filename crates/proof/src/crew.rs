//! A process of clients, as the conductor sees it: told what to do, heard, frozen and thawed.

use std::io;
use std::path::Path;
use std::process::Stdio;

use rustix::process::Signal;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::mpsc;

use crate::children;
use crate::words::{News, Order};

/// News that wait for the conductor: a few of each process.
const NEWS: usize = 256;

/// What a process tells, with its number.
pub(crate) type Told = (usize, News);

/// A process of clients.
#[derive(Debug)]
pub(crate) struct Member {
    child: Child,
    orders: ChildStdin,
}

/// All processes of clients.
#[derive(Debug)]
pub(crate) struct Crew {
    members: Vec<Member>,
    told: mpsc::Receiver<Told>,
    tell: mpsc::Sender<Told>,
}

impl Crew {
    pub(crate) fn new() -> Self {
        let (tell, told) = mpsc::channel(NEWS);
        Self {
            members: Vec::new(),
            told,
            tell,
        }
    }

    /// One more, with its first order.
    pub(crate) async fn hire(&mut self, program: &Path, order: &Order) -> io::Result<()> {
        let mut command = Command::new(program);
        command
            .args(["prove", "--crew"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        children::without_surroundings(&mut command);
        let mut child = command.spawn()?;
        let unpiped = || io::Error::other("stdin and stdout are not piped");
        let orders = child.stdin.take().ok_or_else(unpiped)?;
        let stdout = child.stdout.take().ok_or_else(unpiped)?;
        let number = self.members.len();
        tokio::spawn(listen(number, stdout, self.tell.clone()));
        self.members.push(Member { child, orders });
        self.order(number, order).await
    }

    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    pub(crate) async fn order(&mut self, number: usize, order: &Order) -> io::Result<()> {
        let Some(member) = self.members.get_mut(number) else {
            return Ok(());
        };
        let mut line = serde_json::to_string(order).map_err(io::Error::other)?;
        line.push('\n');
        member.orders.write_all(line.as_bytes()).await
    }

    pub(crate) async fn order_all(&mut self, order: &Order) -> io::Result<()> {
        for number in 0..self.members.len() {
            self.order(number, order).await?;
        }
        Ok(())
    }

    /// What one of them has to say next.
    pub(crate) async fn next(&mut self) -> io::Result<Told> {
        match self.told.recv().await {
            Some((number, News::Failed { why })) => {
                Err(io::Error::other(format!("process {number}: {why}")))
            }
            Some(told) => Ok(told),
            None => Err(io::Error::other("nobody is there any more")),
        }
    }

    /// SIGSTOP: it does not even notice.
    pub(crate) fn freeze(&self, number: usize) {
        self.signal(number, Signal::STOP);
    }

    /// SIGCONT.
    pub(crate) fn thaw(&self, number: usize) {
        self.signal(number, Signal::CONT);
    }

    fn signal(&self, number: usize, signal: Signal) {
        if let Some(member) = self.members.get(number) {
            children::signal(&member.child, signal);
        }
    }
}

async fn listen(number: usize, stdout: ChildStdout, tell: mpsc::Sender<Told>) {
    let mut lines = BufReader::new(stdout).lines();
    let why = loop {
        match lines.next_line().await {
            Ok(Some(line)) => match serde_json::from_str(&line) {
                Ok(news) => {
                    if tell.send((number, news)).await.is_err() {
                        return;
                    }
                }
                Err(error) => break format!("{error} in {line:?}"),
            },
            Ok(None) => break "it ended".to_owned(),
            Err(error) => break error.to_string(),
        }
    };
    // Without a conductor nobody wants to know.
    let _unheard = tell.send((number, News::Failed { why })).await;
}
