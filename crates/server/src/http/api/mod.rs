//! The HTTP API below `/api/v1/`, with which a backend acts on its own behalf. `openapi.json` in
//! this folder specifies it; a test compares it with the table of routes here.

mod body;
mod delivery;
mod explain;
mod fields;
mod in_all;
mod problem;
mod publishing;
mod reading;
mod recorded;
mod rules;
mod sessions;
mod time;
mod top;
mod verdict;

use std::rc::Rc;

use hyper::{
    Method, Request, Response, StatusCode,
    header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, ORIGIN},
};
use offhook_auth::{ApiKey, ApiKeys, Scope};
use serde_json::Value;

use super::{Answer, Received, checked, client_of, cors};
use crate::worker::Worker;
pub(super) use body::Body;
pub(super) use fields::{Query, percent_decoded, since};
pub(super) use problem::Problem;

/// The path prefix of the API.
pub(super) const PREFIX: &str = "/api/v1/";

/// The methods of all routes, and the header fields of their requests. Before a page has sent its
/// key, nothing more is revealed about a path.
const METHODS: [Method; 2] = [Method::GET, Method::POST];
const FIELDS: &str = "Authorization, Content-Type, Idempotency-Key";

/// The specification, which is public: it contains nothing about this server.
const OPENAPI: &str = include_str!("openapi.json");

/// The handler of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Publish,
    Batch,
    History,
    State,
    Presence,
    Channels,
    Receipts,
    Cursor,
    Sessions,
    Send,
    Subscribe,
    Unsubscribe,
    Disconnect,
    Revoke,
    Stats,
    Rules,
    Explain,
    Delivery,
    Connection,
    Top,
}

/// A route, the scope that a key needs for it, and the parameters that its query may have.
struct Route {
    path: &'static str,
    method: Method,
    scope: Scope,
    action: Action,
    parameters: &'static [&'static str],
}

const fn get(
    path: &'static str,
    scope: Scope,
    action: Action,
    parameters: &'static [&'static str],
) -> Route {
    let method = Method::GET;
    Route {
        path,
        method,
        scope,
        action,
        parameters,
    }
}

const fn post(
    path: &'static str,
    scope: Scope,
    action: Action,
    parameters: &'static [&'static str],
) -> Route {
    let method = Method::POST;
    Route {
        path,
        method,
        scope,
        action,
        parameters,
    }
}

/// Whom a request of `explain` is about, and then what it is about.
const CONNECTION: &[&str] = &["user", "session", "connection"];
const DELIVERY: &[&str] = &[
    "user",
    "session",
    "connection",
    "channel",
    "position",
    "key",
];

const ROUTES: &[Route] = &[
    // The channel of a body that is not JSON.
    post("publish", Scope::Publish, Action::Publish, &["channel"]),
    post("batch", Scope::Publish, Action::Batch, &[]),
    get(
        "history",
        Scope::Read,
        Action::History,
        &["channel", "since", "before", "limit"],
    ),
    get(
        "state",
        Scope::Read,
        Action::State,
        &["channel", "after", "limit"],
    ),
    get("presence", Scope::Read, Action::Presence, &["channel"]),
    get(
        "channels",
        Scope::Read,
        Action::Channels,
        &["prefix", "after", "limit"],
    ),
    get(
        "receipts",
        Scope::Read,
        Action::Receipts,
        &["channel", "position"],
    ),
    get(
        "cursor",
        Scope::Read,
        Action::Cursor,
        &["channel", "consumer"],
    ),
    get("sessions", Scope::Sessions, Action::Sessions, &["user"]),
    post("send", Scope::Sessions, Action::Send, &[]),
    post("subscribe", Scope::Sessions, Action::Subscribe, &[]),
    post("unsubscribe", Scope::Sessions, Action::Unsubscribe, &[]),
    post("disconnect", Scope::Sessions, Action::Disconnect, &[]),
    post("revoke", Scope::Sessions, Action::Revoke, &[]),
    get("stats", Scope::Admin, Action::Stats, &[]),
    get("rules", Scope::Admin, Action::Rules, &[]),
    get(
        "explain",
        Scope::Admin,
        Action::Explain,
        &["channel", "method", "verb", "user"],
    ),
    get("explain/delivery", Scope::Admin, Action::Delivery, DELIVERY),
    get(
        "explain/connection",
        Scope::Admin,
        Action::Connection,
        CONNECTION,
    ),
    get("top", Scope::Admin, Action::Top, &["limit"]),
];

/// One authorised request.
struct Call<'a> {
    worker: &'a Rc<Worker>,
    key: &'a ApiKey,
    query: Query,
    body: Body,
}

type Outcome = Result<Value, Problem>;

/// Answers a request to the API. Pages may use it if they may connect.
pub(super) async fn serve(worker: &Rc<Worker>, request: Request<Received>) -> Answer {
    let origin = request.headers().get(ORIGIN).cloned();
    let refused = origin
        .as_ref()
        .and_then(|_| checked(worker, &request, client_of(&request)).err());
    let (peer, path) = (client_of(&request).peer, request.uri().path().to_owned());
    let mut answer = match refused {
        Some(problem) => problem.answer(),
        None if cors::is_preflight(&request) => cors::preflight(&METHODS, FIELDS),
        None => match handle(worker, request).await {
            Ok(answer) => answer,
            Err(problem) if problem.is_worth_a_log() => {
                problem.logged(worker, "api", (peer, &path))
            }
            Err(problem) => problem.answer(),
        },
    };
    cors::let_read(origin.as_ref(), answer.headers_mut());
    answer
}

async fn handle(worker: &Rc<Worker>, request: Request<Received>) -> Result<Answer, Problem> {
    let keys = worker.shared.auth.api_keys();
    if keys.is_empty() {
        let detail = "the HTTP API is not open: it has no key; set api.keys or api.key_files \
                      (`offhook token --api-key` makes one), or try `offhook serve --dev`";
        return Err(Problem::new(StatusCode::NOT_FOUND, "no_api", detail));
    }
    let path = request
        .uri()
        .path()
        .strip_prefix(PREFIX)
        .unwrap_or_default();
    if path == "openapi.json" {
        return match *request.method() {
            Method::GET | Method::HEAD => Ok(json_answer(StatusCode::OK, OPENAPI.into())),
            _ => Err(Problem::method(&[Method::GET, Method::HEAD])),
        };
    }
    // The key is checked first, so that the answer reveals nothing about the path.
    let key = key_of(&keys, &request)?;
    let at_path = ROUTES.iter().filter(|route| route.path == path);
    let mut methods = at_path.clone().map(|route| route.method.clone());
    let route = at_path
        .clone()
        .find(|route| route.method == *request.method());
    let Some(route) = route else {
        return Err(match methods.next() {
            Some(method) => Problem::method(&[method]),
            None => Problem::no_route(path),
        });
    };
    if !key.is_for(route.scope) {
        return Err(Problem::scope(route.scope));
    }
    let query = Query::of(request.uri().query())?;
    query.allow(route.parameters)?;
    let config = &worker.shared.config.api;
    let limit = (config.max_body, "api.max_body");
    let body = Body::read(request, &worker.shared.memory, limit, config.body_timeout).await?;
    let call = Call {
        worker,
        key,
        query,
        body,
    };
    let body = match route.action {
        Action::Publish => publishing::publish(&call).await?.to_string(),
        Action::Batch => publishing::batch(&call).await?,
        Action::History => reading::history(&call).await?.text(),
        Action::State => reading::state(&call).await?.text(),
        Action::Presence => reading::presence(&call).await?.text(),
        Action::Channels => reading::channels(&call).await?.to_string(),
        Action::Receipts => reading::receipts(&call).await?.to_string(),
        Action::Cursor => reading::cursor(&call).await?.to_string(),
        Action::Sessions => sessions::list(&call).await?.to_string(),
        Action::Send => sessions::send(&call).await?.to_string(),
        Action::Subscribe => sessions::subscribe(&call).await?.to_string(),
        Action::Unsubscribe => sessions::unsubscribe(&call).await?.to_string(),
        Action::Disconnect => sessions::disconnect(&call).await?.to_string(),
        Action::Revoke => sessions::revoke(&call).await?.to_string(),
        Action::Stats => explain::stats(&call).to_string(),
        Action::Rules => rules::rules(&call)?.to_string(),
        Action::Explain => explain::explain(&call)?.to_string(),
        Action::Delivery => delivery::delivery(&call).await?.to_string(),
        Action::Connection => delivery::connection(&call).await?.to_string(),
        Action::Top => top::top(&call).await?.to_string(),
    };
    Ok(json_answer(StatusCode::OK, body))
}

/// The key that a request presents.
pub(super) fn key_of<'a>(
    keys: &'a ApiKeys,
    request: &Request<Received>,
) -> Result<&'a ApiKey, Problem> {
    let presented = bearer(request).ok_or_else(Problem::no_key)?;
    keys.find(presented).ok_or_else(Problem::wrong_key)
}

/// RFC 6750 §2.1.
fn bearer(request: &Request<Received>) -> Option<&str> {
    let mut values = request.headers().get_all(AUTHORIZATION).iter();
    let value = values.next()?.to_str().ok()?;
    if values.next().is_some() {
        return None;
    }
    let (scheme, key) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
}

pub(super) fn json_answer(status: StatusCode, mut body: String) -> Answer {
    if !body.ends_with('\n') {
        body.push('\n');
    }
    let mut answer = Response::new(body.into());
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_specification_and_the_table_of_routes_agree() {
        let openapi: Value = serde_json::from_str(OPENAPI).unwrap();
        assert_eq!(openapi["openapi"], "3.1.0");
        let paths = openapi["paths"].as_object().unwrap();
        let in_query = |parameter: &&Value| parameter["in"] == "query";
        let mut specified: Vec<(String, String, Vec<&str>)> = paths
            .iter()
            .flat_map(|(path, methods)| {
                let methods = methods.as_object().unwrap().iter();
                methods.map(move |(method, operation)| {
                    let parameters = operation["parameters"].as_array();
                    let parameters = parameters.into_iter().flatten().filter(in_query);
                    let names = parameters.map(|one| one["name"].as_str().unwrap());
                    (path[1..].to_owned(), method.to_uppercase(), names.collect())
                })
            })
            .filter(|(path, ..)| path != "openapi.json")
            .collect();
        specified.sort();
        let routes = ROUTES.iter();
        let mut served: Vec<_> = routes
            .map(|route| {
                let (path, method) = (route.path.to_owned(), route.method.to_string());
                (path, method, route.parameters.to_vec())
            })
            .collect();
        served.sort();
        assert_eq!(specified, served);
    }
}
