//! The body of a request: complete, and within limits of size and time.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::{
    Request, StatusCode,
    body::Body as _,
    header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderValue},
};
use offhook_engine::{ErrorCode, Refusal};
use serde::Deserialize;
use tokio::time::timeout;

use super::problem::Problem;
use crate::{http::Received, worker::Memory};

/// A received body.
pub(in crate::http) struct Body {
    pub(in crate::http) bytes: Bytes,
    /// Whether its type is `application/json`.
    pub(in crate::http) is_json: bool,
    /// `Idempotency-Key`, if the request has one.
    pub(super) idempotency_key: Option<String>,
}

impl Body {
    /// Reads a body of at most `limit` bytes, the value of `setting`, within `limit_time`. An announced
    /// length allocates nothing; what arrives counts against the memory of the process.
    pub(in crate::http) async fn read(
        request: Request<Received>,
        memory: &Memory,
        (limit, setting): (usize, &'static str),
        limit_time: Duration,
    ) -> Result<Self, Problem> {
        let headers = request.headers();
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let kind = text(CONTENT_TYPE.as_str()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        let is_json = kind.eq_ignore_ascii_case("application/json");
        if text(CONTENT_ENCODING.as_str()).is_some_and(|coding| coding != "identity") {
            let detail = "the body is compressed (Content-Encoding); send it uncompressed";
            let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
            return Err(Problem::new(status, "bad_request", detail));
        }
        if headers.get_all("idempotency-key").iter().count() > 1 {
            let detail = "Idempotency-Key: given twice; send one";
            return Err(Problem::bad(detail));
        }
        let idempotency_key = headers.get("idempotency-key").map(key).transpose()?;
        let too_large = || {
            let detail = format!("the body is longer than {limit} bytes ({setting})");
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail)
        };
        let body = request.into_body();
        if body.size_hint().lower() > limit as u64 {
            return Err(too_large());
        }
        let whole = timeout(limit_time, collect(body, memory, limit)).await;
        let whole = whole.map_err(|_| {
            let detail =
                format!("the body was not complete within {limit_time:?} (api.body_timeout)");
            Problem::new(StatusCode::REQUEST_TIMEOUT, "timed_out", detail)
        })?;
        let bytes = match whole {
            Ok(Collected::Whole(bytes)) => bytes,
            Ok(Collected::TooLarge) => return Err(too_large()),
            Ok(Collected::NoMemory) => {
                let detail = "the server is short of memory (memory.bytes); try again later";
                let status = StatusCode::SERVICE_UNAVAILABLE;
                let problem = Problem::new(status, "busy", detail);
                return Err(problem.after(Some(Duration::from_secs(1))));
            }
            Err(error) => return Err(Problem::bad(format!("the body is incomplete: {error}"))),
        };
        Ok(Self {
            bytes,
            is_json,
            idempotency_key,
        })
    }

    /// Whether it begins as a JSON object does.
    pub(super) fn looks_like_json(&self) -> bool {
        self.bytes.trim_ascii_start().starts_with(b"{")
    }

    /// Parses a JSON body. The result may borrow from it.
    pub(super) fn json<'a, T: Deserialize<'a>>(&'a self) -> Result<T, Problem> {
        let is_object = self.looks_like_json();
        if !self.is_json {
            let detail = "expected a body of Content-Type: application/json";
            let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
            return Err(Problem::new(status, "bad_request", detail));
        }
        // Serde would also accept an array of the fields' values.
        if !is_object {
            return Err(Problem::bad("body: expected one JSON object"));
        }
        serde_json::from_slice(&self.bytes).map_err(|error| Problem::bad(format!("body: {error}")))
    }
}

/// The value of `Idempotency-Key`, which may be any UTF-8, as `key` in JSON. One that cannot be read is refused:
/// without it a repeated request would publish twice.
fn key(value: &HeaderValue) -> Result<String, Problem> {
    let text = String::from_utf8(value.as_bytes().to_vec());
    text.map_err(|_| {
        let detail = "Idempotency-Key: is not UTF-8; send the key in UTF-8";
        Refusal::new(ErrorCode::BadKey, detail).into()
    })
}

enum Collected {
    Whole(Bytes),
    TooLarge,
    NoMemory,
}

/// The step by which a body's buffer grows. 16 KiB: doubling it could allocate twice the body's
/// size.
const STEP: usize = 16 * 1024;

async fn collect(
    mut body: Received,
    memory: &Memory,
    limit: usize,
) -> Result<Collected, <Received as hyper::body::Body>::Error> {
    let mut whole = Vec::new();
    let mut counted = memory.begin_body();
    while let Some(frame) = body.frame().await {
        let frame = frame?;
        let Some(data) = frame.data_ref() else {
            continue;
        };
        let len = whole.len() + data.len();
        if len > limit {
            return Ok(Collected::TooLarge);
        }
        if len > whole.capacity() {
            whole.reserve_exact(len.next_multiple_of(STEP).min(limit) - whole.len());
            if !counted.grow_to(whole.capacity()) {
                return Ok(Collected::NoMemory);
            }
        }
        whole.extend_from_slice(data);
    }
    Ok(Collected::Whole(whole.into()))
}
