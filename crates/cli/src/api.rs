//! Requests to the HTTP API of a running server.

use std::{env, fmt::Write as _, time::Duration};

use bytes::Bytes;
use clap::Args;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    Request, StatusCode,
    client::conn::http1::{self, SendRequest},
    header::{AUTHORIZATION, HOST, HeaderValue},
};
use hyper_util::rt::TokioIo;
use offhook::Connect;
use serde_json::Value;
use tokio::time::timeout;

use crate::{dial::Trust, failure::Failure};

/// The environment variable with the API key. Unlike a flag, it is not visible to other users of
/// the machine.
const KEY_VARIABLE: &str = "OFFHOOK_ADMIN_KEY";

/// How long an answer may take. 10 s, because a person is waiting for it.
const WITHIN: Duration = Duration::from_secs(10);

/// The longest answer in bytes. 16 MiB: enough for 64 connections from each of many workers.
const LONGEST: usize = 16 << 20;

/// Flags that select a server, and the key for it.
#[derive(Clone, Debug, Args)]
pub(crate) struct Server {
    /// The server: where clients connect, or its admin.listen
    #[arg(long, value_name = "URL", default_value = "http://localhost:8000")]
    server: String,
    /// An API key with the scope admin. Other users of the machine can see a key on the command
    /// line: prefer the variable `OFFHOOK_ADMIN_KEY`
    #[arg(long, value_name = "KEY")]
    api_key: Option<String>,
    #[command(flatten)]
    trust: Trust,
}

/// The HTTP API of one server, over a connection that is opened again when it is lost.
pub(crate) struct Api {
    connect: Connect,
    host: String,
    /// The path before the server's own paths, if a proxy adds one.
    prefix: String,
    authorization: HeaderValue,
    sender: Option<SendRequest<Full<Bytes>>>,
}

impl Server {
    /// Checks the flags without opening a connection.
    pub(crate) fn api(&self) -> Result<Api, Failure> {
        let key = self.api_key.clone().or_else(|| env::var(KEY_VARIABLE).ok());
        let key = key.filter(|key| !key.is_empty()).ok_or_else(|| {
            Failure::usage(format!("no API key: give {KEY_VARIABLE} or --api-key"))
                .hint("`offhook token --api-key` creates a key and its entry for api.keys")
        })?;
        let mut authorization = HeaderValue::from_str(&format!("Bearer {key}")).map_err(|_| {
            Failure::usage("the API key contains a character that is not allowed in keys")
        })?;
        authorization.set_sensitive(true);
        let (scheme, rest) = match self.server.split_once("://") {
            Some((scheme, rest)) => (scheme, rest),
            None => ("http", self.server.as_str()),
        };
        let scheme = match scheme {
            "http" | "ws" => "ws",
            "https" | "wss" => "wss",
            other => {
                let text = format!("--server: {other}: expected http or https");
                return Err(Failure::usage(text));
            }
        };
        if rest.contains(['?', '#', '@']) {
            let text = "--server: expected a URL without a user, a query and a fragment";
            return Err(Failure::usage(text));
        }
        let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let mut connect = Connect::to(format!("{scheme}://{host}/"));
        if let Some(tls) = self.trust.tls()? {
            connect = connect.tls(tls);
        }
        Ok(Api {
            connect,
            host: host.to_owned(),
            prefix: path.trim_end_matches('/').to_owned(),
            authorization,
            sender: None,
        })
    }
}

impl Api {
    /// Sends a request below `/api/v1/`, and returns the answer as JSON.
    pub(crate) async fn json(&mut self, path: &str) -> Result<Value, Failure> {
        let text = self.text(&format!("/api/v1/{path}")).await?;
        serde_json::from_str(&text)
            .map_err(|error| Failure::Failed(format!("the answer is not JSON: {error}")))
    }

    /// Sends a request, and returns the answer as text.
    pub(crate) async fn text(&mut self, path: &str) -> Result<String, Failure> {
        let answered = timeout(WITHIN, self.ask(path)).await;
        let (status, text) = answered.unwrap_or_else(|_| {
            self.sender = None;
            let host = &self.host;
            Err(Failure::Failed(format!(
                "{host} has not answered within {WITHIN:?}"
            )))
        })?;
        if status == StatusCode::OK {
            return Ok(text);
        }
        Err(refused(status, &text))
    }

    async fn ask(&mut self, path: &str) -> Result<(StatusCode, String), Failure> {
        let failed = |error: hyper::Error| Failure::failed(&error);
        let request = Request::builder()
            .uri(format!("{}{path}", self.prefix))
            .header(HOST, &self.host)
            .header(AUTHORIZATION, self.authorization.clone())
            .body(Full::new(Bytes::new()))
            .map_err(|error| Failure::usage(format!("--server: {error}")))?;
        let mut sender = match self.sender.take() {
            Some(sender) if !sender.is_closed() => sender,
            Some(_) | None => self.connected().await?,
        };
        sender.ready().await.map_err(failed)?;
        let answer = sender.send_request(request).await.map_err(failed)?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), LONGEST).collect().await;
        let body =
            body.map_err(|error| Failure::Failed(format!("the answer cannot be read: {error}")))?;
        self.sender = Some(sender);
        let text = String::from_utf8_lossy(&body.to_bytes()).into_owned();
        Ok((status, text))
    }

    async fn connected(&self) -> Result<SendRequest<Full<Bytes>>, Failure> {
        let host = &self.host;
        let stream = self.connect.stream().await.map_err(|error| {
            Failure::failed(&error).hint(format!(
                "is {host} the right server? --server selects another"
            ))
        })?;
        let handshake = http1::handshake(TokioIo::new(stream)).await;
        let (sender, connection) = handshake.map_err(|error| Failure::failed(&error))?;
        // The connection ends when the sender is dropped. If it is lost, the sender reports the
        // error.
        tokio::spawn(async { drop(connection.await) });
        Ok(sender)
    }
}

fn refused(status: StatusCode, text: &str) -> Failure {
    let problem: Value = serde_json::from_str(text).unwrap_or_default();
    let words = match problem["detail"].as_str() {
        Some(detail) => detail.to_owned(),
        None => text
            .lines()
            .next()
            .unwrap_or_default()
            .chars()
            .take(200)
            .collect(),
    };
    let failure = Failure::Failed(format!("{words} (HTTP {})", status.as_u16()));
    match status {
        StatusCode::UNAUTHORIZED => {
            failure.hint(format!("set {KEY_VARIABLE} or --api-key to a valid key"))
        }
        StatusCode::FORBIDDEN => failure.hint("the key needs the scope admin; see api.keys"),
        _ => failure,
    }
}

/// Builds a query string from these parameters.
pub(crate) fn query(parameters: &[(&str, &str)]) -> String {
    let mut query = String::new();
    for (name, value) in parameters {
        let between = if query.is_empty() { '?' } else { '&' };
        query.push(between);
        query.push_str(name);
        query.push('=');
        for byte in value.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                query.push(char::from(byte));
            } else {
                // Writing to a String never fails.
                let _ = write!(query, "%{byte:02X}");
            }
        }
    }
    query
}

#[cfg(test)]
mod tests {
    use super::query;

    #[test]
    fn parameters_are_encoded_byte_by_byte() {
        let parameters = [("channel", "chat/room 7&x=ä"), ("key", "a+b")];
        let expected = "?channel=chat%2Froom%207%26x%3D%C3%A4&key=a%2Bb";
        assert_eq!(query(&parameters), expected);
    }
}
