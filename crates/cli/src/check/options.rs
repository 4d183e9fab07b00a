//! Optional parts of a handshake: origins and compression.

use super::finding::{Finding, Findings};
use super::socket::Route;
use crate::failure::Failure;

/// A site that no server would allow on purpose.
const STRANGER: &str = "https://not-your-site.example";

/// Tries handshakes that differ in one header.
pub(super) async fn check(
    route: &Route,
    origin: Option<&str>,
    findings: &mut Findings,
) -> Result<(), Failure> {
    let own = origin.map_or_else(|| route.target.origin(), str::to_owned);
    match status(route, &[("Origin", &own)]).await {
        Ok(101) => findings.add(Finding::ok("origin", format!("pages of {own} may connect")))?,
        Ok(status) => {
            let text = format!("pages of {own} are refused with status {status}");
            findings.add(Finding::failed("origin", text).advice(
                "the server compares the origin with the Host that it sees: a proxy has to pass it \
                 on (nginx: proxy_set_header Host $http_host;) and say that it ends TLS (Offhook: \
                 --behind-tls-proxy), or the server has to allow the origin (Offhook: --origins)",
            ))?;
        }
        Err(why) => findings.add(Finding::failed("origin", why))?,
    }
    match status(route, &[("Origin", STRANGER)]).await {
        Ok(101) => {
            let text = "pages of any site may connect";
            findings.add(Finding::warning("origin", text).advice(
                "if cookies say who somebody is, any page can act for your users: allow your own \
                 origins only",
            ))?;
        }
        Ok(_) | Err(_) => {
            findings.add(Finding::ok("origin", "pages of other sites are refused"))?;
        }
    }
    compression(route, findings).await
}

async fn status(route: &Route, more: &[(&str, &str)]) -> Result<u16, String> {
    let answer = route.open(more).await;
    answer
        .map(|answer| answer.status)
        .map_err(|error| error.to_string())
}

async fn compression(route: &Route, findings: &mut Findings) -> Result<(), Failure> {
    let offer = "permessage-deflate; client_max_window_bits";
    let answer = match route.open(&[("Sec-WebSocket-Extensions", offer)]).await {
        Ok(answer) => answer,
        Err(error) => return findings.add(Finding::failed("compression", error.to_string())),
    };
    if answer.status != 101 {
        let text = format!(
            "a client that offers compression gets status {}",
            answer.status
        );
        return findings.add(
            Finding::failed("compression", text).advice(
                "every browser offers it: the server has to leave out what it does not know",
            ),
        );
    }
    let broken = answer.broken.iter();
    for broken in broken.filter(|broken| broken.section.starts_with("RFC 7692")) {
        let text = format!("{} ({})", broken.rule, broken.section);
        findings
            .add(Finding::failed("compression", text).advice("browsers fail the connection"))?;
    }
    match answer.field("sec-websocket-extensions") {
        Some(agreed) => findings.add(Finding::ok("compression", agreed)),
        None => findings.add(Finding::note(
            "compression",
            "none: messages of JSON would take about a quarter of the bytes with it",
        )),
    }
}
