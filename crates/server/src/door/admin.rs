//! Connections of operators and their programs, at separate addresses.
//!
//! These connections have their own limit, so that the server's health can be checked even if
//! clients use all connections. They are also accepted while the server stops.

use std::{cell::Cell, rc::Rc, sync::Arc};

use tokio::{
    task::spawn_local,
    time::{sleep, timeout},
};

use super::{ACCEPT_PAUSE, Entrance, Listener};
use crate::{http, worker::Worker};

/// The maximum number of open connections of one worker. 64: enough for some programs that collect
/// metrics, and some people.
const MOST: usize = 64;

/// Accepts until the worker ends.
pub(super) async fn accept(worker: Rc<Worker>, entrance: Arc<Entrance>, listener: Listener) {
    let open = Rc::new(Cell::new(0));
    loop {
        match listener.accept().await {
            Ok((stream, address)) => {
                let Some(place) = AdminPlace::take(&open) else {
                    worker.note_refused("admin", "too many connections of operators");
                    continue;
                };
                tracing::debug!(?address, "an operator's connection");
                let (worker, entrance) = (Rc::clone(&worker), Arc::clone(&entrance));
                spawn_local(async move {
                    let within = worker.shared.config.connections.handshake_timeout;
                    match timeout(within, entrance.accept_tls(stream)).await {
                        Ok(Ok(stream)) => http::serve_admin(&worker, stream).await,
                        Ok(Err(error)) => tracing::debug!(?address, %error, "TLS failed"),
                        Err(_) => tracing::debug!(?address, "accepting TLS took too long"),
                    }
                    drop(place);
                });
            }
            Err(error) => {
                worker.note_refused("accept", &error);
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// One of [`MOST`] places, freed on drop.
struct AdminPlace(Rc<Cell<usize>>);

impl AdminPlace {
    fn take(open: &Rc<Cell<usize>>) -> Option<Self> {
        if open.get() >= MOST {
            return None;
        }
        open.update(|count| count + 1);
        Some(Self(Rc::clone(open)))
    }
}

impl Drop for AdminPlace {
    fn drop(&mut self) {
        self.0.update(|count| count - 1);
    }
}
