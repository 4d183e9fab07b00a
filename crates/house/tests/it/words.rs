//! Words that the project no longer uses: metaphors for mechanisms that have a usual name.

use std::path::Path;

use super::expect_none;
use super::workspace::{files, text};

/// A word or a phrase, in lower case and without punctuation.
struct Retired {
    words: &'static str,
    /// The term of art.
    instead: &'static str,
}

const RETIRED: &[Retired] = &[
    Retired {
        words: "switchboard",
        instead: "flush task, timer",
    },
    Retired {
        words: "thirsty",
        instead: "ready to read, or with room",
    },
    Retired {
        words: "dress",
        instead: "accept TLS, prepare",
    },
    Retired {
        words: "dressed",
        instead: "accepted, prepared",
    },
    Retired {
        words: "pulse",
        instead: "keepalive",
    },
    Retired {
        words: "bell",
        instead: "wake, waker",
    },
    Retired {
        words: "weather",
        instead: "faults, network conditions",
    },
    Retired {
        words: "desk",
        instead: "what it is: a queue, a table, a test's world",
    },
    Retired {
        words: "the line is lost",
        instead: "the connection is lost",
    },
    Retired {
        words: "quiet line",
        instead: "idle connection",
    },
    Retired {
        words: "slow line",
        instead: "slow connection",
    },
    Retired {
        words: "quiet connection",
        instead: "idle connection",
    },
    Retired {
        words: "quiet connections",
        instead: "idle connections",
    },
];

/// Names of types that once had several meanings each. One type of the whole tree may have each.
const NAMES_OF_ONE_TYPE: &[&str] = &["Held", "Line", "Stage"];

/// What defines a type.
const DEFINES_A_TYPE: &[&str] = &["enum", "struct", "trait", "type", "union"];

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
fn held_line_and_stage_name_one_type_each() {
    let names = files();
    let sources = names.iter().filter(|name| name.ends_with(".rs"));
    let texts: Vec<_> = sources.map(|name| (name.clone(), text(name))).collect();
    expect_none(&second_types(&texts));
}

#[test]
fn a_second_type_of_a_name_is_reported_with_both_places() {
    let file = |name: &str, text: &str| (name.to_owned(), text.to_owned());
    let one = file(
        "a.rs",
        "/// A stage.\npub(crate) enum Stage<'a> {}\nenum Staged {}\n",
    );
    let uses = file(
        "b.rs",
        "use crate::Stage;\n// An enum Stage.\nimpl Stage {}\n",
    );
    let texts = [one, uses];
    assert_eq!(second_types(&texts), [""; 0]);
    let texts = [
        &texts[..],
        &[file("c.rs", "mod c {\n    struct Stage(u8);\n}\n")],
    ]
    .concat();
    assert_eq!(
        second_types(&texts),
        ["a.rs:2, c.rs:2: 2 types are named Stage: name each after what it is"]
    );
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
fn other_words_with_the_same_letters_and_the_changelog_are_not_reported() {
    assert_eq!(
        complaints("a.rs", "an address on the desktop, a doorbell"),
        [""; 0]
    );
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
    } in RETIRED
    {
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

/// Every name of [`NAMES_OF_ONE_TYPE`] that more than one type has.
fn second_types(texts: &[(String, String)]) -> Vec<String> {
    let complaint = |name: &&str| {
        let places: Vec<_> = texts
            .iter()
            .flat_map(|(file, text)| {
                let lines = (1..).zip(text.lines());
                let defining = lines.filter(|(_, line)| defines(line, name));
                defining.map(move |(number, _)| format!("{file}:{number}"))
            })
            .collect();
        (places.len() > 1).then(|| {
            let (places, count) = (places.join(", "), places.len());
            format!("{places}: {count} types are named {name}: name each after what it is")
        })
    };
    NAMES_OF_ONE_TYPE.iter().filter_map(complaint).collect()
}

/// Whether a line of code defines a type of this name.
fn defines(line: &str, name: &str) -> bool {
    let code = line.trim_start();
    let mut words = code
        .split(|c: char| !c.is_alphanumeric() && c != '_')
        .filter(|word| !word.is_empty())
        .skip_while(|word| matches!(*word, "pub" | "crate" | "super" | "in" | "self"));
    let is_definition = words
        .next()
        .is_some_and(|word| DEFINES_A_TYPE.contains(&word));
    !code.starts_with("//") && is_definition && words.next() == Some(name)
}
