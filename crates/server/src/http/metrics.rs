//! `/metrics`, for Prometheus and other programs that read its format.

use hyper::{
    Method, Request, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue},
};
use offhook_auth::Scope;

use super::{Answer, Received, api, api::Problem, client_of};
use crate::{
    metrics::{Page, page},
    worker::{Shared, Worker},
};

/// The path.
pub(super) const PATH: &str = "/metrics";

/// The answer at an address for clients, where an API key is required: strangers need not know how
/// busy the server is.
pub(super) fn with_key(worker: &Worker, request: &Request<Received>) -> Answer {
    match check(worker, request) {
        Ok(()) => report(&worker.shared),
        Err(problem) => {
            if problem.is_worth_a_log() {
                worker.note_refusal("metrics", &problem, client_of(request));
            }
            problem.answer()
        }
    }
}

fn check(worker: &Worker, request: &Request<Received>) -> Result<(), Problem> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Err(Problem::method(&[Method::GET, Method::HEAD]));
    }
    let keys = worker.shared.auth.api_keys();
    if keys.is_empty() {
        let detail = "metrics require an API key with the scope metrics (api.keys; `offhook token \
                      --api-key` creates one), or an admin listener (admin.listen)";
        return Err(Problem::new(StatusCode::NOT_FOUND, "no_metrics", detail));
    }
    let key = api::key_of(&keys, request)?;
    if key.is_for(Scope::Metrics) || key.is_for(Scope::Admin) {
        return Ok(());
    }
    Err(Problem::scope(Scope::Metrics))
}

/// The metrics.
pub(super) fn report(shared: &Shared) -> Answer {
    let Page { media_type, text } = page(shared);
    let mut answer = Answer::new(text.into());
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}
