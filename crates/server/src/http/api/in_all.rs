//! The verdict about all connections of a user or a session.

use std::collections::BTreeMap;

use offhook_engine::SessionId;

use super::{
    time::shown,
    verdict::{Kind, Verdict},
};
use crate::worker::{Known, Sighting};

/// Combines the verdicts about all connections: the best one, and what happened to the other
/// connections.
pub(super) fn in_all(judged: &[(&Sighting, &Verdict)], known: &Known) -> Verdict {
    let Some((seen, best)) = judged.iter().min_by_key(|(_, verdict)| verdict.kind) else {
        let mut text =
            "no connection is known: none is open, and no ended one is recorded".to_owned();
        if known.is_off {
            text.push_str("; the recorder is switched off (recorder.bytes)");
        } else if known.forgotten_ms > 0 {
            let until = shown(known.forgotten_ms);
            text.push_str(&format!(
                "; records up to {until} were discarded (recorder.bytes)"
            ));
        }
        return Verdict::new(Kind::NotConnected, text);
    };
    let mut whole = (*best).clone();
    let sessions = sessions(judged);
    if sessions.len() > 1 {
        let count = sessions.len();
        whole.sentence = format!("of {count} sessions, {}: {}", seen.session, whole.sentence);
    }
    if seen.ended.is_some() {
        let is_back = |other: &Sighting| other.ended.is_none() && other.session == seen.session;
        let back = judged.iter().find(|(other, _)| is_back(other));
        whole.sentence.push_str(&match back {
            Some((other, verdict)) => {
                let number = other.number.unwrap_or(0);
                format!(
                    "; it has come back on connection {number}: {}",
                    verdict.sentence
                )
            }
            None => "; it has not come back".to_owned(),
        });
    }
    whole.sentence.push_str(&in_others(judged, seen.session));
    whole
}

/// The best verdict of each other session, in words: one device of a user may have received what
/// another has not.
fn in_others(judged: &[(&Sighting, &Verdict)], but: SessionId) -> String {
    let mut best: BTreeMap<SessionId, Kind> = BTreeMap::new();
    for (seen, verdict) in judged.iter().filter(|(seen, _)| seen.session != but) {
        let kind = best.entry(seen.session).or_insert(verdict.kind);
        *kind = (*kind).min(verdict.kind);
    }
    let mut counts: BTreeMap<Kind, usize> = BTreeMap::new();
    for kind in best.values() {
        *counts.entry(*kind).or_default() += 1;
    }
    if counts.is_empty() {
        return String::new();
    }
    let counts = counts.iter();
    let words: Vec<_> = counts
        .map(|(kind, count)| format!("{count} {}", kind.name()))
        .collect();
    format!("; other sessions: {}", words.join(", "))
}

fn sessions(judged: &[(&Sighting, &Verdict)]) -> Vec<SessionId> {
    let mut sessions: Vec<SessionId> = judged.iter().map(|(seen, _)| seen.session).collect();
    sessions.sort_unstable();
    sessions.dedup();
    sessions
}
