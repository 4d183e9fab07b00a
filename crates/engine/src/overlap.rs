//! Determines from their texts whether a pattern and a filter match a common name.

use crate::{channel_name::Pattern, filter::Filter};

/// One step of a text with wildcards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    /// This character.
    Only(char),
    /// Any characters.
    Any,
    /// Any characters of one level, which are all except `/`.
    Level,
}

impl Token {
    fn repeats(self) -> bool {
        matches!(self, Self::Any | Self::Level)
    }

    fn allows(self, other: Self) -> bool {
        match (self, other) {
            (Self::Any, _) | (_, Self::Any) => true,
            (Self::Only(one), Self::Only(other)) => one == other,
            (Self::Level, Self::Only(c)) | (Self::Only(c), Self::Level) => c != '/',
            (Self::Level, Self::Level) => true,
        }
    }
}

impl Pattern {
    /// Whether some name matches both this pattern and a filter. Never false if such a name exists.
    /// May be true although none exists, if the only common names are not valid. Takes time
    /// proportional to the product of their lengths.
    pub(crate) fn overlaps(&self, filter: &Filter) -> bool {
        let pattern: Vec<_> = self.as_str().chars().map(of_pattern).collect();
        let filter = filter.as_str();
        // "a/#" also matches "a".
        let without = filter.strip_suffix("/#");
        let forms = std::iter::once(filter).chain(without);
        forms
            .map(of_filter)
            .any(|filter| have_in_common(&pattern, &filter))
    }

    /// Whether some name matches both this pattern and another one.
    pub(crate) fn meets(&self, other: &Self) -> bool {
        let [one, other] = [self, other].map(|it| it.as_str().chars().map(of_pattern).collect());
        let (one, other): (Vec<_>, Vec<_>) = (one, other);
        have_in_common(&one, &other)
    }

    /// Whether this pattern matches every name that a filter matches. Never true if it does not;
    /// may be false although it does.
    pub(crate) fn contains(&self, filter: &Filter) -> bool {
        let filter = filter.as_str();
        let without = filter.strip_suffix("/#");
        let mut forms = std::iter::once(filter).chain(without);
        // A control character represents a wildcard: no name contains one, so only `*` can match
        // it.
        forms.all(|form| {
            let levels = form.split('/');
            let marked: Vec<&str> = levels
                .map(|level| match level {
                    "+" | "#" => "\0",
                    level => level,
                })
                .collect();
            !self.as_str().contains('\0') && self.fits(&marked.join("/"))
        })
    }
}

fn of_pattern(c: char) -> Token {
    match c {
        '*' => Token::Any,
        c => Token::Only(c),
    }
}

/// In a filter, wildcards stand alone between slashes.
fn of_filter(filter: &str) -> Vec<Token> {
    let mut tokens = Vec::with_capacity(filter.len());
    for (n, level) in filter.split('/').enumerate() {
        if n > 0 {
            tokens.push(Token::Only('/'));
        }
        match level {
            "+" => tokens.push(Token::Level),
            "#" => tokens.push(Token::Any),
            level => tokens.extend(level.chars().map(Token::Only)),
        }
    }
    tokens
}

/// Whether some text matches both completely.
fn have_in_common(one: &[Token], other: &[Token]) -> bool {
    // `after[j]`: whether the rest of `one` and `other[j..]` have a text in common.
    let mut after: Vec<bool> = (0..=other.len())
        .map(|j| other[j..].iter().all(|token| token.repeats()))
        .collect();
    for a in one.iter().rev() {
        let mut here = vec![false; other.len() + 1];
        here[other.len()] = a.repeats() && after[other.len()];
        for j in (0..other.len()).rev() {
            let b = other[j];
            let ends = (a.repeats() && after[j]) || (b.repeats() && here[j + 1]);
            let next = match (a.repeats(), b.repeats()) {
                // A character that both wildcards match is not needed.
                (true, true) => false,
                (true, false) => a.allows(b) && here[j + 1],
                (false, true) => a.allows(b) && after[j],
                (false, false) => a.allows(b) && after[j + 1],
            };
            here[j] = ends || next;
        }
        after = here;
    }
    after[0]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        channel_name::ChannelName,
        grant::Verbs,
        rules::{Access, ChannelRules, RuleBook},
        session::Identity,
    };

    fn filter(text: &str) -> Filter {
        Filter::new(text).unwrap()
    }

    #[test]
    fn a_pattern_and_a_filter_overlap_if_a_name_matches_both() {
        for (pattern, text, expected) in [
            ("flow/*", "#", true),
            ("flow/*", "kept/+", false),
            ("flow/*", "kept/#", false),
            ("*", "kept/#", true),
            ("kept/*/x", "kept/+", false),
            ("kept/a/*", "kept/+", false),
            ("kept", "kept/#", true),
            ("kept", "kept/+", false),
            ("*x", "a/+/y", false),
            ("*x", "a/+/yx", true),
            ("a/b", "+/b", true),
            ("ab", "+/b", false),
            ("", "#", true),
        ] {
            assert_eq!(
                Pattern::new(pattern).overlaps(&filter(text)),
                expected,
                "{pattern} and {text}"
            );
        }
    }

    #[test]
    fn a_pattern_contains_a_filter_if_it_matches_all_of_its_names() {
        for (pattern, text, expected) in [
            ("*", "#", true),
            ("kept/*", "kept/+", true),
            ("kept/*", "kept/+/x", true),
            // It also matches "kept".
            ("kept/*", "kept/#", false),
            ("kept*", "kept/#", true),
            ("kept/*", "#", false),
            // Without a star, it is a single name.
            ("kept/+", "kept/+", false),
            ("kept/a", "kept/a", true),
        ] {
            assert_eq!(
                Pattern::new(pattern).contains(&filter(text)),
                expected,
                "{pattern} and {text}"
            );
        }
    }

    /// What is withheld of a filter from a user with this grant.
    fn withheld(book: &RuleBook, grant: &str, text: &str) -> Option<String> {
        let (filter, user) = (filter(text), Identity::user("ann"));
        let user = user.with(grant, Verbs::SUBSCRIBE);
        let pattern = book.withheld(&filter, |access, pattern| {
            user.may_read_all(access, (&filter, pattern), false)
        });
        pattern.map(str::to_owned)
    }

    #[test]
    fn nothing_of_a_filter_is_withheld_if_grants_cover_each_rule_that_needs_one() {
        let rules = |subscribe| ChannelRules {
            subscribe,
            ..ChannelRules::default()
        };
        let book = RuleBook::new()
            .with("jobs/*", rules(Access::Granted))
            .with("asked/*", rules(Access::Asked))
            .with("*", rules(Access::Users))
            .with_guarded("private-");
        for (grant, text, expected) in [
            ("jobs/*", "jobs/#", None),
            ("jobs/*", "jobs/+", None),
            ("jobs/*", "open/#", None),
            ("jobs/a*", "jobs/+", Some("jobs/*")),
            ("jobs/a*", "jobs/a/+", None),
            ("none", "jobs/a", Some("jobs/*")),
            ("jobs/*", "asked/+", Some("asked/*")),
            ("jobs/*", "+/x", Some("asked/*")),
            ("jobs/*", "private-a/+", Some("private-")),
            ("private-a/*", "private-a/+", None),
        ] {
            let found = withheld(&book, grant, text);
            assert_eq!(found.as_deref(), expected, "{grant} and {text}");
        }
    }

    fn text(wild: &'static [&'static str]) -> impl Strategy<Value = String> {
        let part = prop_oneof![Just("a"), Just("b"), Just("/"), prop::sample::select(wild)];
        prop::collection::vec(part, 1..6).prop_map(|parts| parts.concat())
    }

    proptest! {
        #[test]
        fn a_name_that_matches_both_is_never_missed(
            pattern in text(&["*"]),
            other in text(&["+", "#"]),
            names in prop::collection::vec(text(&["a"]), 1..20),
        ) {
            let Ok(filter) = Filter::new(&other) else { return Ok(()) };
            let pattern = Pattern::new(&pattern);
            for name in names {
                let Ok(name) = ChannelName::new(&name) else { continue };
                if !filter.matches(&name) {
                    continue;
                }
                if pattern.matches(&name) {
                    prop_assert!(pattern.overlaps(&filter), "{:?} {} {}", pattern, filter, name);
                } else {
                    prop_assert!(!pattern.contains(&filter), "{:?} {} {}", pattern, filter, name);
                }
            }
        }

        #[test]
        fn a_channel_that_is_withheld_is_never_missed(
            patterns in prop::collection::vec((text(&["*"]), any::<bool>()), 1..4),
            guarded in prop::option::of(text(&["a"])),
            grant in text(&["*"]),
            other in text(&["+", "#"]),
            names in prop::collection::vec(text(&["a"]), 1..20),
        ) {
            let Ok(filter) = Filter::new(&other) else { return Ok(()) };
            let mut book = RuleBook::new();
            for (pattern, is_open) in &patterns {
                let subscribe = if *is_open { Access::Everyone } else { Access::Granted };
                let rules = ChannelRules { subscribe, ..ChannelRules::default() };
                book = book.with(pattern, rules);
            }
            if let Some(guarded) = &guarded {
                book = book.with_guarded(guarded);
            }
            if withheld(&book, &grant, &other).is_some() {
                return Ok(());
            }
            let user = Identity::user("ann").with(&grant, Verbs::SUBSCRIBE);
            for name in names {
                let Ok(name) = ChannelName::new(&name) else { continue };
                if let Some(rules) = book.rules(&name).filter(|_| filter.matches(&name)) {
                    let may = user.may(rules.subscribe, Verbs::SUBSCRIBE, &name);
                    prop_assert!(may, "{:?} {} {}", patterns, filter, name);
                }
            }
        }
    }
}
