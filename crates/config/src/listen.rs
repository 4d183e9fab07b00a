//! Where the server listens, and what one listener does differently from the others.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    str::FromStr,
};

/// A place to listen at, with settings of its own.
///
/// It is written as one line: the place, followed by words. `:8443 tls client-certs=required` is a
/// TCP port with TLS whose clients need a certificate; `unix:/run/offhook.sock trusted mode=660` is
/// a Unix socket for a proxy on the same machine; `systemd:web` is a socket that systemd passes.
///
/// ```
/// use offhook_config::{Listen, ListenAt};
///
/// let listener: Listen = "localhost:8000 plain".parse()?;
/// assert_eq!(listener.at, ListenAt::Tcp(([127, 0, 0, 1], 8000).into()));
/// assert_eq!(listener.tls, Some(false));
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listen {
    /// The place.
    pub at: ListenAt,
    /// Whether clients use TLS: the words `tls` and `plain`. None: as the setting says that contains
    /// this listener.
    pub tls: Option<bool>,
    /// Whether clients need a certificate: the word `client-certs=`. None: as `tls.client_certs`
    /// says.
    pub client_certs: Option<ClientCerts>,
    /// Everyone who connects here is a trusted proxy: the word `trusted`.
    pub trusted: bool,
    /// Every connection begins with the PROXY protocol: the word `proxy-protocol`, which implies
    /// `trusted`.
    pub proxy_protocol: bool,
    /// The permissions of a Unix socket's file: the word `mode=`.
    pub mode: Option<u32>,
}

/// The place of a listener.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ListenAt {
    /// An address and a port.
    Tcp(SocketAddr),
    /// A Unix socket with this path.
    Unix(PathBuf),
    /// The sockets that systemd passes under this name (`FileDescriptorName=`).
    Systemd(String),
}

/// Whether clients of a TLS listener present a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum ClientCerts {
    /// They are not asked for one.
    #[default]
    None,
    /// They may present one, which must then be valid.
    Optional,
    /// Without a valid one, TLS fails.
    Required,
}

/// The words for it.
pub(crate) const CLIENT_CERTS: &[(&str, ClientCerts)] = &[
    ("none", ClientCerts::None),
    ("optional", ClientCerts::Optional),
    ("required", ClientCerts::Required),
];

impl Listen {
    /// A listener without settings of its own.
    #[must_use]
    pub const fn new(at: ListenAt) -> Self {
        Self {
            at,
            tls: None,
            client_certs: None,
            trusted: false,
            proxy_protocol: false,
            mode: None,
        }
    }

    /// Whether clients use TLS; `usual` applies to listeners that do not say. A Unix socket is
    /// plain unless it says otherwise.
    #[must_use]
    pub fn uses_tls(&self, usual: bool) -> bool {
        let by_default = usual && !matches!(self.at, ListenAt::Unix(_));
        self.tls.unwrap_or(by_default)
    }

    /// Reads a place and the words after it.
    pub(crate) fn read(text: &str) -> Result<Self, Wrong> {
        let mut words = text.split_whitespace();
        let place = words.next().and_then(place).ok_or(Wrong::Place)?;
        let listener = words.try_fold(Self::new(place), Self::with);
        listener.map_err(Wrong::Word)
    }

    /// Adds what a word says; the error says what is wrong with it.
    fn with(mut self, word: &str) -> Result<Self, String> {
        let is_unix = matches!(self.at, ListenAt::Unix(_));
        match word.split_once('=') {
            None if word == "tls" && is_unix => {
                return Err("TLS is not offered on Unix sockets".to_owned());
            }
            None if word == "tls" => self.tls = Some(true),
            None if word == "plain" => self.tls = Some(false),
            None if word == "trusted" => self.trusted = true,
            None if word == "proxy-protocol" => (self.trusted, self.proxy_protocol) = (true, true),
            Some(("client-certs", choice)) => {
                let mut choices = CLIENT_CERTS.iter();
                let (_, found) = choices
                    .find(|(name, _)| *name == choice)
                    .ok_or_else(|| format!("{word}: expected none, optional or required"))?;
                self.client_certs = Some(*found);
            }
            Some(("mode", digits)) if is_unix => {
                let mode = u32::from_str_radix(digits, 8).ok();
                let mode = mode.filter(|mode| *mode <= 0o777);
                let mode = mode.ok_or_else(|| {
                    format!("{word}: expected permissions in octal, such as mode=660")
                })?;
                self.mode = Some(mode);
            }
            Some(("mode", _)) => return Err("mode= is for Unix sockets".to_owned()),
            _ => return Err(format!("there is no word {word:?}; the words are {WORDS}")),
        }
        Ok(self)
    }

    /// Makes a relative path of a Unix socket relative to this directory.
    pub(crate) fn within(mut self, directory: &Path) -> Self {
        if let ListenAt::Unix(path) = &mut self.at {
            *path = directory.join(&*path).components().collect();
        }
        self
    }
}

/// The words that may follow a place.
const WORDS: &str = "tls, plain, client-certs=, trusted, proxy-protocol and mode=";

/// What is wrong with the text of a listener.
pub(crate) enum Wrong {
    /// It does not begin with a place.
    Place,
    /// A word is wrong, as this message says.
    Word(String),
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::read(text).map_err(|wrong| match wrong {
            Wrong::Place => format!(
                "{text:?} is not a place to listen at; expected an address like \"127.0.0.1:8000\", a port, \
                 \"unix:PATH\" or \"systemd:NAME\""
            ),
            Wrong::Word(message) => message,
        })
    }
}

fn place(text: &str) -> Option<ListenAt> {
    if let Some(path) = text.strip_prefix("unix:") {
        return (!path.is_empty()).then(|| ListenAt::Unix(path.into()));
    }
    if let Some(name) = text.strip_prefix("systemd:") {
        return (!name.is_empty()).then(|| ListenAt::Systemd(name.to_owned()));
    }
    address(text).map(ListenAt::Tcp)
}

fn address(text: &str) -> Option<SocketAddr> {
    if let Ok(port) = text.parse() {
        return Some((Ipv4Addr::LOCALHOST, port).into());
    }
    if let Some((host, port)) = text.rsplit_once(':')
        && let Ok(port) = port.parse()
    {
        let known: Option<IpAddr> = match host {
            "localhost" => Some(Ipv4Addr::LOCALHOST.into()),
            "" | "*" => Some(Ipv4Addr::UNSPECIFIED.into()),
            _ => None,
        };
        if let Some(ip) = known {
            return Some((ip, port).into());
        }
    }
    text.parse().ok()
}

impl From<SocketAddr> for Listen {
    fn from(address: SocketAddr) -> Self {
        Self::new(ListenAt::Tcp(address))
    }
}

impl From<([u8; 4], u16)> for Listen {
    fn from(address: ([u8; 4], u16)) -> Self {
        SocketAddr::from(address).into()
    }
}

impl fmt::Display for ListenAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Systemd(name) => write!(f, "systemd:{name}"),
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.at.fmt(f)?;
        match self.tls {
            None => {}
            Some(true) => f.write_str(" tls")?,
            Some(false) => f.write_str(" plain")?,
        }
        let mut choices = CLIENT_CERTS.iter();
        if let Some((word, _)) = choices.find(|(_, choice)| self.client_certs == Some(*choice)) {
            write!(f, " client-certs={word}")?;
        }
        match (self.trusted, self.proxy_protocol) {
            (_, true) => f.write_str(" proxy-protocol")?,
            (true, false) => f.write_str(" trusted")?,
            (false, false) => {}
        }
        match self.mode {
            Some(mode) => write!(f, " mode={mode:o}"),
            None => Ok(()),
        }
    }
}
