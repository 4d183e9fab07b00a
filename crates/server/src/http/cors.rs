//! CORS (of the Fetch standard): pages that may open a WebSocket may also read answers.

use hyper::{
    HeaderMap, Method, StatusCode,
    header::{
        ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
        ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, HeaderValue, ORIGIN, VARY,
    },
};

use super::{Answer, sentence};

/// How long a browser may remember the answer to a preflight, in seconds. Two hours: the maximum in
/// Chromium.
const REMEMBERED: &str = "7200";

/// Permits the page that sent a request to read its answer. The origin was checked before: if it
/// may not connect, the answer contains only the reason. Cookies are not accepted from other
/// origins, so `Access-Control-Allow-Credentials` is never sent.
pub(super) fn let_read(request: &HeaderMap, answer: &mut HeaderMap) {
    // Caches must not reuse the answer for another origin, or for a request without one.
    answer.append(VARY, HeaderValue::from_static("Origin"));
    if let Some(origin) = request.get(ORIGIN) {
        answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        let fields = HeaderValue::from_static("Retry-After");
        answer.insert(ACCESS_CONTROL_EXPOSE_HEADERS, fields);
    }
}

/// The answer to a preflight of a page that may connect.
pub(super) fn preflight(methods: &[Method]) -> Answer {
    let mut answer = sentence(StatusCode::NO_CONTENT, "");
    *answer.body_mut() = bytes::Bytes::new().into();
    let headers = answer.headers_mut();
    headers.clear();
    let names: Vec<_> = methods.iter().map(Method::as_str).collect();
    if let Ok(methods) = HeaderValue::from_str(&names.join(", ")) {
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, methods);
    }
    let fields = "Authorization, Cache-Control, Content-Type, Last-Event-ID";
    headers.insert(
        ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static(fields),
    );
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(REMEMBERED));
    answer
}
