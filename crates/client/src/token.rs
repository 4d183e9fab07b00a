//! Sources of authentication tokens.

use std::future::Future;
use std::pin::Pin;

use crate::error::Error;

type Fetching = Pin<Box<dyn Future<Output = Result<String, Error>> + Send>>;

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
        Self::Source(Box::new(move || {
            let fetching = fetch();
            Box::pin(async {
                fetching
                    .await
                    .map_err(|error| Error::Token(error.into().into()))
            })
        }))
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
