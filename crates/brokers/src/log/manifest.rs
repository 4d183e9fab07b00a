//! The manifest lists what a log consists of. Without it, a file that is missing, too old or from
//! another log would be taken for an empty one.
//!
//! It is text, so that an operator can read it:
//!
//! ```text
//! offhook log 1
//! id 5d3c0a…                      32 hex digits, also in every other part of the log
//! state complete                  or: beginning
//! epoch 1700000000000000          the newest epoch that was begun
//! batch 12                        the batch with which it began
//! journal 7                       the newest journal that was seen
//! keyspace 1 log                  the number of its directory, and its name
//! sealed 6 1:90 2:88              a journal, and for each keyspace the newest entry it has there
//! check 1f2e…                     of everything above
//! ```

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    hash::{BuildHasher, RandomState},
    io,
    path::Path,
    str::FromStr,
};

use super::private;

pub(super) const FILE: &str = "manifest";
const TITLE: &str = "offhook log 1";

/// Distinguishes one log from every other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LogId(u128);

impl LogId {
    /// A new id. The standard library seeds its hash maps with random numbers from the system.
    pub(super) fn fresh() -> Self {
        let random = RandomState::new();
        let half = |which: u8| u128::from(random.hash_one(which));
        Self(half(0) << 64 | half(1))
    }

    pub(super) fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    pub(super) fn to_text(self) -> String {
        format!("{:032x}", self.0)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// The log was never used: its files can be deleted.
    Beginning,
    Complete,
}

/// The newest entry of each keyspace, by the keyspace's number.
pub(super) type Marks = BTreeMap<u64, u64>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Manifest {
    pub(super) id: LogId,
    pub(super) state: State,
    pub(super) epoch: u64,
    /// The batch with which that epoch started.
    pub(super) batch: u64,
    /// The newest journal that was seen.
    pub(super) journal: u64,
    /// Names of keyspaces by number.
    pub(super) keyspaces: BTreeMap<u64, String>,
    /// Journals that are complete but may still be needed.
    pub(super) sealed: BTreeMap<u64, Marks>,
}

impl Manifest {
    /// The manifest of a new log.
    pub(super) fn beginning() -> Self {
        Self {
            id: LogId::fresh(),
            state: State::Beginning,
            epoch: 0,
            batch: 0,
            journal: 0,
            keyspaces: BTreeMap::new(),
            sealed: BTreeMap::new(),
        }
    }

    /// Reads the manifest in this directory: nothing, a manifest, or invalid content.
    pub(super) fn read(directory: &Path) -> io::Result<Option<Result<Self, &'static str>>> {
        match std::fs::read_to_string(directory.join(FILE)) {
            Ok(text) => Ok(Some(Self::parse(&text))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                Ok(Some(Err("it is not a text")))
            }
            Err(error) => Err(error),
        }
    }

    pub(super) fn write(&self, directory: &Path) -> io::Result<()> {
        private::replace(&directory.join(FILE), self.to_text().as_bytes())
    }

    fn to_text(&self) -> String {
        let state = match self.state {
            State::Beginning => "beginning",
            State::Complete => "complete",
        };
        let mut text = format!(
            "{TITLE}\nid {}\nstate {state}\nepoch {}\nbatch {}\njournal {}\n",
            self.id.to_text(),
            self.epoch,
            self.batch,
            self.journal
        );
        for (number, name) in &self.keyspaces {
            let _infallible = writeln!(text, "keyspace {number} {name}");
        }
        for (journal, marks) in &self.sealed {
            let _infallible = write!(text, "sealed {journal}");
            for (keyspace, entry) in marks {
                let _infallible = write!(text, " {keyspace}:{entry}");
            }
            text.push('\n');
        }
        let check = checksum(text.as_bytes());
        let _infallible = writeln!(text, "check {check:016x}");
        text
    }

    fn parse(text: &str) -> Result<Self, &'static str> {
        let title = text.lines().next().unwrap_or_default();
        if title != TITLE {
            return Err(match title.strip_prefix("offhook log ") {
                Some(_) => "a newer version of the program wrote it",
                None => "it is not a manifest",
            });
        }
        let end = text.rfind("check ").ok_or("its end is missing")?;
        let (body, check) = text.split_at(end);
        if check.trim_end() != format!("check {:016x}", checksum(body.as_bytes())) {
            return Err("its checksum does not match");
        }
        Self::parse_lines(body.lines().skip(1)).ok_or("a line in it cannot be read")
    }

    fn parse_lines<'a>(lines: impl Iterator<Item = &'a str>) -> Option<Self> {
        let mut manifest = Self::beginning();
        for line in lines {
            let (word, rest) = line.split_once(' ')?;
            match word {
                "id" => manifest.id = LogId(u128::from_str_radix(rest, 16).ok()?),
                "state" if rest == "complete" => manifest.state = State::Complete,
                "state" => {}
                "epoch" => manifest.epoch = rest.parse().ok()?,
                "batch" => manifest.batch = rest.parse().ok()?,
                "journal" => manifest.journal = rest.parse().ok()?,
                "keyspace" => {
                    let (number, name) = rest.split_once(' ')?;
                    let number = number.parse().ok()?;
                    manifest.keyspaces.insert(number, name.to_owned());
                }
                "sealed" => {
                    let mut words = rest.split(' ');
                    let journal = words.next()?.parse().ok()?;
                    let marks: Option<Marks> = words.map(parse_mark).collect();
                    manifest.sealed.insert(journal, marks?);
                }
                _ => return None,
            }
        }
        Some(manifest)
    }
}

fn parse_mark(word: &str) -> Option<(u64, u64)> {
    let (keyspace, entry) = word.split_once(':')?;
    Some((u64::from_str(keyspace).ok()?, u64::from_str(entry).ok()?))
}

/// FNV-1a: detects damage, not forgery.
pub(super) fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xCBF2_9CE4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        Manifest {
            state: State::Complete,
            epoch: 17,
            batch: 4,
            journal: 7,
            keyspaces: [(1, "log".to_owned()), (2, "keys".to_owned())].into(),
            sealed: [(6, [(1, 90), (2, 88)].into())].into(),
            ..Manifest::beginning()
        }
    }

    #[test]
    fn a_written_record_can_be_read() {
        let manifest = manifest();
        assert_eq!(Manifest::parse(&manifest.to_text()), Ok(manifest));
    }

    #[test]
    fn every_changed_byte_is_detected() {
        let text = manifest().to_text();
        for at in 0..text.len() - 1 {
            let mut changed = text.clone().into_bytes();
            changed[at] ^= 1;
            let changed = String::from_utf8(changed).unwrap();
            assert!(Manifest::parse(&changed).is_err(), "byte {at}:\n{changed}");
        }
    }

    #[test]
    fn every_truncation_is_detected() {
        let text = manifest().to_text();
        for length in 0..text.len() - 1 {
            assert!(Manifest::parse(&text[..length]).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn two_logs_have_different_ids() {
        assert_ne!(LogId::fresh(), LogId::fresh());
    }
}
