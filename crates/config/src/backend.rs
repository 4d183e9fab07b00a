//! Settings of the backend that the server asks and tells.

use std::{fmt, path::PathBuf, str::FromStr, time::Duration};

use data_encoding::BASE64;
use offhook_engine::{Access, AskRule, NoAnswer};

use super::channels::ACCESS;
use super::group::group;
use super::kind::{Bytes, Choice, File, Many, Or, Parsed, Switch, count, some, time};
use super::url::HttpUrl;

const AWAY: &[(&str, NoAnswer)] = &[("refuse", NoAnswer::Refuse), ("allow", NoAnswer::Allow)];

/// The least bytes of a signing secret, as the Standard Webhooks specification has it.
const LEAST_SECRET: usize = 24;

group! {
    /// The backend: it is asked by signed HTTP requests who may connect, subscribe and publish, it
    /// answers calls, and it is told what happens. docs/webhooks.md describes the requests.
    pub struct Backend {
        /// Where requests are sent, by `POST`. Redirects are not followed.
        ///
        /// Without a backend nothing is asked.
        url: Option<HttpUrl> = None => Or("none", Parsed::new("a URL like \"https://app.example.com/offhook\"", "URL"));

        /// Secrets that requests are signed with, each as it stands, or in base64 after `base64:` or
        /// `whsec_`. With several, each request has a signature by each, so that one can be exchanged.
        ///
        /// Without a secret the backend could not tell the server from anybody else, so a URL needs one.
        secrets: Vec<SigningSecret> = Vec::new() => Many(Parsed::new("a secret of at least 24 bytes", "SECRET").secret());

        /// PEM file with the certificates of authorities that may sign the backend's certificate, in
        /// addition to those of the system.
        ///
        /// Public backends have certificates of authorities that the system knows.
        ca_file: Option<PathBuf> = None => Or("none", File);

        /// Whether the URL may be plain `http` to another machine. Requests are signed; answers are not,
        /// so whoever can change them on the way decides who may do what.
        ///
        /// Safe only in a network that is yours.
        plain_http: bool = false => Switch;

        /// Ask about each client that connects. Clients that resume a session are not asked about again.
        ///
        /// Tokens say who connects without a request to the backend.
        connect: bool = false => Switch;

        /// Who may call methods of the backend: everyone, sessions with a user name (`users`), sessions
        /// with a grant of the verb `call` for the method (`granted`), or nobody.
        ///
        /// A backend that is asked about something else may not expect calls.
        calls: Access = Access::Nobody => Choice(ACCESS);

        /// Tell when connections end, and when sessions are resumed.
        ///
        /// Most backends do not need it; channels tell more (`channels.notify`).
        connections: bool = false => Switch;

        /// How long a question may take in all, with waiting and repetitions. Calls have a limit of
        /// their own, `limits.call_within`.
        ///
        /// A person is waiting, and a backend that takes longer is in trouble.
        timeout: Duration = AskRule::default().within => time();

        /// What holds when a question is not answered: `refuse`, or `allow` for a backend that only
        /// looks on. Calls always fail.
        ///
        /// Nothing is allowed that the backend did not allow.
        away: NoAnswer = NoAnswer::Refuse => Choice(AWAY);

        /// How often a request is repeated that the backend did not answer or answered with 408, 429 or
        /// 5xx, within its time. Calls are repeated only if they have a key.
        ///
        /// A backend that restarts behind a load balancer is there again by then.
        retries: u32 = 2 => count();

        /// How many requests may be under way at the same time.
        ///
        /// As many as a backend with a pool of connections to its database can use.
        concurrency: usize = 64 => some();

        /// How many questions may wait for a free request. More are refused with `busy`.
        ///
        /// At 1 ms each, they are asked within the timeout.
        queue: usize = 4_096 => some();

        /// How many events may wait to be told. When there are more, the oldest are dropped, and the next
        /// request says how many.
        ///
        /// A minute of a busy server, in some megabytes.
        events: usize = 16_384 => some();

        /// The longest answer that is read.
        ///
        /// The largest publication in base64, and its tags.
        max_answer: usize = 256 << 10 => Bytes::new();
    }
}

impl Backend {
    /// How the engine asks.
    #[must_use]
    pub fn ask_rule(&self) -> AskRule {
        AskRule {
            within: self.timeout,
            no_answer: self.away,
        }
    }
}

/// A secret that requests to the backend are signed with, never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningSecret(pub Vec<u8>);

impl FromStr for SigningSecret {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let encoded = text
            .strip_prefix("whsec_")
            .or_else(|| text.strip_prefix("base64:"));
        let bytes = match encoded {
            Some(encoded) => BASE64
                .decode(encoded.trim().as_bytes())
                .map_err(|_| "what follows whsec_ or base64: is not base64")?,
            None => text.as_bytes().to_vec(),
        };
        if bytes.len() < LEAST_SECRET {
            let len = bytes.len();
            return Err(format!(
                "the secret has {len} bytes; at least {LEAST_SECRET} are needed, such as those of \
                 `openssl rand -base64 32`"
            ));
        }
        Ok(Self(bytes))
    }
}

/// Without the secret.
impl fmt::Display for SigningSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(not shown)")
    }
}

impl fmt::Debug for SigningSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningSecret(..)")
    }
}
