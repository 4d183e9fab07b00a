//! The processes of clients, from the runner's side: instructed, observed, frozen and resumed.

use std::io;
use std::path::Path;
use std::process::Stdio;

use rustix::process::Signal;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::mpsc;

use crate::children;
use crate::messages::{Instruction, Update};

/// The number of updates that can be queued for the runner: a few per process.
const WAITING: usize = 256;

/// An update, with the number of the process that sent it.
pub(crate) type FromProcess = (usize, Update);

/// A process of clients.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    stdin: ChildStdin,
}

/// All processes of clients.
#[derive(Debug)]
pub(crate) struct Processes {
    processes: Vec<Process>,
    updates: mpsc::Receiver<FromProcess>,
    sender: mpsc::Sender<FromProcess>,
}

impl Processes {
    pub(crate) fn new() -> Self {
        let (sender, updates) = mpsc::channel(WAITING);
        Self {
            processes: Vec::new(),
            updates,
            sender,
        }
    }

    /// Starts one more, with its first instruction.
    pub(crate) async fn start(
        &mut self,
        program: &Path,
        instruction: &Instruction,
    ) -> io::Result<()> {
        let mut command = Command::new(program);
        command
            .args(["prove", "--client-process"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        children::without_surroundings(&mut command);
        let mut child = command.spawn()?;
        let unpiped = || io::Error::other("stdin and stdout are not piped");
        let stdin_pipe = child.stdin.take().ok_or_else(unpiped)?;
        let stdout = child.stdout.take().ok_or_else(unpiped)?;
        let number = self.processes.len();
        tokio::spawn(listen(number, stdout, self.sender.clone()));
        self.processes.push(Process {
            child,
            stdin: stdin_pipe,
        });
        self.instruct(number, instruction).await
    }

    pub(crate) fn len(&self) -> usize {
        self.processes.len()
    }

    pub(crate) async fn instruct(
        &mut self,
        number: usize,
        instruction: &Instruction,
    ) -> io::Result<()> {
        let Some(process) = self.processes.get_mut(number) else {
            return Ok(());
        };
        let mut line = serde_json::to_string(instruction).map_err(io::Error::other)?;
        line.push('\n');
        process.stdin.write_all(line.as_bytes()).await
    }

    pub(crate) async fn instruct_all(&mut self, instruction: &Instruction) -> io::Result<()> {
        for number in 0..self.processes.len() {
            self.instruct(number, instruction).await?;
        }
        Ok(())
    }

    /// The next update of any process.
    pub(crate) async fn next(&mut self) -> io::Result<FromProcess> {
        match self.updates.recv().await {
            Some((number, Update::Failed { why })) => {
                Err(io::Error::other(format!("process {number}: {why}")))
            }
            Some(update) => Ok(update),
            None => Err(io::Error::other("all processes of clients have ended")),
        }
    }

    /// SIGSTOP.
    pub(crate) fn freeze(&self, number: usize) {
        self.signal(number, Signal::STOP);
    }

    /// SIGCONT.
    pub(crate) fn resume(&self, number: usize) {
        self.signal(number, Signal::CONT);
    }

    fn signal(&self, number: usize, signal: Signal) {
        if let Some(process) = self.processes.get(number) {
            children::signal(&process.child, signal);
        }
    }
}

async fn listen(number: usize, stdout: ChildStdout, sender: mpsc::Sender<FromProcess>) {
    let mut lines = BufReader::new(stdout).lines();
    let why = loop {
        match lines.next_line().await {
            Ok(Some(line)) => match serde_json::from_str(&line) {
                Ok(update) => {
                    if sender.send((number, update)).await.is_err() {
                        return;
                    }
                }
                Err(error) => break format!("{error} in {line:?}"),
            },
            Ok(None) => break "it ended".to_owned(),
            Err(error) => break error.to_string(),
        }
    };
    // Without a runner it is not read.
    let _unread = sender.send((number, Update::Failed { why })).await;
}
