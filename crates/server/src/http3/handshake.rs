//! Accepting connections: admission, and address validation under load.

use std::{
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use quinn::{Connecting, Endpoint, Incoming};
use tokio::{task::spawn_local, time::timeout};
use tokio_rustls::rustls::pki_types::CertificateDer;

use super::connection;
use crate::{
    door::Place,
    refused::Client,
    worker::{Pressure, Worker},
};

/// A handshake that is under way.
#[derive(Debug)]
struct Handshake(Arc<AtomicUsize>);

impl Handshake {
    fn begin(all: &Arc<AtomicUsize>) -> Self {
        all.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(all))
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Accepts connections until the worker stops.
pub(crate) async fn accept(worker: Rc<Worker>, endpoint: Endpoint) {
    let mut stopping = worker.stopping();
    loop {
        let incoming = tokio::select! {
            incoming = endpoint.accept() => incoming,
            () = stopping.begun() => return,
        };
        let Some(incoming) = incoming else { return };
        begin(&worker, incoming);
    }
}

fn begin(worker: &Rc<Worker>, incoming: Incoming) {
    let Some(quic) = &worker.shared.quic else {
        return incoming.ignore();
    };
    let limits = &worker.shared.config.http3;
    let unfinished = quic.unfinished.load(Ordering::Relaxed);
    // RFC 9000 §8.1: the address of a client that has not answered yet may be forged. Until it is
    // validated, nothing is counted for that address.
    let is_validated = incoming.remote_address_validated();
    if unfinished >= limits.validate_from && !is_validated && incoming.may_retry() {
        worker.metrics.quic_retries.add(1);
        // It may retry, as was just checked.
        let _retried = incoming.retry();
        return;
    }
    if unfinished >= limits.handshakes {
        worker.note_refused("handshakes", "too many handshakes of QUIC are under way");
        return incoming.ignore();
    }
    let (admission, address) = (&worker.shared.admission, incoming.remote_address().ip());
    let taken = if is_validated {
        admission.take(address)
    } else {
        admission.take_unvalidated(address)
    };
    let Some(mut place) = taken else {
        worker.note_refused("connections", "too many connections");
        return incoming.ignore();
    };
    if let Some((kind, why)) = refusal(worker, &mut place, is_validated) {
        worker.note_refusal(kind, why, Client::at(place.peer()));
        return incoming.refuse();
    }
    let handshake = Handshake::begin(&quic.unfinished);
    match incoming.accept() {
        Ok(connecting) => {
            let worker = Rc::clone(worker);
            drop(spawn_local(finish(worker, connecting, handshake, place)));
        }
        Err(error) => tracing::debug!(%error, "a handshake of QUIC was not accepted"),
    }
}

/// Why a client may not connect now.
fn refusal(
    worker: &Worker,
    place: &mut Place,
    is_validated: bool,
) -> Option<(&'static str, &'static str)> {
    if place.is_over() {
        return Some(("connections", "the server has reached its limit"));
    }
    if worker.shared.memory.pressure() >= Pressure::Severe {
        return Some(("memory", "it is taken by the connections that there are"));
    }
    if is_validated && !place.handshake(Instant::now()) {
        return Some(("handshakes", "too many handshakes at once"));
    }
    None
}

/// Notes the user whose certificate the client has presented, which TLS has verified.
fn identify(worker: &Worker, quic: &quinn::Connection, place: &mut Place) {
    let presented = quic.peer_identity();
    let presented = presented.and_then(|any| any.downcast::<Vec<CertificateDer<'static>>>().ok());
    if let Some(own) = presented.as_ref().and_then(|chain| chain.first())
        && let Some(identity) = worker.shared.auth.certified(own)
    {
        place.certify(identity);
    }
}

async fn finish(
    worker: Rc<Worker>,
    connecting: Connecting,
    handshake: Handshake,
    mut place: Place,
) {
    let within = worker.shared.config.connections.handshake_timeout;
    let finished = timeout(within, connecting).await;
    drop(handshake);
    match finished {
        Ok(Ok(quic)) => {
            // RFC 9000 §8.1: the handshake has validated the address.
            place.count_address();
            identify(&worker, &quic, &mut place);
            let Some((kind, why)) = refusal(&worker, &mut place, true) else {
                return connection::serve(worker, quic, place).await;
            };
            worker.note_refusal(kind, why, Client::at(place.peer()));
            connection::close(&quic, offhook_http3::Code::EXCESSIVE_LOAD, why);
        }
        Ok(Err(error)) => tracing::debug!(%error, "lost before the handshake of QUIC was complete"),
        Err(_) => {
            let client = Client::at(place.peer());
            worker.note_refusal("handshake_timeout", "the handshake took too long", client);
        }
    }
}
