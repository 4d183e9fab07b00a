//! The notation of grants: in a token, and in the server's settings for every user.

use std::{fmt, str::FromStr};

use offhook_engine::{Grant, MAX_CHANNEL_NAME, Verbs};

/// The placeholder for the user's name in a pattern.
const USER: &str = "{user}";

/// A grant of every user: `publish+subscribe private/{user}/*`.
///
/// `{user}` is replaced by the user's name. Characters of the name with a meaning in patterns or
/// channel names (`%`, `/`, `*`, `+`, `#`) are percent-encoded, so that no name gives access to
/// another user's channels: `a/b` becomes `a%2Fb`.
///
/// ```
/// use offhook_auth::UserGrant;
/// let grant: UserGrant = "subscribe+publish private/{user}/*".parse()?;
/// assert_eq!(grant.of("ann").pattern.as_str(), "private/ann/*");
/// assert_eq!(grant.of("*").pattern.as_str(), "private/%2A/*");
/// # Ok::<(), offhook_auth::InvalidGrant>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserGrant {
    pattern: String,
    verbs: Verbs,
}

/// A text that is not a grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidGrant(pub(crate) String);

impl fmt::Display for InvalidGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for InvalidGrant {}

impl UserGrant {
    /// The grant for one user.
    #[must_use]
    pub fn of(&self, user: &str) -> Grant {
        Grant::new(&for_user(&self.pattern, user), self.verbs)
    }
}

impl FromStr for UserGrant {
    type Err = InvalidGrant;

    fn from_str(text: &str) -> Result<Self, InvalidGrant> {
        let parts = text.trim().split_once(' ');
        let (verbs, pattern) = parts.ok_or_else(|| {
            let detail = format!(
                "{text:?} is no grant: expected verbs and a pattern, like \
                 \"publish+subscribe private/{{user}}/*\""
            );
            InvalidGrant(detail)
        })?;
        let verbs = verbs_of(verbs.split('+'))?;
        let pattern = pattern_of(pattern.trim())?.to_owned();
        Ok(Self { pattern, verbs })
    }
}

impl fmt::Display for UserGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pattern, verbs } = self;
        write!(f, "{verbs} {pattern}")
    }
}

/// The pattern with a user's name inserted.
pub(crate) fn for_user(pattern: &str, user: &str) -> String {
    if !pattern.contains(USER) {
        return pattern.to_owned();
    }
    let mut literal = String::with_capacity(user.len());
    for c in user.chars() {
        match c {
            '%' => literal.push_str("%25"),
            '/' => literal.push_str("%2F"),
            '*' => literal.push_str("%2A"),
            '+' => literal.push_str("%2B"),
            '#' => literal.push_str("%23"),
            c => literal.push(c),
        }
    }
    pattern.replace(USER, &literal)
}

pub(crate) fn verbs_of<'a>(names: impl Iterator<Item = &'a str>) -> Result<Verbs, InvalidGrant> {
    let mut verbs = Verbs::NONE;
    for name in names {
        let verb = Verbs::named(name).ok_or_else(|| {
            let shown: String = name.chars().take(40).collect();
            InvalidGrant(format!(
                "{shown:?} is not a verb; expected publish, subscribe, history, presence, state, \
                 call, read or *"
            ))
        })?;
        verbs = verbs | verb;
    }
    if verbs.is_empty() {
        return Err(InvalidGrant("the verbs are missing".to_owned()));
    }
    Ok(verbs)
}

pub(crate) fn pattern_of(pattern: &str) -> Result<&str, InvalidGrant> {
    if pattern.is_empty() || pattern.len() > MAX_CHANNEL_NAME {
        return Err(InvalidGrant(format!(
            "a pattern is {} bytes; the limit is 1 to {MAX_CHANNEL_NAME}",
            pattern.len()
        )));
    }
    Ok(pattern)
}
