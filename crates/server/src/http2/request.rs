//! A request of HTTP/2 in the form that handlers expect, which is that of HTTP/1.1.

use h2::RecvStream;
use hyper::{
    HeaderMap, Method, Request, Uri,
    header::{CONTENT_LENGTH, COOKIE, HOST, HeaderValue},
};

use crate::{http::Received, worker::CountedStream};

/// Converts a request: the authority becomes `Host`, the target is path and query, and there is one
/// field with cookies. If that is impossible, the answer is 400, with this sentence.
pub(super) fn received(
    request: Request<RecvStream>,
    held: CountedStream,
) -> Result<Request<Received>, &'static str> {
    let (mut head, stream) = request.into_parts();
    name_host(&head.uri, &mut head.headers)?;
    join_cookies(&mut head.headers);
    head.uri = match head.uri.into_parts().path_and_query {
        Some(target) => Uri::from(target),
        None => Uri::from_static("/"),
    };
    let length = head.headers.get(CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
    // Only bodies of POST are read. Any other body would fill the windows until the request is answered,
    // which can take a minute for a poll.
    let body = match head.method {
        Method::POST => Received::Http2 {
            stream,
            length,
            _held: held,
        },
        _ => Received::Discarded,
    };
    Ok(Request::from_parts(head, body))
}

/// RFC 9113 §8.3.1: `:authority` replaces `Host`, which must not differ from it, and names no user.
pub(crate) fn name_host(uri: &Uri, headers: &mut HeaderMap) -> Result<(), &'static str> {
    let Some(authority) = uri.authority() else {
        return Ok(());
    };
    if authority.as_str().contains('@') {
        return Err(":authority: names a user, which is not allowed");
    }
    let mut hosts = headers.get_all(HOST).iter();
    let differs = |host: &HeaderValue| {
        let authority = authority.as_str().as_bytes();
        !host.as_bytes().eq_ignore_ascii_case(authority)
    };
    if hosts.any(differs) {
        return Err("Host: differs from :authority");
    }
    let host = HeaderValue::from_str(authority.as_str());
    headers.insert(HOST, host.map_err(|_| ":authority: is not a host")?);
    Ok(())
}

/// RFC 9113 §8.2.3: cookies may be split over several fields. Joins them, since handlers expect one field.
pub(crate) fn join_cookies(headers: &mut HeaderMap) {
    let crumbs = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes);
    let crumbs: Vec<&[u8]> = crumbs.collect();
    if crumbs.len() < 2 {
        return;
    }
    // Valid values joined by `; ` are a valid value.
    if let Ok(joined) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
        headers.insert(COOKIE, joined);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(authority: &str, hosts: &[&str]) -> Result<Option<String>, &'static str> {
        let uri = Uri::builder().scheme("https").authority(authority);
        let uri = uri.path_and_query("/").build().unwrap();
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(HOST, host.parse().unwrap());
        }
        name_host(&uri, &mut headers)?;
        let all = headers.get_all(HOST).iter();
        let all: Vec<_> = all.map(|host| host.to_str().unwrap()).collect();
        // More than one would not be the name that the tests expect.
        Ok((!all.is_empty()).then(|| all.join(" and ")))
    }

    #[test]
    fn the_authority_becomes_the_host_and_must_not_differ_from_it() {
        let host = |name: &str| Ok(Some(name.to_owned()));
        assert_eq!(named("a.example:8443", &[]), host("a.example:8443"));
        assert_eq!(named("a.example", &["A.example"]), host("a.example"));
        assert!(named("a.example", &["b.example"]).is_err());
        assert!(named("a.example", &["a.example", "b.example"]).is_err());
        assert!(named("user@a.example", &[]).is_err());
    }

    #[test]
    fn cookies_in_several_fields_are_joined() {
        let mut headers = HeaderMap::new();
        for crumb in ["a=1", "b=2; c=3"] {
            headers.append(COOKIE, HeaderValue::from_static(crumb));
        }
        join_cookies(&mut headers);
        let cookies: Vec<_> = headers.get_all(COOKIE).iter().collect();
        assert_eq!(cookies, ["a=1; b=2; c=3"]);
    }
}
