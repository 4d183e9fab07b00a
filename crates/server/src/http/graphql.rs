//! `POST` and `GET` to the path of GraphQL: operations and their results.
//! `docs/dialects/graphql.md` specifies it.

use std::{cell::Cell, rc::Rc, time::Duration};

use hyper::{
    HeaderMap, Method, Request, StatusCode,
    header::{ACCEPT, CONTENT_TYPE, HeaderValue, ORIGIN},
};
use offhook_dialects::graphql::{Once, Unexecuted, status_of};

use super::{
    Answer, Received,
    api::{Body, Problem, Query, json_answer},
    checked, client_of, cors, is_handshake, once,
};
use crate::{
    door::{Place, graphql_settings},
    worker::Worker,
};

/// The methods, and the header fields that a page's request may have.
const METHODS: [Method; 2] = [Method::GET, Method::POST];
const FIELDS: &str = "Authorization, Content-Type";

/// The media type of answers whose status says whether the request was executed.
const RESPONSE: &str = "application/graphql-response+json";

/// Whether a request is one of GraphQL.
pub(super) fn is_at(worker: &Worker, request: &Request<Received>) -> bool {
    let config = &worker.shared.config.graphql;
    config.enabled && request.uri().path() == config.path && !is_handshake(request.headers())
}

/// Answers a request.
pub(super) async fn serve(
    worker: &Rc<Worker>,
    request: Request<Received>,
    place: &Cell<Option<Place>>,
) -> Answer {
    let origin = request.headers().get(ORIGIN).cloned();
    let (peer, path) = (client_of(&request).peer, request.uri().path().to_owned());
    let mut answer = match handle(worker, request, place).await {
        Ok(answer) => answer,
        Err(problem) => problem.logged(worker, "request", (peer, &path)),
    };
    cors::let_read(origin.as_ref(), answer.headers_mut());
    answer
}

async fn handle(
    worker: &Rc<Worker>,
    request: Request<Received>,
    place: &Cell<Option<Place>>,
) -> Result<Answer, Problem> {
    let decision = checked(worker, &request, client_of(&request))?;
    if cors::is_preflight(&request) {
        return Ok(cors::preflight(&METHODS, FIELDS));
    }
    if !METHODS.contains(request.method()) {
        return Err(Problem::method(&METHODS));
    }
    let admitted = once::admit(worker, &decision, place)?;
    let kind = Kind::wanted(request.headers());
    let dialect = match read(worker, request).await? {
        Ok(once) => once,
        Err(unexecuted) => return Ok(kind.unexecuted(unexecuted)),
    };
    let (answer, stream) = once::ask(worker, admitted, dialect).await;
    if answer.is_empty() && stream.is_connected() {
        // Without Retry-After: a client that repeats it could publish twice.
        let detail = "the server ended the connection before the request was answered; it may have been \
                      carried out";
        return Err(Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "busy",
            detail,
        ));
    }
    if answer.is_empty() {
        let detail = "the server does not accept requests at the moment; try again";
        let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", detail);
        return Err(problem.after(Some(Duration::from_secs(1))));
    }
    let status = StatusCode::from_u16(status_of(&answer)).unwrap_or(StatusCode::OK);
    Ok(kind.answer(status, answer))
}

/// Reads the operations of a request.
async fn read(
    worker: &Rc<Worker>,
    request: Request<Received>,
) -> Result<Result<Once, Unexecuted>, Problem> {
    let config = &worker.shared.config;
    let settings = graphql_settings(config);
    if *request.method() == Method::GET {
        let query = Query::of(request.uri().query())?;
        return Ok(Once::get(
            query.get("query")?,
            query.get("operationName")?,
            query.get("variables")?,
            query.get("extensions")?,
            &settings,
        ));
    }
    let limit = (config.messages.max_bytes, "messages.max_bytes");
    let memory = &worker.shared.memory;
    let body = Body::read(request, memory, limit, config.api.body_timeout).await?;
    // A page of another origin can send any other type without asking first.
    if !body.is_json {
        let detail = "expected a body of Content-Type: application/json";
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        return Err(Problem::new(status, "bad_request", detail));
    }
    // A body that is not UTF-8 is not JSON either.
    let text = String::from_utf8_lossy(&body.bytes);
    Ok(Once::post(&text, &settings))
}

/// The media type of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// `application/json`: the status is 200 for every well-formed request.
    Json,
    /// `application/graphql-response+json`: the status says whether it was executed.
    Response,
}

impl Kind {
    /// The type that a client prefers: the newer one only if the client names it.
    fn wanted(headers: &HeaderMap) -> Self {
        let accepted = headers.get_all(ACCEPT).iter();
        let accepted = accepted.filter_map(|value| value.to_str().ok());
        let mut best = (0.0, Self::Json);
        for range in accepted.flat_map(|value| value.split(',')) {
            let mut parts = range.split(';').map(str::trim);
            let kind = match parts.next().map(str::to_ascii_lowercase).as_deref() {
                Some(RESPONSE) => Self::Response,
                Some("application/json") => Self::Json,
                Some(_) | None => continue,
            };
            let quality = parts.find_map(|part| part.strip_prefix("q="));
            let quality = quality.map_or(1.0, |quality| quality.parse().unwrap_or(0.0));
            if quality > best.0 {
                best = (quality, kind);
            }
        }
        best.1
    }

    fn unexecuted(self, unexecuted: Unexecuted) -> Answer {
        let (status, body) = match (unexecuted, self) {
            (Unexecuted::Request(body), _) => (StatusCode::BAD_REQUEST, body),
            (Unexecuted::Document(body), Self::Response) => (StatusCode::BAD_REQUEST, body),
            (Unexecuted::Document(body), Self::Json) => (StatusCode::OK, body),
            (Unexecuted::Batch(body), _) => (StatusCode::OK, body),
            (Unexecuted::Mutation(body), _) => {
                let mut answer = self.answer(StatusCode::METHOD_NOT_ALLOWED, body);
                let allow = HeaderValue::from_static("POST");
                answer.headers_mut().insert(hyper::header::ALLOW, allow);
                return answer;
            }
        };
        self.answer(status, body)
    }

    fn answer(self, status: StatusCode, body: String) -> Answer {
        let mut answer = json_answer(status, body);
        let kind = match self {
            Self::Json => "application/json; charset=utf-8",
            Self::Response => "application/graphql-response+json; charset=utf-8",
        };
        let kind = HeaderValue::from_static(kind);
        answer.headers_mut().insert(CONTENT_TYPE, kind);
        answer
    }
}
