//! Every setting, as a list: for flags, variables and pages.

use super::Config;
use super::channels::ChannelRule;
use super::group::{Field, Group, Visitor};

/// A setting, with its value and how it can be given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its path in the file: `keepalive.interval`; in a channel's rule: `channels[0].presence`.
    pub key: String,
    /// Its description: the first paragraph of its documentation.
    pub about: String,
    /// The reason for its default: the second paragraph.
    pub reason: String,
    /// The accepted values, in words.
    pub expected: String,
    /// The accepted values, in one word: `N`, `TIME`.
    pub placeholder: String,
    /// Its value in TOML; none if it must not be shown.
    pub value: Option<String>,
    /// Its default in TOML, the same on any machine.
    pub default: Option<String>,
    /// Whether a flag without a value enables it.
    pub is_switch: bool,
    /// Whether the flag may be given several times.
    pub is_list: bool,
    /// Whether it is the list of rules of channels, each with its own settings.
    pub is_rules: bool,
}

/// The environment variable with the path of the configuration file.
pub(crate) const FILE_VARIABLE: &str = "OFFHOOK_CONFIG";

impl Setting {
    /// Its environment variable: `OFFHOOK_KEEPALIVE_INTERVAL`.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("OFFHOOK_{}", self.key.replace('.', "_").to_uppercase())
    }

    /// Its flag, without leading dashes: `keepalive-interval`.
    #[must_use]
    pub fn flag(&self) -> String {
        self.key.replace(['.', '_'], "-")
    }

    /// Its group: `keepalive`; empty if it has none.
    #[must_use]
    pub fn group(&self) -> &str {
        self.key.rsplit_once('.').map_or("", |(group, _)| group)
    }

    /// The name within its group.
    #[must_use]
    pub fn name(&self) -> &str {
        self.key.rsplit('.').next().unwrap_or_default()
    }

    /// Whether it is part of a rule for channels.
    #[must_use]
    pub fn is_of_rule(&self) -> bool {
        self.key.contains('[')
    }
}

/// Settings that belong together.
#[derive(Clone, Debug, Default)]
pub(crate) struct Section {
    /// The group's path; empty for settings without a group.
    pub(crate) path: String,
    pub(crate) about: String,
    pub(crate) settings: Vec<Setting>,
}

/// Every setting with a variable and a flag, with its default, in order.
///
/// ```
/// let settings = offhook_config::settings();
/// let interval = settings.iter().find(|setting| setting.key == "keepalive.interval").unwrap();
/// assert_eq!(interval.variable(), "OFFHOOK_KEEPALIVE_INTERVAL");
/// assert_eq!(interval.flag(), "keepalive-interval");
/// assert_eq!(interval.default.as_deref(), Some("\"30s\""));
/// ```
#[must_use]
pub fn settings() -> Vec<Setting> {
    let sections = sections(&mut Config::default()).into_iter();
    let settings = sections.flat_map(|section| section.settings);
    settings.filter(|setting| !setting.is_of_rule()).collect()
}

/// Every group of this configuration with its settings, in order.
pub(crate) fn sections(config: &mut Config) -> Vec<Section> {
    let mut catalogue = Catalogue {
        open: vec![Section::default()],
        done: Vec::new(),
    };
    config.visit(&mut catalogue);
    let top = catalogue.open;
    // Inner groups are complete before outer ones: in a file, the outermost comes first.
    top.into_iter().chain(catalogue.done).collect()
}

struct Catalogue {
    /// The groups that are being visited, outermost first.
    open: Vec<Section>,
    done: Vec<Section>,
}

impl Catalogue {
    fn path(&self, name: &str) -> String {
        match self.open.last().map(|section| section.path.as_str()) {
            None | Some("") => name.to_owned(),
            Some(path) => format!("{path}.{name}"),
        }
    }

    fn enter(&mut self, path: String, group: &mut dyn Group) {
        let (about, _) = paragraphs(group.about());
        let settings = Vec::new();
        self.open.push(Section {
            path,
            about,
            settings,
        });
        let place = self.done.len();
        group.visit(self);
        // A group comes before the groups within it.
        self.done.splice(place..place, self.open.pop());
    }

    fn add(&mut self, setting: Setting) {
        if let Some(section) = self.open.last_mut() {
            section.settings.push(setting);
        }
    }
}

impl Visitor for Catalogue {
    fn setting(&mut self, name: &'static str, about: &'static str, field: &mut dyn Field) {
        let (about, reason) = paragraphs(about);
        self.add(Setting {
            key: self.path(name),
            about,
            reason,
            expected: field.expected(),
            placeholder: field.placeholder(),
            value: field.shown(),
            default: field.shown_as_default(),
            is_switch: field.is_switch(),
            is_list: field.is_list(),
            is_rules: false,
        });
    }

    fn group(&mut self, name: &'static str, group: &mut dyn Group) {
        self.enter(self.path(name), group);
    }

    fn rules(&mut self, name: &'static str, about: &'static str, rules: &mut Vec<ChannelRule>) {
        let (about, reason) = paragraphs(about);
        let path = self.path(name);
        self.add(Setting {
            key: path.clone(),
            about,
            reason,
            expected: "a list of rules in TOML: [{ pattern = \"chat/*\", presence = true }]"
                .to_owned(),
            placeholder: "TOML".to_owned(),
            value: None,
            default: None,
            is_switch: false,
            is_list: false,
            is_rules: true,
        });
        for (position, rule) in rules.iter_mut().enumerate() {
            self.enter(format!("{path}[{position}]"), rule);
        }
    }
}

/// The first two paragraphs, each on one line.
fn paragraphs(about: &str) -> (String, String) {
    let lines: Vec<&str> = about.lines().map(str::trim).collect();
    let mut paragraphs = lines
        .split(|line| line.is_empty())
        .map(|lines| lines.join(" "));
    let mut next = || paragraphs.next().unwrap_or_default();
    (next(), next())
}
