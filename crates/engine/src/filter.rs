//! Filters over channel names, and the trie that finds the filters matching a name.

use std::{collections::HashMap, fmt, sync::Arc};

use crate::{
    channel_name::{ChannelName, MAX_CHANNEL_NAME},
    error::{ErrorCode, Refusal},
};

/// The maximum number of levels in a filter. 32: deeper than names are in practice. Matching a name
/// takes at most as many steps as the filters share levels.
pub const MAX_FILTER_LEVELS: usize = 32;

/// A pattern over channel names by levels, separated by `/`: `+` matches any one level, and `#`, as
/// the last level, any number of levels, including none.
///
/// As in MQTT, names whose first level starts with `$` are matched only by filters that contain
/// that level literally.
///
/// ```
/// use offhook_engine::{ChannelName, Filter};
/// let rooms = Filter::new("chat/+/messages")?;
/// assert!(rooms.matches(&ChannelName::new("chat/7/messages")?));
/// assert!(!rooms.matches(&ChannelName::new("chat/7/typing")?));
/// let everything_below = Filter::new("chat/#")?;
/// assert!(everything_below.matches(&ChannelName::new("chat")?));
/// assert!(everything_below.matches(&ChannelName::new("chat/7/typing")?));
/// assert!(Filter::new("chat/#/typing").is_err());
/// # Ok::<(), offhook_engine::Refusal>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Filter(Arc<str>);

impl Filter {
    /// Validates a filter. A filter without a wildcard is allowed, and matches one name.
    ///
    /// # Errors
    /// [`ErrorCode::BadFilter`], with what is wrong.
    pub fn new(filter: &str) -> Result<Self, Refusal> {
        let bad = |why: String| Err(Refusal::new(ErrorCode::BadFilter, why));
        if filter.is_empty() || filter.len() > MAX_CHANNEL_NAME {
            let len = filter.len();
            return bad(format!(
                "a filter has {len} bytes; 1 to {MAX_CHANNEL_NAME} are allowed"
            ));
        }
        let wrong = |c: &(usize, char)| c.1.is_control() || c.1 == '*';
        if let Some((at, c)) = filter.char_indices().find(wrong) {
            return bad(format!("a filter has {c:?} at byte {at}"));
        }
        let levels = filter.split('/').count();
        if levels > MAX_FILTER_LEVELS {
            return bad(format!(
                "a filter has {levels} levels; the limit is {MAX_FILTER_LEVELS}"
            ));
        }
        for (n, level) in filter.split('/').enumerate() {
            if level.len() > 1 && level.contains(['+', '#']) {
                return bad(format!(
                    "level {level:?} of the filter mixes a wildcard with other characters; \
                     + and # stand alone between slashes"
                ));
            }
            if level == "#" && n + 1 < levels {
                return bad("# is only allowed as the last level of a filter".into());
            }
        }
        Ok(Self(filter.into()))
    }

    /// The filter as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a name matches.
    #[must_use]
    pub fn matches(&self, name: &ChannelName) -> bool {
        if name.as_str().starts_with('$') && self.0.starts_with(['+', '#']) {
            return false;
        }
        let mut levels = name.as_str().split('/');
        for wanted in self.0.split('/') {
            if wanted == "#" {
                return true;
            }
            match levels.next() {
                Some(level) if wanted == "+" || wanted == level => {}
                Some(_) | None => return false,
            }
        }
        levels.next().is_none()
    }

    /// Whether this filter matches every name that another filter matches.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        if other.0.starts_with('$') && self.0.starts_with(['+', '#']) {
            return false;
        }
        let mut levels = other.0.split('/');
        for wanted in self.0.split('/') {
            if wanted == "#" {
                return true;
            }
            match levels.next() {
                Some("#") | None => return false,
                Some(level) if wanted == "+" || wanted == level => {}
                Some(_) => return false,
            }
        }
        levels.next().is_none()
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

/// A map from filters to values. Finding the values for a name costs as much as the filters that
/// share its beginning, however many others there are.
///
/// ```
/// use offhook_engine::{ChannelName, Filter, FilterTrie};
/// let mut trie = FilterTrie::new();
/// trie.insert(&Filter::new("chat/+")?, 1);
/// trie.insert(&Filter::new("news/#")?, 2);
/// let mut found = Vec::new();
/// trie.find(&ChannelName::new("chat/7")?, &mut |value| found.push(*value));
/// assert_eq!(found, [1]);
/// # Ok::<(), offhook_engine::Refusal>(())
/// ```
#[derive(Clone, Debug)]
pub struct FilterTrie<T> {
    root: Node<T>,
    len: usize,
}

#[derive(Clone, Debug)]
struct Node<T> {
    /// The value of the filter that ends here.
    value: Option<T>,
    /// The value of the filter that continues with `#`.
    rest: Option<T>,
    /// Filters that continue with `+`.
    any: Option<Box<Node<T>>>,
    /// Filters that continue with a literal level.
    named: HashMap<Box<str>, Node<T>>,
}

impl<T> Node<T> {
    fn new() -> Self {
        Self {
            value: None,
            rest: None,
            any: None,
            named: HashMap::new(),
        }
    }

    fn is_empty(&self) -> bool {
        self.value.is_none() && self.rest.is_none() && self.any.is_none() && self.named.is_empty()
    }

    /// The entry of a filter with these remaining levels.
    fn place<'a>(&mut self, mut levels: impl Iterator<Item = &'a str>) -> &mut Option<T> {
        match levels.next() {
            None => &mut self.value,
            Some("#") => &mut self.rest,
            Some("+") => self
                .any
                .get_or_insert_with(|| Box::new(Self::new()))
                .place(levels),
            Some(level) => {
                let next = self.named.entry(level.into());
                next.or_insert_with(Self::new).place(levels)
            }
        }
    }

    fn remove<'a>(&mut self, mut levels: impl Iterator<Item = &'a str>) -> Option<T> {
        match levels.next() {
            None => self.value.take(),
            Some("#") => self.rest.take(),
            Some("+") => {
                let any = self.any.as_mut()?;
                let removed = any.remove(levels);
                self.any.take_if(|any| any.is_empty());
                removed
            }
            Some(level) => {
                let next = self.named.get_mut(level)?;
                let removed = next.remove(levels);
                if next.is_empty() {
                    self.named.remove(level);
                }
                removed
            }
        }
    }

    fn get<'a>(&self, mut levels: impl Iterator<Item = &'a str>) -> Option<&T> {
        match levels.next() {
            None => self.value.as_ref(),
            Some("#") => self.rest.as_ref(),
            Some("+") => self.any.as_ref()?.get(levels),
            Some(level) => self.named.get(level)?.get(levels),
        }
    }

    /// `hidden`: the name starts with `$`, and this is the search for its first level.
    fn find(&self, rest: Option<&str>, hidden: bool, found: &mut impl FnMut(&T)) {
        if let Some(value) = self.rest.as_ref().filter(|_| !hidden) {
            found(value);
        }
        let Some(rest) = rest else {
            if let Some(value) = &self.value {
                found(value);
            }
            return;
        };
        let (level, rest) = match rest.split_once('/') {
            Some((level, rest)) => (level, Some(rest)),
            None => (rest, None),
        };
        if let Some(any) = self.any.as_ref().filter(|_| !hidden) {
            any.find(rest, false, found);
        }
        if let Some(next) = self.named.get(level) {
            next.find(rest, false, found);
        }
    }
}

impl<T> FilterTrie<T> {
    /// A trie without filters.
    #[must_use]
    pub fn new() -> Self {
        Self {
            root: Node::new(),
            len: 0,
        }
    }

    /// The number of filters.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds a filter's value and returns the previous one.
    pub fn insert(&mut self, filter: &Filter, value: T) -> Option<T> {
        let before = self.root.place(filter.as_str().split('/')).replace(value);
        self.len += usize::from(before.is_none());
        before
    }

    /// Removes a filter's value, and the nodes that only it used.
    pub fn remove(&mut self, filter: &Filter) -> Option<T> {
        let removed = self.root.remove(filter.as_str().split('/'));
        self.len -= usize::from(removed.is_some());
        removed
    }

    /// The value of exactly this filter.
    #[must_use]
    pub fn get(&self, filter: &Filter) -> Option<&T> {
        self.root.get(filter.as_str().split('/'))
    }

    /// Calls `found` with the value of every filter that matches a name.
    pub fn find(&self, name: &ChannelName, found: &mut impl FnMut(&T)) {
        let hidden = name.as_str().starts_with('$');
        self.root.find(Some(name.as_str()), hidden, found);
    }
}

impl<T> Default for FilterTrie<T> {
    fn default() -> Self {
        Self::new()
    }
}
