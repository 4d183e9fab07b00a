//! Serves requests at the addresses for operators.

use std::{convert::Infallible, rc::Rc};

use hyper::{
    Method, Request, StatusCode, body::Incoming, server::conn::http1, service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};

use super::{
    Answer, HELD, Received, Served, api, files, health, host, metrics, names_one_host,
    other_methods, redirect, sentence,
};
use crate::{
    door::{Stream, is_known_host},
    metrics::Answered,
    worker::Worker,
};

/// Serves requests on one connection until it ends.
pub(crate) async fn serve(worker: &Rc<Worker>, stream: Stream) {
    let service = service_fn(|request: Request<Incoming>| async {
        let (answered, answer) = answer(worker, request.map(Received::Http1)).await;
        let status = answer.status().as_u16();
        worker.metrics.answers.count(answered, status);
        Ok::<_, Infallible>(answer)
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .max_buf_size(HELD)
        .header_read_timeout(worker.shared.config.connections.handshake_timeout)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "an operator's connection was lost");
    }
}

async fn answer(worker: &Rc<Worker>, request: Request<Received>) -> (Answered, Answer) {
    if !names_one_host(&request) {
        let words = "Host: exactly one is required";
        return (Answered::Page, sentence(StatusCode::BAD_REQUEST, words));
    }
    let path = request.uri().path();
    if path.starts_with(api::PREFIX) {
        return (Answered::Api, api::serve(worker, request).await);
    }
    // Any site could make its own host name resolve to this address, and its pages could read the
    // answer.
    let host = host(&request);
    if !is_known_host(host, &worker.live().config.hosts) {
        let words = format!(
            "{host:?} is not a name of this server; if it should be, add it to the setting `hosts`"
        );
        // RFC 9110 §15.5.20.
        let answer = sentence(StatusCode::MISDIRECTED_REQUEST, &words);
        return (Answered::Page, answer);
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return (Answered::Page, other_methods());
    }
    match path {
        metrics::PATH => (Answered::Metrics, metrics::report(&worker.shared)),
        health::PATH => (Answered::Health, health::report(&worker.shared)),
        health::READY => (Answered::Health, health::ready(worker)),
        "/" | "/dashboard" => (Answered::Page, redirect("/dashboard/")),
        "/docs" => (Answered::Page, redirect("/docs/")),
        path => (Answered::Page, page(path, &request)),
    }
}

/// The dashboard and the documentation.
fn page(path: &str, request: &Request<Received>) -> Answer {
    let served = Served {
        client: false,
        talk: false,
        dashboard: true,
        docs: true,
    };
    files::serve(path, request.headers(), served).unwrap_or_else(|| {
        let words = "this address is for operators; it serves /dashboard/, /docs/, /metrics, \
                     /healthz, /readyz and /api/v1/";
        sentence(StatusCode::NOT_FOUND, words)
    })
}
