//! The opening handshake: its status, and each of its headers.

use super::finding::{Finding, Findings};
use super::socket::{Answer, Route, Unopened};
use super::target::Target;
use crate::failure::Failure;

/// The result of the handshake.
pub(super) enum Outcome {
    Open,
    Redirected(Target),
    Failed,
}

/// Opens a WebSocket without an origin, as a program would.
pub(super) async fn check(route: &mut Route, findings: &mut Findings) -> Result<Outcome, Failure> {
    let mut answer = match route.open(&[]).await {
        Ok(answer) => answer,
        Err(error) => {
            findings.add(unanswered(route, &error))?;
            return Ok(Outcome::Failed);
        }
    };
    if answer.status == 400 && answer.body.contains(offhook_client::SUBPROTOCOL) {
        route
            .subprotocols
            .push(offhook_client::SUBPROTOCOL.to_owned());
        let text = format!(
            "the server wants {}: it is offered",
            offhook_client::SUBPROTOCOL
        );
        findings.add(Finding::note("subprotocol", text))?;
        match route.open(&[]).await {
            Ok(again) => answer = again,
            Err(error) => {
                findings.add(unanswered(route, &error))?;
                return Ok(Outcome::Failed);
            }
        }
    }
    let by: Vec<&str> = ["server", "via"]
        .iter()
        .filter_map(|name| answer.field(name))
        .collect();
    if !by.is_empty() {
        findings.add(Finding::note("server", by.join(", via ")))?;
    }
    match answer.status {
        101 => switched(&answer, route, findings),
        301 | 302 | 303 | 307 | 308 => redirected(&answer, route, findings),
        _ => {
            findings.add(refused(&answer))?;
            Ok(Outcome::Failed)
        }
    }
}

fn unanswered(route: &Route, error: &Unopened) -> Finding {
    let finding = Finding::failed("handshake", error.to_string());
    if error.is_tls {
        let other = route.target.other_scheme();
        return finding.advice(format!("this port expects TLS: try {other}"));
    }
    if route.target.is_tls {
        return finding
            .advice("is there a WebSocket server behind this port, or behind the proxy?");
    }
    finding.advice(format!(
        "is there a WebSocket server behind this port? If it expects TLS, try {}",
        route.target.other_scheme()
    ))
}

fn redirected(answer: &Answer, route: &Route, findings: &mut Findings) -> Result<Outcome, Failure> {
    let status = answer.status;
    let location = answer.field("location").unwrap_or_default();
    let to = route.target.redirected(location);
    let text = format!("status {status}: redirected to {location:?}");
    match to {
        Ok(to) => {
            findings.add(Finding::warning("redirect", text).advice(format!(
                "browsers do not follow redirects of WebSockets: connect to {to}"
            )))?;
            Ok(Outcome::Redirected(to))
        }
        Err(why) => {
            findings.add(Finding::failed("redirect", format!("{text}: {why}")))?;
            Ok(Outcome::Failed)
        }
    }
}

fn switched(answer: &Answer, route: &Route, findings: &mut Findings) -> Result<Outcome, Failure> {
    if answer.broken.is_empty() {
        let text = "101, with Upgrade, Connection and Sec-WebSocket-Accept as they must be";
        findings.add(Finding::ok("handshake", text))?;
    }
    for broken in &answer.broken {
        let text = format!("{} ({})", broken.rule, broken.section);
        findings.add(Finding::failed("handshake", text).advice(
            "clients refuse this answer: it comes from something that does not know WebSocket, or a \
             proxy has changed it",
        ))?;
    }
    let offered = &route.subprotocols;
    match (answer.field("sec-websocket-protocol"), offered.is_empty()) {
        (None, true) => {}
        (None, false) => findings.add(
            Finding::warning(
                "subprotocol",
                "the server chose none of those that were offered",
            )
            .advice("browsers go on without one; programs may not. Which does the server support?"),
        )?,
        (Some(name), _) if offered.iter().any(|known| known == name) => {
            findings.add(Finding::ok("subprotocol", name))?;
        }
        (Some(name), _) => {
            let text = format!("the server chose {name:?}, which was not offered");
            findings.add(Finding::failed("subprotocol", text).advice(
                "browsers fail the connection (RFC 6455 §4.1): the server may choose only what the \
                 client offers",
            ))?;
        }
    }
    if answer.field("sec-websocket-extensions").is_some() {
        findings.add(
            Finding::failed(
                "compression",
                "the server uses an extension that was not offered",
            )
            .advice("clients fail the connection (RFC 6455 §4.1)"),
        )?;
    }
    Ok(Outcome::Open)
}

fn refused(answer: &Answer) -> Finding {
    let status = answer.status;
    let body = match answer.body.as_str() {
        "" => String::new(),
        body => format!(": {body}"),
    };
    let advice = match status {
        200..300 => {
            "a page answers instead of a WebSocket: is the path right, and does a proxy in between \
             pass the upgrade on?"
        }
        400 | 426 => UPGRADE,
        401 => "give credentials: --header 'Authorization: …', or a cookie",
        403 => "access is denied, or the server requires an origin: --origin URL",
        404 => "nothing is served at this path: is it the path of the WebSocket?",
        407 => "a proxy requires credentials",
        429 => "too many requests: send fewer requests, or raise the server's limit",
        502 => "the proxy cannot reach the server behind it: is it running, and at which port?",
        503 => "the server, or the proxy in front of it, is overloaded or restarting",
        504 => "the server behind the proxy does not answer in time",
        500..600 => "the server failed: its log says why",
        _ => "a WebSocket is opened with status 101",
    };
    let finding = Finding::failed("handshake", format!("refused with status {status}{body}"));
    finding.advice(advice)
}

const UPGRADE: &str = "\
is it a proxy that does not pass the upgrade on? nginx needs, at this location:
  proxy_http_version 1.1;
  proxy_set_header Upgrade $http_upgrade;
  proxy_set_header Connection \"upgrade\";
otherwise the server wants something else in the request: its log says what";
