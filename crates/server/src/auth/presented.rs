//! The token that a handshake brings, wherever it stands.

use offhook::protocol::handshake::Request;

use crate::config::Config;

/// What a subprotocol entry with a token begins with. Browsers can set no header in a handshake,
/// but subprotocols, and a token has only characters that such an entry may have.
const TOKEN_SUBPROTOCOL: &str = "offhook.token.";

const BEARER: &str = "bearer ";

/// Two tokens in one handshake: whose would count?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TwoTokens;

/// The token that a handshake brings, if it brings one.
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

/// Other schemes are a proxy's affair.
fn authorization(request: &Request) -> impl Iterator<Item = &str> {
    let values = request.headers().get_all("authorization");
    let values = values.filter_map(|value| std::str::from_utf8(value).ok());
    values.filter_map(|value| {
        let (scheme, token) = value.split_at_checked(BEARER.len())?;
        scheme.eq_ignore_ascii_case(BEARER).then(|| token.trim())
    })
}

/// Browsers send cookies along from any page: this one counts only for pages of the server's own
/// origin, also where others may connect.
fn cookie<'a>(request: &'a Request, config: &Config) -> Option<&'a str> {
    let name = config.auth.cookie.as_deref()?;
    let own = format!("{}://{}", config.scheme().as_str(), request.authority());
    let origin = request.origin()?;
    if !origin.eq_ignore_ascii_case(&own) {
        return None;
    }
    request.cookie(name)
}
