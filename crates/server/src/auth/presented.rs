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

/// The token in a handshake, if there is one.
pub(crate) fn presented<'a>(
    request: &'a Request,
    config: &Config,
) -> Result<Option<&'a str>, TwoTokens> {
    let entries = request.subprotocols();
    let entries = entries.filter_map(|entry| entry.strip_prefix(TOKEN_SUBPROTOCOL));
    let query = request.query().filter(|_| config.auth.query);
    let query = query.into_iter().flat_map(|query| query.split('&'));
    let query = query.filter_map(|pair| pair.strip_prefix("token="));
    let mut explicit = authorization(request).chain(entries).chain(query);
    let first = explicit.next();
    if explicit.next().is_some() {
        return Err(TwoTokens);
    }
    Ok(first.or_else(|| cookie(request, config)))
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
fn cookie<'a>(request: &'a Request, config: &Config) -> Option<&'a str> {
    let name = config.auth.cookie.as_deref()?;
    let own = format!("{}://{}", config.scheme().as_str(), request.authority());
    let origin = request.origin()?;
    if !origin.eq_ignore_ascii_case(&own) {
        return None;
    }
    request.cookie(name)
}
