//! Reads values into the configuration, by visiting its definition.

use std::collections::{BTreeMap, BTreeSet};

use super::channels::ChannelRule;
use super::given::{Entry, Given, Misfit, Place, Value};
use super::group::{Field, Group, Visitor};
use super::problem::Problem;
use super::spelling::nearest;

/// Values given by variables and flags, by key; later ones take precedence.
pub(crate) type Named = Vec<(String, Given)>;

/// The visitor that reads. Every source is checked, even if another one takes precedence.
pub(crate) struct Reader<'a> {
    /// The file's table for the current group, if it has one.
    table: Option<&'a [Entry]>,
    named: &'a Named,
    /// The path of the current group.
    path: String,
    /// The names that the group defines.
    known: Vec<&'static str>,
    /// All keys, to find settings put into the wrong group.
    keys: &'a [String],
    pub(crate) places: BTreeMap<String, Place>,
    /// Settings whose value does not fit.
    pub(crate) failed: BTreeSet<String>,
    pub(crate) problems: Vec<Problem>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(file: Option<&'a Given>, named: &'a Named, keys: &'a [String]) -> Self {
        let table = file.and_then(|file| match &file.value {
            Value::Table(entries) => Some(entries.as_slice()),
            Value::Word(_)
            | Value::Text(_)
            | Value::Integer(_)
            | Value::Bool(_)
            | Value::List(_)
            | Value::Other(_) => None,
        });
        Self {
            table,
            named,
            path: String::new(),
            known: Vec::new(),
            keys,
            places: BTreeMap::new(),
            failed: BTreeSet::new(),
            problems: Vec::new(),
        }
    }

    /// Reads a whole group.
    pub(crate) fn read(&mut self, group: &mut dyn Group) {
        group.visit(self);
        self.complain_of_unknown();
    }

    fn key(&self, name: &str) -> String {
        if self.path.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.path)
        }
    }

    fn entry(&mut self, name: &'static str) -> Option<&'a Given> {
        self.known.push(name);
        let mut entries = self.table?.iter();
        entries
            .find(|entry| entry.name == name)
            .map(|entry| &entry.given)
    }

    fn complain(&mut self, key: &str, misfits: Vec<Misfit>) {
        self.failed.insert(key.to_owned());
        let problem =
            |misfit: Misfit| Problem::new(misfit.place, format!("{key}: {}", misfit.message));
        self.problems.extend(misfits.into_iter().map(problem));
    }

    /// Reports keys in the file's table that the group does not define.
    fn complain_of_unknown(&mut self) {
        for entry in self.table.into_iter().flatten() {
            if self.known.contains(&entry.name.as_str()) {
                continue;
            }
            let key = self.key(&entry.name);
            let message = match self.meant(&entry.name) {
                Some(meant) => format!("there is no setting {key}; did you mean {meant}?"),
                None => format!("there is no setting {key}; {}", self.all_known()),
            };
            self.problems
                .push(Problem::new(entry.place.clone(), message));
        }
    }

    /// A similar name, in this group first, then elsewhere.
    fn meant(&self, name: &str) -> Option<String> {
        if let Some(near) = nearest(name, self.known.iter().copied()) {
            return Some(self.key(near));
        }
        let last = |key: &String| key.rsplit('.').next() == Some(name);
        let elsewhere = self.keys.iter().find(|key| last(key)).cloned();
        let spelled = || nearest(&self.key(name), self.keys.iter().map(String::as_str));
        elsewhere.or_else(|| spelled().map(str::to_owned))
    }

    fn all_known(&self) -> String {
        match self.path.as_str() {
            "" => "`offhook config --example` shows all there are".to_owned(),
            path => format!("{path} has {}", self.known.join(", ")),
        }
    }

    /// Visits a group with another table.
    fn within(
        &mut self,
        path: String,
        table: Option<&'a [Entry]>,
        visit: &mut dyn FnMut(&mut Self),
    ) {
        let outer_table = std::mem::replace(&mut self.table, table);
        let outer_path = std::mem::replace(&mut self.path, path);
        let outer_known = std::mem::take(&mut self.known);
        visit(self);
        self.complain_of_unknown();
        self.table = outer_table;
        self.path = outer_path;
        self.known = outer_known;
    }

    fn table_in(&mut self, key: &str, given: &'a Given) -> Option<&'a [Entry]> {
        if let Value::Table(entries) = &given.value {
            return Some(entries);
        }
        self.complain(key, given.misfit("a table"));
        None
    }

    fn read_rules(&mut self, key: &str, given: &'a Given) -> Option<Vec<ChannelRule>> {
        let Value::List(items) = &given.value else {
            let expected = format!("a list: write [[{key}]] above each rule");
            self.complain(key, given.misfit(expected));
            return None;
        };
        let mut rules = Vec::new();
        for (position, item) in items.iter().enumerate() {
            let path = format!("{key}[{position}]");
            let Some(table) = self.table_in(&path, item) else {
                continue;
            };
            // Must be given, so that a rule without it does not match everything.
            let pattern = String::new();
            let mut rule = ChannelRule {
                pattern,
                ..ChannelRule::default()
            };
            self.within(path.clone(), Some(table), &mut |reader| rule.visit(reader));
            rule.without_unasked_state(table.iter().any(|entry| entry.name == "state"));
            if !table.iter().any(|entry| entry.name == "pattern") {
                let missing = "pattern is missing: say to which channels this rule applies";
                self.complain(&path, item.complaint(missing));
            }
            rules.push(rule);
        }
        Some(rules)
    }
}

impl Visitor for Reader<'_> {
    fn setting(&mut self, name: &'static str, _: &'static str, field: &mut dyn Field) {
        let key = self.key(name);
        let in_file = self.entry(name);
        let named = self.named.iter().filter(|(named, _)| *named == key);
        for given in in_file.into_iter().chain(named.map(|(_, given)| given)) {
            match field.set(given) {
                Ok(()) => drop(self.places.insert(key.clone(), given.place.clone())),
                Err(misfits) => self.complain(&key, misfits),
            }
        }
    }

    fn group(&mut self, name: &'static str, group: &mut dyn Group) {
        let path = self.key(name);
        let given = self.entry(name);
        let table = given.and_then(|given| self.table_in(&path, given));
        self.within(path, table, &mut |reader| group.visit(reader));
    }

    fn rules(&mut self, name: &'static str, _: &'static str, rules: &mut Vec<ChannelRule>) {
        let key = self.key(name);
        let in_file = self.entry(name);
        let named = self.named.iter().filter(|(named, _)| *named == key);
        for given in in_file.into_iter().chain(named.map(|(_, given)| given)) {
            if let Some(read) = self.read_rules(&key, given) {
                *rules = read;
                self.places.insert(key.clone(), given.place.clone());
            }
        }
    }
}
