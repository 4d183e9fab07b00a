//! Errors of an answer (GraphQL §7.1.2).

use std::borrow::Cow;

use offhook_engine::{ErrorCode, Refusal, Retry};
use serde::Deserialize;

use super::syntax::{Fault, Spot};
use crate::{json::Object, jsonrpc::answer::refusal_fields};

/// Why a request, or one of its fields, has no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    refusal: Refusal,
    spot: Option<Spot>,
}

impl Failure {
    pub(super) fn bad(detail: impl Into<Cow<'static, str>>) -> Self {
        Refusal::new(ErrorCode::BadRequest, detail).into()
    }

    pub(super) fn too_large(detail: impl Into<Cow<'static, str>>) -> Self {
        Refusal::new(ErrorCode::TooLarge, detail).into()
    }

    /// What is wrong with a document.
    pub(super) fn of(fault: Fault, document: &str) -> Self {
        let spot = Some(Spot::of(document, fault.at));
        Self {
            spot,
            ..Self::bad(fault.message)
        }
    }

    /// The failure of a field that is there in the document.
    pub(super) fn at(mut self, spot: Option<Spot>) -> Self {
        self.spot = spot;
        self
    }

    /// The error, as JSON. `path`: the name of the field in the answer.
    pub(super) fn json(&self, path: Option<&str>) -> String {
        let object = Object::part().text("message", &self.refusal.detail);
        let object = match self.spot {
            Some(Spot { line, column }) => {
                let spot = format!("[{{\"line\":{line},\"column\":{column}}}]");
                object.raw("locations", spot)
            }
            None => object,
        };
        let object = match path {
            Some(name) => object.raw("path", format_args!("[{}]", crate::json::json(name))),
            None => object,
        };
        let code = Object::part().text("code", self.refusal.code.name());
        let code = refusal_fields(code, &self.refusal);
        object.raw("extensions", code.end()).end()
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self {
            refusal,
            spot: None,
        }
    }
}

/// A list of errors, as JSON.
pub(super) fn list(failures: &[Failure]) -> String {
    let failures: Vec<_> = failures.iter().map(|one| one.json(None)).collect();
    format!("[{}]", failures.join(","))
}

/// An answer to a request that was not executed.
pub(super) fn answer(failures: &[Failure]) -> String {
    format!("{{\"errors\":{}}}", list(failures))
}

/// The status of an HTTP response with this answer: 200 if the operation was executed, whether or
/// not its fields have values.
#[must_use]
pub fn status_of(answer: &str) -> u16 {
    #[derive(Deserialize)]
    struct Answer {
        errors: Vec<Error>,
    }
    #[derive(Deserialize)]
    struct Error {
        extensions: Extensions,
    }
    #[derive(Deserialize)]
    struct Extensions {
        code: String,
    }
    if !answer.starts_with("{\"errors\"") {
        return 200;
    }
    let errors = serde_json::from_str(answer).map_or(Vec::new(), |Answer { errors }| errors);
    let code = errors.into_iter().next().map(|error| error.extensions.code);
    let code = ErrorCode::ALL
        .iter()
        .find(|known| Some(known.name()) == code.as_deref());
    match code {
        Some(ErrorCode::Unauthenticated | ErrorCode::BadToken) => 401,
        Some(ErrorCode::Forbidden | ErrorCode::Rejected) => 403,
        Some(ErrorCode::RateLimited) => 429,
        Some(code) if code.retry() != Retry::Never => 503,
        _ => 400,
    }
}
