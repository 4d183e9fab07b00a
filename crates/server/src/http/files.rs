//! Files embedded in this program: the chat, the examples, and the client for browsers.

use std::borrow::Cow;

use bytes::Bytes;
use data_encoding::HEXLOWER;
use http_body_util::Full;
use hyper::{
    HeaderMap, Response, StatusCode,
    header::{
        CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderValue, IF_NONE_MATCH, X_CONTENT_TYPE_OPTIONS,
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

/// The file at a path, if one is served there.
pub(super) fn serve(path: &str, request: &HeaderMap, talk: bool) -> Option<Answer> {
    let (name, file) = if let Some(name) = path.strip_prefix("/client/") {
        (name, Client::get(name)?)
    } else if !talk {
        return None;
    } else if let Some(name) = path.strip_prefix("/examples/") {
        let name = page(name);
        (name, Examples::get(name)?)
    } else {
        let name = page(path.strip_prefix("/talk/")?);
        (name, Talk::get(name)?)
    };
    Some(answer(name, file, request))
}

/// The file that represents a directory, or the name itself.
fn page(name: &str) -> &str {
    if name.is_empty() { "index.html" } else { name }
}

fn answer(name: &str, file: EmbeddedFile, request: &HeaderMap) -> Answer {
    let hash = file.metadata.sha256_hash();
    let tag = format!("\"{}\"", HEXLOWER.encode(&hash[..16]));
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
        Response::new(Full::from(bytes_of(file.data)))
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
