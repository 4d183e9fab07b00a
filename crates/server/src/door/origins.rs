//! Explains to pages whose origin may not connect, and to the operator, what to change.

use offhook::{
    OriginPolicy,
    protocol::handshake::{Carrier, Rejection, Response, Scheme},
};

use super::refusal;
use crate::{refused::Client, worker::Worker};

/// What is wrong and what to do, for the answer and the log. `host` is the `Host` of the request.
pub(crate) fn explanation(worker: &Worker, origin: &str, host: &str) -> String {
    let live = worker.live();
    let own = &live.handshake;
    let about_proxies = match own.origin {
        OriginPolicy::SameOrigin => about_proxies(origin, host, own.scheme),
        OriginPolicy::AllowList(_) | OriginPolicy::Any => "",
    };
    if origin == "null" {
        return "pages with the origin \"null\" (opened from a file, or in a sandboxed frame) may not \
                connect here, and the setting `origins` cannot allow them, because any page can send this \
                origin; serve the page from an address; docs/origins.md explains it"
            .to_owned();
    }
    format!(
        "pages from {origin} may not connect here; to allow them, add the origin to the server's \
         setting `origins` (--origins {origin}); docs/origins.md explains it{about_proxies}"
    )
}

/// Behind a proxy, the server's own pages are refused if the proxy terminates TLS, or does not
/// forward the client's `Host`.
fn about_proxies(origin: &str, host: &str, scheme: Scheme) -> &'static str {
    let Some((of_page, authority)) = origin.split_once("://") else {
        return "";
    };
    let name = |authority: &str| {
        let name = authority
            .rsplit_once(':')
            .map_or(authority, |(name, _)| name);
        name.to_ascii_lowercase()
    };
    if authority.eq_ignore_ascii_case(host) && of_page != scheme.as_str() {
        return "; if it is the server's own page and a proxy in front terminates TLS, set \
                `behind_tls_proxy`";
    }
    if name(authority) == name(host) {
        return "; if it is the server's own page, the proxy in front has to forward Host with its \
                port (nginx: $http_host)";
    }
    ""
}

/// The answer to an invalid handshake, which is logged.
pub(crate) fn rejected(
    worker: &Worker,
    rejection: &Rejection,
    host: &str,
    client: Client<'_>,
    carrier: Carrier,
) -> Response {
    let Rejection::OriginDenied { origin } = rejection else {
        worker.note_refusal("handshake", rejection, client);
        return rejection.response(carrier);
    };
    let explanation = explanation(worker, origin, host);
    worker.note_refusal("origin", &explanation, client);
    refusal(rejection.status(), &explanation).response(carrier)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_explanation_names_a_proxys_mistake() {
        let tls = about_proxies("https://a.example", "A.example", Scheme::Http);
        assert!(tls.contains("behind_tls_proxy"), "{tls}");
        let port = about_proxies("https://a.example:8443", "a.example", Scheme::Https);
        assert!(port.contains("$http_host"), "{port}");
        assert_eq!(
            about_proxies("https://b.example", "a.example", Scheme::Http),
            ""
        );
        assert_eq!(about_proxies("null", "a.example", Scheme::Http), "");
    }
}
