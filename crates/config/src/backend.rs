//! Settings of the backend and its webhooks.

use std::{fmt, path::PathBuf, str::FromStr, time::Duration};

use data_encoding::BASE64;
use offhook_engine::{Access, AskRule, NoAnswer};

use super::channels::ACCESS;
use super::group::group;
use super::kind::{Bytes, Choice, File, Many, Or, Parsed, Switch, count, some, time};
use super::url::HttpUrl;

const AWAY: &[(&str, NoAnswer)] = &[("refuse", NoAnswer::Refuse), ("allow", NoAnswer::Allow)];

/// The minimum length of a signing secret in bytes, according to the Standard Webhooks
/// specification.
const LEAST_SECRET: usize = 24;

group! {
    /// The backend, to which the server sends signed HTTP requests: it decides who may connect,
    /// subscribe and publish, answers calls, and receives events. docs/webhooks.md describes the
    /// requests.
    pub struct Backend {
        /// The URL to which requests are sent, by `POST`. Redirects are not followed.
        ///
        /// Without a backend, the server decides everything by its own rules.
        url: Option<HttpUrl> = None => Or("none", Parsed::new("a URL like \"https://app.example.com/offhook\"", "URL"));

        /// Secrets with which requests are signed: as plain text, or as base64 after `base64:` or
        /// `whsec_`. With several secrets, each request has a signature for each, so that they can
        /// be rotated.
        ///
        /// Without a secret, the backend could not distinguish the server from others, so `url`
        /// requires one.
        secrets: Vec<SigningSecret> = Vec::new() => Many(Parsed::new("a secret of at least 24 bytes", "SECRET").secret());

        /// PEM file with the certificates of authorities that may sign the backend's certificate, in
        /// addition to those of the system.
        ///
        /// Public backends have certificates of authorities that the system knows.
        ca_file: Option<PathBuf> = None => Or("none", File);

        /// Whether the URL may be plain `http` to another machine. Requests are signed, but answers
        /// are not: anyone who can modify them in transit decides what clients may do.
        ///
        /// Plain `http` is safe only in a private network.
        plain_http: bool = false => Switch;

        /// Ask the backend about each client that connects, but not about clients that resume a
        /// session.
        ///
        /// Tokens authenticate clients without a request to the backend.
        connect: bool = false => Switch;

        /// Who may call methods of the backend: everyone, sessions with a user name (`users`),
        /// sessions with a grant of the verb `call` for the method (`granted`), or nobody.
        ///
        /// A backend that decides about other requests may not expect calls.
        calls: Access = Access::Nobody => Choice(ACCESS);

        /// Send events when connections end and when sessions are resumed.
        ///
        /// Most backends do not need them; events of channels say more (`channels.notify`).
        connections: bool = false => Switch;

        /// How long a question may take in total, including waiting and retries. Calls have their
        /// own limit, `limits.call_within`.
        ///
        /// A person is waiting, and a backend that takes longer is overloaded.
        timeout: Duration = AskRule::default().within => time();

        /// What happens if a question is not answered: `refuse`, or `allow` for a backend that only
        /// observes. Calls always fail.
        ///
        /// By default, nothing is permitted without the backend's answer.
        away: NoAnswer = NoAnswer::Refuse => Choice(AWAY);

        /// How often a request is repeated within its time if the backend did not answer, or
        /// answered with 408, 429 or 5xx. Calls are repeated only if they have a key.
        ///
        /// By then, a backend that restarts behind a load balancer is available again.
        retries: u32 = 2 => count();

        /// How many requests may be in flight at the same time.
        ///
        /// As many as a backend with a pool of connections to its database can use.
        concurrency: usize = 64 => some();

        /// How many questions may wait until a request can be sent. Further questions are refused
        /// with `busy`.
        ///
        /// At 1 ms each, all of them are sent within the timeout.
        queue: usize = 4_096 => some();

        /// How many events may wait to be sent; together, they may have 16 MiB. Beyond that, the oldest
        /// events are dropped, and the next request contains the number of dropped events.
        ///
        /// About a minute's events of a busy server, in a few megabytes.
        events: usize = 16_384 => some();

        /// The maximum size of an answer.
        ///
        /// Room for the largest publication in base64, and its tags.
        max_answer: usize = 256 << 10 => Bytes::new();
    }
}

impl Backend {
    /// The engine's rule for questions.
    #[must_use]
    pub fn ask_rule(&self) -> AskRule {
        AskRule {
            within: self.timeout,
            no_answer: self.away,
        }
    }
}

/// A secret with which requests to the backend are signed. It is never shown.
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

/// Omits the secret.
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
