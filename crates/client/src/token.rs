//! Sources of authentication tokens.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::error::Error;

/// A token that is being fetched.
pub(crate) type Fetching = Pin<Box<dyn Future<Output = Result<String, Error>> + Send>>;

/// The token for the server's authentication.
#[derive(Default)]
pub(crate) enum Tokens {
    #[default]
    None,
    Fixed(String),
    Source(Box<dyn FnMut() -> Fetching + Send>),
}

impl Tokens {
    pub(crate) fn source<F, O, E>(mut fetch: F) -> Self
    where
        F: FnMut() -> O + Send + 'static,
        O: Future<Output = Result<String, E>> + Send + 'static,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        Self::Source(Box::new(move || fetching(fetch())))
    }

    /// Begins to fetch a newer token; none if there is no source.
    pub(crate) fn begin(&mut self) -> Option<Fetching> {
        match self {
            Self::None | Self::Fixed(_) => None,
            Self::Source(fetch) => Some(fetch()),
        }
    }

    pub(crate) fn is_source(&self) -> bool {
        matches!(self, Self::Source(_))
    }

    /// The token, unless a resume token makes asking the source unnecessary.
    pub(crate) async fn fetch(&mut self, wanted: bool) -> Result<Option<String>, Error> {
        match self {
            Self::None => Ok(None),
            Self::Fixed(token) => Ok(Some(token.clone())),
            Self::Source(fetch) if wanted => fetch().await.map(Some),
            Self::Source(_) => Ok(None),
        }
    }
}

fn fetching<O, E>(fetching: O) -> Fetching
where
    O: Future<Output = Result<String, E>> + Send + 'static,
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    Box::pin(async {
        let fetched = fetching.await;
        fetched.map_err(|error| Error::Token(error.into().into()))
    })
}

/// The subscription tokens of channels.
#[derive(Clone)]
pub(crate) struct ChannelTokens {
    fetch: Arc<dyn Fn(&str) -> Fetching + Send + Sync>,
    /// Whether a later token may differ.
    pub(crate) renews: bool,
}

impl ChannelTokens {
    /// Always the same token.
    pub(crate) fn fixed(token: String) -> Self {
        Self {
            fetch: Arc::new(move |_| {
                let token = token.clone();
                Box::pin(async { Ok(token) })
            }),
            renews: false,
        }
    }

    /// A new token for each request.
    pub(crate) fn source<F, O, E>(fetch: F) -> Self
    where
        F: Fn(&str) -> O + Send + Sync + 'static,
        O: Future<Output = Result<String, E>> + Send + 'static,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        Self {
            fetch: Arc::new(move |channel| fetching(fetch(channel))),
            renews: true,
        }
    }

    /// Begins to fetch a token for a channel.
    pub(crate) fn begin(&self, channel: &str) -> Fetching {
        (self.fetch)(channel)
    }
}

impl fmt::Debug for ChannelTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChannelTokens(..)")
    }
}
