//! The token in a handshake, wherever it is.

use offhook::protocol::handshake::Request;

use crate::config::Config;

/// The prefix of a subprotocol entry with a token. Browsers cannot set header fields in a
/// handshake, only subprotocols, and a token contains only characters that are allowed there.
const TOKEN_SUBPROTOCOL: &str = "offhook.token.";

const BEARER: &str = "bearer ";

/// Two tokens in one handshake: it is unclear which one counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TwoTokens;

/// In what a token comes, which decides where it may stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Places {
    /// A WebSocket's handshake.
    Handshake,
    /// An ordinary request. It may have a token in its URL although the configuration does not let
    /// any stand there, because an `EventSource` can set neither fields nor subprotocols. Its cookie
    /// counts without an `Origin`, too: browsers send none with a page's requests to its own origin,
    /// but say so in `Sec-Fetch-Site`.
    Request,
}

/// A token that a client brings.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Presented<'a> {
    pub(crate) text: &'a str,
    pub(crate) is_in_url: bool,
}

/// The token in a handshake or another request, if there is one.
pub(crate) fn presented<'a>(
    request: &'a Request,
    config: &Config,
    places: Places,
) -> Result<Option<Presented<'a>>, TwoTokens> {
    let entries = request.subprotocols();
    let entries = entries.filter_map(|entry| entry.strip_prefix(TOKEN_SUBPROTOCOL));
    let query = request
        .query()
        .filter(|_| config.auth.query || places == Places::Request);
    let query = query.into_iter().flat_map(|query| query.split('&'));
    let query = query.filter_map(|pair| pair.strip_prefix("token="));
    let elsewhere = authorization(request).chain(entries);
    let elsewhere = elsewhere.map(|text| (text, false));
    let mut explicit = elsewhere.chain(query.map(|text| (text, true)));
    let first = explicit.next();
    if explicit.next().is_some() {
        return Err(TwoTokens);
    }
    let first = first.or_else(|| Some((cookie(request, config, places)?, false)));
    Ok(first.map(|(text, is_in_url)| Presented { text, is_in_url }))
}

/// Other schemes may be meant for a proxy.
fn authorization(request: &Request) -> impl Iterator<Item = &str> {
    let values = request.headers().get_all("authorization");
    let values = values.filter_map(|value| std::str::from_utf8(value).ok());
    values.filter_map(|value| {
        let (scheme, token) = value.split_at_checked(BEARER.len())?;
        scheme.eq_ignore_ascii_case(BEARER).then(|| token.trim())
    })
}

/// Browsers send cookies with requests from any page: the cookie counts only for pages of the
/// server's own origin, even if others may connect.
fn cookie<'a>(request: &'a Request, config: &Config, places: Places) -> Option<&'a str> {
    let name = config.auth.cookie.as_deref()?;
    let is_own = match request.origin() {
        Some(origin) => {
            let own = format!("{}://{}", config.scheme().as_str(), request.authority());
            origin.eq_ignore_ascii_case(&own)
        }
        None => {
            let mut site = request.headers().get_all("sec-fetch-site");
            places == Places::Request && site.next() == Some(b"same-origin")
        }
    };
    is_own.then(|| request.cookie(name))?
}
