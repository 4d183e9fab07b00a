//! Words that the project no longer uses: metaphors for mechanisms that have a usual name.

use std::path::Path;

use super::expect_none;
use super::workspace::{files, text};

/// A word or a phrase, in lower case and without punctuation.
struct Retired {
    words: &'static str,
    /// The term of art.
    instead: &'static str,
    /// Where it still stands: folders and files, to be cleared one after the other.
    still_in: &'static [&'static str],
}

const RETIRED: &[Retired] = &[
    Retired {
        words: "switchboard",
        instead: "flush task, timer",
        still_in: &[],
    },
    Retired {
        words: "thirsty",
        instead: "ready to read, or with room",
        still_in: &[],
    },
    Retired {
        words: "dress",
        instead: "accept TLS, prepare",
        still_in: &[],
    },
    Retired {
        words: "dressed",
        instead: "accepted, prepared",
        still_in: &[],
    },
    Retired {
        words: "pulse",
        instead: "keepalive",
        still_in: &[],
    },
    Retired {
        words: "bell",
        instead: "wake, waker",
        still_in: &[],
    },
    Retired {
        words: "weather",
        instead: "faults, network conditions",
        still_in: &[],
    },
    Retired {
        words: "desk",
        instead: "what it is: a queue, a table, a test's world",
        still_in: &["crates/brokers/"],
    },
    Retired {
        words: "the line is lost",
        instead: "the connection is lost",
        still_in: &[],
    },
    Retired {
        words: "quiet line",
        instead: "idle connection",
        still_in: &[],
    },
    Retired {
        words: "slow line",
        instead: "slow connection",
        still_in: &[],
    },
];

/// Files that people read or write. Generated files and quotes from other projects are excluded.
const READ: &[&str] = &["css", "html", "js", "md", "py", "rs", "toml", "ts"];

/// The changelog uses the terms of its time.
const HISTORY: &str = "CHANGELOG.md";

/// This list.
const THIS: &str = "crates/house/tests/it/words.rs";

#[test]
fn retired_words_do_not_come_back() {
    let names = files();
    let read = names.iter().filter(|name| is_read(name));
    let complaints = read.flat_map(|name| complaints(name, &text(name)));
    expect_none(&complaints.collect::<Vec<_>>());
}

#[test]
fn a_retired_word_is_found_in_a_comment_an_identifier_and_over_the_end_of_a_line() {
    let found = |text: &str| complaints("crates/engine/src/a.rs", text);
    assert_eq!(found("/// The Switchboard writes.").len(), 1);
    assert_eq!(found("fn ring_the_bell() {}").len(), 1);
    let complaint = &found("// It says when the line is\n    // lost.")[0];
    assert!(
        complaint.starts_with("crates/engine/src/a.rs:1: \"the line is lost\""),
        "{complaint}"
    );
    assert!(complaint.contains("the connection is lost"), "{complaint}");
}

#[test]
fn other_words_with_the_same_letters_are_none_and_listed_places_may_wait() {
    assert_eq!(
        complaints("a.rs", "an address on the desktop, a doorbell"),
        [""; 0]
    );
    assert_eq!(complaints("crates/brokers/src/a.rs", "desk"), [""; 0]);
    assert!(is_read("docs/a.md") && !is_read("Cargo.lock") && !is_read(HISTORY));
}

fn is_read(name: &str) -> bool {
    let extension = Path::new(name).extension().and_then(|end| end.to_str());
    let is_text = extension.is_some_and(|end| READ.contains(&end));
    is_text && name != HISTORY && name != THIS
}

fn complaints(name: &str, text: &str) -> Vec<String> {
    let (words, lines) = words(text);
    let mut complaints = Vec::new();
    for Retired {
        words: retired,
        instead,
        still_in,
    } in RETIRED
    {
        if still_in.iter().any(|place| name.starts_with(place)) {
            continue;
        }
        let phrase: Vec<&str> = retired.split(' ').collect();
        let at = words
            .windows(phrase.len())
            .position(|part| part == phrase.as_slice());
        if let Some(at) = at {
            let line = lines[at];
            complaints.push(format!(
                "{name}:{line}: \"{retired}\": write what it is: {instead}"
            ));
        }
    }
    complaints
}

/// The words of a text in lower case, and the line of each; identifiers are taken apart at `_`.
fn words(text: &str) -> (Vec<String>, Vec<usize>) {
    let (mut words, mut lines) = (Vec::new(), Vec::new());
    for (number, line) in (1..).zip(text.lines()) {
        let parts = line.split(|c: char| !c.is_alphanumeric());
        for word in parts.filter(|word| !word.is_empty()) {
            words.push(word.to_lowercase());
            lines.push(number);
        }
    }
    (words, lines)
}
