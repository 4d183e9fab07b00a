//! Client processes that hold idle connections.

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::running::pinned;

/// The number of unread outputs of holders; they print little.
const UNREAD: usize = 1024;

/// A line of output of a holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    Open(usize),
    Ready(usize),
    Pinged(usize),
}

/// All client processes of one measurement; they are killed on drop.
pub(super) struct Holders {
    children: Vec<Child>,
    inputs: Vec<ChildStdin>,
    said: Receiver<(usize, Result<Said>)>,
    say: std::sync::mpsc::SyncSender<(usize, Result<Said>)>,
    deadline: Instant,
}

impl Drop for Holders {
    fn drop(&mut self) {
        // The end of their input ends them; those still running after that are killed.
        self.inputs.clear();
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Holders {
    /// Without processes; all waits together may take this time.
    pub(super) fn within(time: Duration) -> Self {
        let (say, said) = sync_channel(UNREAD);
        Self {
            children: Vec::new(),
            inputs: Vec::new(),
            said,
            say,
            deadline: Instant::now() + time,
        }
    }

    /// Starts one more; `line` is the load generator's `hold` and its arguments.
    pub(super) fn start(&mut self, core: usize, line: &[OsString]) -> Result<()> {
        let mut child = pinned(core, line)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("setpriv and taskset (util-linux) are needed")?;
        let number = self.children.len();
        self.inputs.extend(child.stdin.take());
        let output = child.stdout.take().context("no output")?;
        self.children.push(child);
        let say = self.say.clone();
        std::thread::spawn(move || {
            for said in sentences(output) {
                if say.send((number, said)).is_err() {
                    return;
                }
            }
        });
        Ok(())
    }

    /// Makes every connection exchange a ping.
    pub(super) fn ping(&mut self) -> Result<()> {
        for input in &mut self.inputs {
            input.write_all(b"ping\n").context("a client has ended")?;
        }
        Ok(())
    }

    /// Waits until each has printed what `is_done` accepts, and returns the sum of its values;
    /// `progress` is given every line.
    pub(super) fn wait(
        &self,
        mut is_done: impl FnMut(Said) -> Option<usize>,
        mut progress: impl FnMut(usize, Said),
    ) -> Result<usize> {
        let (mut done, mut total) = (0, 0);
        while done < self.children.len() {
            let left = self.deadline.saturating_duration_since(Instant::now());
            let (number, said) = match self.said.recv_timeout(left) {
                Err(RecvTimeoutError::Timeout) => bail!("the clients did not answer in time"),
                said => said.context("all clients have ended")?,
            };
            let said = said.with_context(|| format!("client {number}"))?;
            progress(number, said);
            if let Some(count) = is_done(said) {
                done += 1;
                total += count;
            }
        }
        Ok(total)
    }
}

fn sentences(output: ChildStdout) -> impl Iterator<Item = Result<Said>> {
    BufReader::new(output).lines().map(|line| {
        let line = line?;
        let (word, count) = line.split_once(' ').unwrap_or((&line, ""));
        let count = || count.parse().context("no number");
        match word {
            "open" => Ok(Said::Open(count()?)),
            "ready" => Ok(Said::Ready(count()?)),
            "pinged" => Ok(Said::Pinged(count()?)),
            _ => bail!("{line}"),
        }
    })
}
