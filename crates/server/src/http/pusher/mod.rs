//! The HTTP API of the Pusher protocol below `/apps/ID/`, with which server libraries publish and
//! read. Each request is signed with a secret of the app.

mod events;
mod reading;

use std::{rc::Rc, sync::Arc};

use hyper::{
    Method, Request, StatusCode,
    header::{HeaderValue, WWW_AUTHENTICATE},
};
use offhook_auth::{App, SignedRequest};
use offhook_dialects::pusher::channel_of;
use offhook_engine::{ChannelName, Whom};
use serde_json::{Value, json};

use super::{
    Answer, Received,
    api::{Body, Problem, Query, json_answer, percent_decoded},
    client_of,
};
use crate::{
    sessions::Sessions,
    worker::{Worker, now},
};

/// The prefix of all paths.
const PREFIX: &str = "/apps/";

/// An authenticated request.
struct Call<'a> {
    worker: &'a Rc<Worker>,
    app: &'a App,
    query: Query,
    body: Body,
}

impl Call<'_> {
    /// The name of a channel of the app.
    fn channel(&self, name: &str) -> Result<ChannelName, Problem> {
        let channel = channel_of(self.app.prefix(), name)?;
        if !self.is_own(channel.as_str()) {
            let detail = format!("channel {channel} belongs to another app (pusher.apps)");
            return Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", detail));
        }
        Ok(channel)
    }

    fn is_own(&self, name: &str) -> bool {
        self.worker.shared.apps.is_of(self.app, name)
    }
}

/// The target of a path, below the app.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Action {
    Events,
    BatchEvents,
    Channels,
    Channel(String),
    Users(String),
    Terminate(String),
}

impl Action {
    /// The action of a path's segments, after the app.
    fn of(segments: &[String]) -> Option<(Method, Self)> {
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        Some(match segments[..] {
            ["events"] => (Method::POST, Self::Events),
            ["batch_events"] => (Method::POST, Self::BatchEvents),
            ["channels"] => (Method::GET, Self::Channels),
            ["channels", name] => (Method::GET, Self::Channel(name.to_owned())),
            ["channels", name, "users"] => (Method::GET, Self::Users(name.to_owned())),
            ["users", id, "terminate_connections"] => {
                (Method::POST, Self::Terminate(id.to_owned()))
            }
            [..] => return None,
        })
    }
}

/// Whether a path belongs to this API, which is served only if an app is configured.
pub(super) fn is_at(worker: &Worker, path: &str) -> bool {
    path.starts_with(PREFIX) && !worker.shared.apps.is_empty()
}

/// Answers a request.
pub(super) async fn serve(worker: &Rc<Worker>, request: Request<Received>) -> Answer {
    let (peer, path) = (client_of(&request).peer, request.uri().path().to_owned());
    match handle(worker, request).await {
        Ok(value) => json_answer(StatusCode::OK, value.to_string()),
        Err(problem) => {
            let mut answer = match problem.is_worth_a_log() {
                true => problem.logged(worker, "pusher", (peer, &path)),
                false => problem.answer(),
            };
            if let Some(challenge) = answer.headers_mut().get_mut(WWW_AUTHENTICATE) {
                *challenge = HeaderValue::from_static("Pusher");
            }
            answer
        }
    }
}

async fn handle(worker: &Rc<Worker>, request: Request<Received>) -> Result<Value, Problem> {
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let segments = path.strip_prefix(PREFIX).unwrap_or_default().split('/');
    let segments: Option<Vec<String>> = segments.map(percent_decoded).collect();
    let Some([id, rest @ ..]) = segments.as_deref() else {
        return Err(Problem::bad("the path is not percent-encoded UTF-8"));
    };
    let unauthenticated =
        |detail: String| Problem::new(StatusCode::UNAUTHORIZED, "unauthenticated", detail);
    let apps = &worker.shared.apps;
    let app = apps.by_id(id).ok_or_else(|| {
        let detail = "no app has this id; check the id and the setting pusher.apps";
        Problem::new(StatusCode::NOT_FOUND, "not_found", detail)
    })?;
    let query = Query::of(request.uri().query())?;
    // Checked before the body is read.
    let key = query.get("auth_key")?.unwrap_or_default();
    if !app.has_key(key) {
        let detail = "auth_key: is not a key of this app; check the setting pusher.apps";
        return Err(unauthenticated(detail.to_owned()));
    }
    let config = &worker.shared.config;
    let limit = (config.api.max_body, "api.max_body");
    let time = config.api.body_timeout;
    let body = Body::read(request, &worker.shared.memory, limit, time).await?;
    let signed = SignedRequest {
        method: method.as_str(),
        path: &path,
        query: query.pairs(),
        body: &body.bytes,
    };
    let window = config.pusher.signature_window.as_secs();
    app.check(&signed, now().unix_ms / 1000, window)
        .map_err(|wrong| unauthenticated(wrong.to_string()))?;
    let Some((expected, action)) = Action::of(rest) else {
        let detail = "nothing is served at this path; there are events, batch_events, channels, \
                      channels/NAME, channels/NAME/users and users/ID/terminate_connections";
        return Err(Problem::new(StatusCode::NOT_FOUND, "not_found", detail));
    };
    if method != expected {
        return Err(Problem::method(&[expected]));
    }
    let call = Call {
        worker,
        app,
        query,
        body,
    };
    match action {
        Action::Events => events::one(&call).await,
        Action::BatchEvents => events::batch(&call).await,
        Action::Channels => reading::channels(&call),
        Action::Channel(name) => reading::channel(&call, &name),
        Action::Users(name) => reading::users(&call, &name).await,
        Action::Terminate(user) => Ok(terminate(&call, &user).await),
    }
}

/// Closes the connections of a user who signed in.
async fn terminate(call: &Call<'_>, user: &str) -> Value {
    let shared = &call.worker.shared;
    let sessions = Sessions::new(Arc::clone(&shared.directory), Arc::clone(&shared.orders));
    let user = format!("{}{user}", call.app.prefix());
    // Clients that did not sign in have an empty name.
    if user.is_empty() || !call.is_own(&user) {
        return json!({});
    }
    sessions.disconnect(Whom::User(user.into())).await;
    json!({})
}
