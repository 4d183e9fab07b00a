//! BEGIN, COMMIT and ABORT. The frames of a transaction are held until its COMMIT. Then its messages
//! are published in order, and what it acknowledges takes effect once all of them are published.

use std::collections::HashMap;

use offhook_engine::Command;

use super::{
    acknowledging::Verdict,
    dialect::Stomp,
    frame::{Frame, Invalid},
    publishing::{After, Sending, required},
};

/// How many transactions a connection may have open. 16: enough for one in each thread of a client.
const OPEN: usize = 16;
/// How many frames may be held for all transactions of a connection. 1,024: enough for a batch;
/// larger batches must be split into several transactions.
const STEPS: usize = 1_024;
/// How many bytes may be held, of bodies and headers. 1 MiB: as much as a single message may have.
const BYTES: usize = 1 << 20;
/// What a frame takes beside its body and its headers. 256: about the size of a command, and of the
/// allocations of 16 headers.
const STEP: usize = 256;

/// Identifies a transaction that is being committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct CommitId(u64);

/// The transactions of a connection.
#[derive(Debug, Default)]
pub(super) struct Transactions {
    open: HashMap<Box<str>, Vec<Step>>,
    /// The number of frames that all transactions hold.
    steps: usize,
    bytes: usize,
    commits: HashMap<CommitId, Commit>,
    next: u64,
}

#[derive(Debug)]
enum Step {
    Send(Command),
    Settle(u64, Verdict),
}

impl Step {
    fn bytes(&self) -> usize {
        match self {
            Self::Send(Command::Publish {
                channel,
                data,
                tags,
                key,
                ..
            }) => {
                let tags = tags
                    .iter()
                    .map(|(name, value)| name.len().saturating_add(value.len()));
                let key = key.as_ref().map_or(0, |key| key.as_str().len());
                tags.chain([STEP, channel.as_str().len(), key, data.len()])
                    .fold(0, usize::saturating_add)
            }
            Self::Send(_) | Self::Settle(..) => STEP,
        }
    }
}

#[derive(Debug)]
pub(super) struct Commit {
    /// The number of messages that have not been published yet.
    left: usize,
    /// What the client has acknowledged. It takes effect once all messages are published: if one of them
    /// is not, what the client has processed to make them is delivered again.
    settles: Vec<(u64, Verdict)>,
    receipt: Option<Box<str>>,
}

impl Transactions {
    /// How many bytes the open transactions hold.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    fn of(&mut self, name: &str) -> Result<&mut Vec<Step>, Invalid> {
        self.open.get_mut(name).ok_or_else(|| unknown(name))
    }

    fn add(&mut self, name: &str, step: Step) -> Result<(), Invalid> {
        let bytes = self.bytes.saturating_add(step.bytes());
        if self.steps >= STEPS || bytes > BYTES {
            let detail = format!(
                "the open transactions hold more than {STEPS} frames or {BYTES} bytes; commit \
                 earlier"
            );
            return Err(Invalid::too_large(detail));
        }
        self.of(name)?.push(step);
        self.bytes = bytes;
        self.steps = self.steps.saturating_add(1);
        Ok(())
    }

    /// Holds a message until the COMMIT.
    pub(super) fn send(&mut self, name: &str, command: Command) -> Result<(), Invalid> {
        self.add(name, Step::Send(command))
    }

    /// Holds an acknowledgement until the COMMIT.
    pub(super) fn settle(&mut self, name: &str, ack: u64, verdict: Verdict) -> Result<(), Invalid> {
        self.add(name, Step::Settle(ack, verdict))
    }

    fn take(&mut self, name: &str) -> Result<Vec<Step>, Invalid> {
        let steps = self.open.remove(name).ok_or_else(|| unknown(name))?;
        let bytes = steps.iter().map(Step::bytes).fold(0, usize::saturating_add);
        self.bytes = self.bytes.saturating_sub(bytes);
        self.steps = self.steps.saturating_sub(steps.len());
        Ok(steps)
    }

    /// Notes that a message of a transaction was published. Returns what follows the last message.
    pub(super) fn published(&mut self, id: CommitId) -> Option<Commit> {
        let commit = self.commits.get_mut(&id)?;
        commit.left = commit.left.saturating_sub(1);
        if commit.left > 0 {
            return None;
        }
        self.commits.remove(&id)
    }

    /// The receipt that a COMMIT requested.
    pub(super) fn receipt_of(&self, id: CommitId) -> Option<&str> {
        self.commits.get(&id)?.receipt.as_deref()
    }
}

fn unknown(name: &str) -> Invalid {
    let shown: String = name.chars().take(40).collect();
    let detail = format!("the transaction {shown:?} has not been begun");
    Invalid::new("unknown transaction", detail)
}

impl Stomp {
    pub(super) fn begin(&mut self, frame: &Frame) -> Result<(), Invalid> {
        let name = required(frame, "transaction")?;
        let open = &mut self.transactions.open;
        if open.contains_key(name) {
            let shown: String = name.chars().take(40).collect();
            let detail = format!("the transaction {shown:?} has been begun already");
            return Err(Invalid::new("transaction exists", detail));
        }
        if open.len() >= OPEN {
            let detail =
                format!("{OPEN} transactions are open, which is the limit; commit or abort one");
            return Err(Invalid::too_large(detail));
        }
        open.insert(name.into(), Vec::new());
        self.give_receipt(frame.header("receipt"));
        Ok(())
    }

    pub(super) fn commit(&mut self, frame: &Frame) -> Result<(), Invalid> {
        let steps = self.transactions.take(required(frame, "transaction")?)?;
        let id = CommitId(self.transactions.next);
        self.transactions.next = id.0.wrapping_add(1);
        let mut commit = Commit {
            left: 0,
            settles: Vec::new(),
            receipt: frame.header("receipt").map(Into::into),
        };
        for step in steps {
            match step {
                Step::Send(command) => {
                    commit.left = commit.left.saturating_add(1);
                    self.outgoing.push_back(Sending {
                        number: 0,
                        command,
                        after: After::Commit(id),
                    });
                }
                Step::Settle(ack, verdict) => commit.settles.push((ack, verdict)),
            }
        }
        match commit.left {
            0 => self.committed(commit),
            _ => drop(self.transactions.commits.insert(id, commit)),
        }
        self.publish_some();
        Ok(())
    }

    /// All messages of a transaction are published.
    pub(super) fn committed(&mut self, commit: Commit) {
        for (ack, verdict) in commit.settles {
            self.settle(ack, verdict);
        }
        self.give_receipt(commit.receipt.as_deref());
    }

    pub(super) fn abort(&mut self, frame: &Frame) -> Result<(), Invalid> {
        self.transactions.take(required(frame, "transaction")?)?;
        self.give_receipt(frame.header("receipt"));
        Ok(())
    }
}
