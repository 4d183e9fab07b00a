//! Files embedded in this program: the chat, the examples, the dashboard, the documentation, and the
//! client for browsers.

use std::{
    borrow::Cow,
    hash::{DefaultHasher, Hash, Hasher},
};

use bytes::Bytes;
use data_encoding::HEXLOWER;
use http_body_util::Full;
use hyper::{
    HeaderMap, Response, StatusCode,
    header::{
        CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderValue, IF_NONE_MATCH,
        REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
    },
};
use rust_embed::{EmbeddedFile, RustEmbed};

use super::Answer;

/// The chat page. A debug build reads the files from the source tree, so that changes are visible
/// without a build.
#[derive(RustEmbed)]
#[folder = "../../web/talk"]
struct Talk;

/// The examples, one page each.
#[derive(RustEmbed)]
#[folder = "../../web/examples"]
struct Examples;

/// `@offhook/client`, as imported by browsers.
#[derive(RustEmbed)]
#[folder = "../../clients/js/src"]
struct Client;

/// The dashboard. It contains nothing about this server: it asks the HTTP API, with the operator's
/// key.
#[derive(RustEmbed)]
#[folder = "../../web/dashboard"]
struct Dashboard;

/// What the dashboard and the documentation may load and contact: only this server. No page may show
/// them in a frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'";

/// Which files an address serves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Served {
    /// The client for browsers.
    pub(super) client: bool,
    /// The chat and the examples.
    pub(super) talk: bool,
    pub(super) dashboard: bool,
    pub(super) docs: bool,
}

/// The file at a path, if one is served there.
pub(super) fn serve(path: &str, request: &HeaderMap, served: Served) -> Option<Answer> {
    let (_, path) = path.split_once('/')?;
    let (folder, name) = path.split_once('/')?;
    let file = |get: fn(&str) -> Option<EmbeddedFile>| {
        let name = if name.is_empty() { "index.html" } else { name };
        Some(embedded(name, get(name)?, request))
    };
    match folder {
        "client" if served.client => file(Client::get),
        "talk" if served.talk => file(Talk::get),
        "examples" if served.talk => file(Examples::get),
        "dashboard" if served.dashboard => file(Dashboard::get).map(guarded),
        "docs" if served.docs => documentation(name, request).map(guarded),
        _ => None,
    }
}

/// A file of the documentation.
fn documentation(path: &str, request: &HeaderMap) -> Option<Answer> {
    let file = offhook_docs::file(path)?;
    let mut hash = DefaultHasher::new();
    file.content.hash(&mut hash);
    let content = Bytes::from_owner(file.content);
    Some(answer(
        &file.name,
        &format!("{:x}", hash.finish()),
        content,
        request,
    ))
}

/// Adds the policy of the dashboard and the documentation.
fn guarded(mut answer: Answer) -> Answer {
    let headers = answer.headers_mut();
    let policy = HeaderValue::from_static(POLICY);
    headers.insert(CONTENT_SECURITY_POLICY, policy);
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    answer
}

fn embedded(name: &str, file: EmbeddedFile, request: &HeaderMap) -> Answer {
    let hash = HEXLOWER.encode(&file.metadata.sha256_hash()[..16]);
    answer(name, &hash, bytes_of(file.data), request)
}

fn answer(name: &str, hash: &str, content: Bytes, request: &HeaderMap) -> Answer {
    let tag = format!("\"{hash}\"");
    let known = request.get_all(IF_NONE_MATCH).iter();
    let known = known.filter_map(|value| value.to_str().ok());
    // RFC 9110 §13.1.2: compared weakly; a list, or a star.
    let fresh = known
        .flat_map(|value| value.split(','))
        .map(|value| value.trim().trim_start_matches("W/"))
        .any(|value| value == tag || value == "*");
    let mut answer = if fresh {
        let mut answer = Response::new(Full::default());
        *answer.status_mut() = StatusCode::NOT_MODIFIED;
        answer
    } else {
        Response::new(Full::from(content))
    };
    let headers = answer.headers_mut();
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(ETAG, tag);
    }
    // Revalidated each time and rarely sent again: a new version of the server may have a new page.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type(name)));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}

fn bytes_of(data: Cow<'static, [u8]>) -> Bytes {
    match data {
        Cow::Borrowed(bytes) => Bytes::from_static(bytes),
        Cow::Owned(bytes) => bytes.into(),
    }
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map_or("", |(_, ending)| ending) {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" | "map" | "webmanifest" => "application/json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        // To a browser, TypeScript's types are text.
        "ts" | "txt" | "md" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}
