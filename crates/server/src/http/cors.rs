//! CORS (of the Fetch standard): pages that may open a WebSocket may also read answers.

use hyper::{
    HeaderMap, Method, Request, StatusCode,
    header::{
        ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
        ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD,
        HeaderValue, ORIGIN, VARY,
    },
};

use super::{Answer, Received, sentence};

/// How long a browser may remember the answer to a preflight, in seconds. Two hours: the maximum in
/// Chromium.
const REMEMBERED: &str = "7200";

/// Permits pages of an origin to read the answer. The origin was checked before: if it
/// may not connect, the answer contains only the reason. Cookies are not accepted from other
/// origins, so `Access-Control-Allow-Credentials` is never sent.
pub(super) fn let_read(origin: Option<&HeaderValue>, answer: &mut HeaderMap) {
    // Caches must not reuse the answer for another origin, or for a request without one.
    answer.append(VARY, HeaderValue::from_static("Origin"));
    if let Some(origin) = origin {
        answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        let fields = HeaderValue::from_static("Retry-After, WWW-Authenticate");
        answer.insert(ACCESS_CONTROL_EXPOSE_HEADERS, fields);
    }
}

/// Whether a request is a preflight, with which a browser asks what a page of another origin may
/// send. It contains no key.
pub(super) fn is_preflight(request: &Request<Received>) -> bool {
    let headers = request.headers();
    *request.method() == Method::OPTIONS
        && headers.contains_key(ORIGIN)
        && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// The answer to a preflight of a page that may connect: the methods and the header fields of its
/// requests.
pub(super) fn preflight(methods: &[Method], fields: &'static str) -> Answer {
    let mut answer = sentence(StatusCode::NO_CONTENT, "");
    *answer.body_mut() = bytes::Bytes::new().into();
    let headers = answer.headers_mut();
    headers.clear();
    let names: Vec<_> = methods.iter().map(Method::as_str).collect();
    if let Ok(methods) = HeaderValue::from_str(&names.join(", ")) {
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, methods);
    }
    headers.insert(
        ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static(fields),
    );
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(REMEMBERED));
    answer
}
