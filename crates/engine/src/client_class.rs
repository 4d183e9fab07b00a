//! Classes of clients, which have their own limits: a backend publishes more than a browser.

use std::{fmt, str::FromStr, sync::Arc};

use crate::limits::Limits;

/// The maximum length of a class's name in bytes. 64: it is part of every resume token.
pub const MAX_CLASS: usize = 64;

/// A class of clients, and the limits in which it differs from others.
///
/// In its text form, the name is followed by limits with the names that they have in [`Limits`].
/// Limits that are not given are the same as for clients without a class.
///
/// ```
/// use offhook_engine::ClientClass;
///
/// let class: ClientClass = "backend publishes_per_second=2000 publish_burst=5000".parse()?;
/// assert_eq!(&*class.name, "backend");
/// assert_eq!(class.publish_burst, Some(5000));
/// assert_eq!(class.subscriptions, None);
/// # Ok::<(), offhook_engine::InvalidClass>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientClass {
    /// The name in tokens.
    pub name: Arc<str>,
    /// Instead of [`Limits::commands_per_second`].
    pub commands_per_second: Option<u32>,
    /// Instead of [`Limits::command_burst`].
    pub command_burst: Option<u32>,
    /// Instead of [`Limits::publishes_per_second`].
    pub publishes_per_second: Option<u32>,
    /// Instead of [`Limits::publish_burst`].
    pub publish_burst: Option<u32>,
    /// Instead of [`Limits::subscriptions`].
    pub subscriptions: Option<u32>,
    /// Instead of [`Limits::requests_per_connection`].
    pub requests_per_connection: Option<u32>,
}

/// The limits that apply to one client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClientLimits {
    pub(crate) commands_per_second: u32,
    pub(crate) command_burst: u32,
    pub(crate) publishes_per_second: u32,
    pub(crate) publish_burst: u32,
    pub(crate) subscriptions: usize,
    pub(crate) requests_per_connection: u16,
}

impl Limits {
    /// The limits of a client of this class. A client of an unknown class has the limits of clients
    /// without a class.
    pub(crate) fn of_client(&self, class: Option<&Arc<str>>) -> ClientLimits {
        let of_all = ClientLimits {
            commands_per_second: self.commands_per_second,
            command_burst: self.command_burst,
            publishes_per_second: self.publishes_per_second,
            publish_burst: self.publish_burst,
            subscriptions: self.subscriptions,
            requests_per_connection: self.requests_per_connection,
        };
        let Some(name) = class else { return of_all };
        let Some(class) = self.classes.iter().find(|class| class.name == *name) else {
            return of_all;
        };
        let many =
            |own: Option<u32>, all| own.map_or(all, |own| own.try_into().unwrap_or(usize::MAX));
        let few = |own: Option<u32>, all| own.map_or(all, |own| own.try_into().unwrap_or(u16::MAX));
        ClientLimits {
            commands_per_second: class
                .commands_per_second
                .unwrap_or(of_all.commands_per_second),
            command_burst: class.command_burst.unwrap_or(of_all.command_burst),
            publishes_per_second: class
                .publishes_per_second
                .unwrap_or(of_all.publishes_per_second),
            publish_burst: class.publish_burst.unwrap_or(of_all.publish_burst),
            subscriptions: many(class.subscriptions, of_all.subscriptions),
            requests_per_connection: few(
                class.requests_per_connection,
                of_all.requests_per_connection,
            ),
        }
    }
}

/// A text is not a valid class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidClass(String);

impl fmt::Display for InvalidClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for InvalidClass {}

impl ClientClass {
    /// A class whose limits are those of clients without a class.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            commands_per_second: None,
            command_burst: None,
            publishes_per_second: None,
            publish_burst: None,
            subscriptions: None,
            requests_per_connection: None,
        }
    }

    /// Whether a text can be the name of a class: letters, digits, `-`, `_` and `.`, at most
    /// [`MAX_CLASS`] bytes.
    #[must_use]
    pub fn is_name(text: &str) -> bool {
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        (1..=MAX_CLASS).contains(&text.len()) && text.bytes().all(is_part)
    }

    fn fields(&mut self) -> [(&'static str, &mut Option<u32>); 6] {
        [
            ("commands_per_second", &mut self.commands_per_second),
            ("command_burst", &mut self.command_burst),
            ("publishes_per_second", &mut self.publishes_per_second),
            ("publish_burst", &mut self.publish_burst),
            ("subscriptions", &mut self.subscriptions),
            ("requests_per_connection", &mut self.requests_per_connection),
        ]
    }
}

impl FromStr for ClientClass {
    type Err = InvalidClass;

    fn from_str(text: &str) -> Result<Self, InvalidClass> {
        let mut parts = text.split_whitespace();
        let name = parts.next().unwrap_or_default();
        if !Self::is_name(name) {
            return Err(InvalidClass(format!(
                "{name:?} is not the name of a class: expected letters, digits, -, _ and ., at most \
                 {MAX_CLASS} bytes"
            )));
        }
        let mut class = Self::new(name);
        for part in parts {
            let (limit, number) = part.split_once('=').unwrap_or((part, ""));
            let known = class.fields().map(|(known, _)| known).join(", ");
            let mut fields = class.fields().into_iter();
            let Some((_, field)) = fields.find(|(known, _)| *known == limit) else {
                return Err(InvalidClass(format!(
                    "class {name}: {limit:?} is not a limit of clients; expected {known}"
                )));
            };
            if field.is_some() {
                return Err(InvalidClass(format!(
                    "class {name}: {limit} is given twice"
                )));
            }
            let number = number.parse::<u32>().ok().filter(|number| *number > 0);
            let number = number.ok_or_else(|| {
                let expected = "expected a whole number, at least 1";
                InvalidClass(format!(
                    "class {name}: {limit}: {expected}, like {limit}=500"
                ))
            })?;
            *field = Some(number);
        }
        Ok(class)
    }
}

impl fmt::Display for ClientClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        for (limit, number) in self.clone().fields() {
            if let Some(number) = number {
                write!(f, " {limit}={number}")?;
            }
        }
        Ok(())
    }
}
