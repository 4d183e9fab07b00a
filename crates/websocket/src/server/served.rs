//! A connection served by a handler, and the work left when the handler returns.

use std::sync::{Arc, OnceLock};

use offhook_protocol::CloseCode;

use super::registry::Place;
use crate::driver::Driver;
use crate::socket::WebSocket;

/// A handler's result. Any error closes its connection with 1011 and is passed to
/// [`Server::on_error`](super::Server::on_error).
pub type HandlerResult = Result<(), BoxError>;

/// Any error of a handler; `?` converts every error to it.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A connection accepted by a handler, and finished when the handler returns.
#[derive(Debug, Default)]
pub(crate) struct Served {
    /// Its place among a server's connections.
    place: Option<Place>,
    driver: OnceLock<Arc<Driver>>,
}

impl Served {
    pub(super) fn at(place: Place) -> Arc<Self> {
        Arc::new(Self {
            place: Some(place),
            driver: OnceLock::new(),
        })
    }

    /// Called when the connection was accepted. If the server is stopping, closes it at once.
    pub(crate) fn opened(&self, socket: &WebSocket) {
        let driver = socket.driver();
        driver.keep();
        let _first = self.driver.set(Arc::clone(driver));
        let stops = self.place.as_ref().is_some_and(|place| !place.fill(driver));
        if stops {
            // The connection is new, so only its end can have closed it.
            let _closing = socket.sender().close(CloseCode::GOING_AWAY, "");
        }
    }

    /// Called when the handler has returned: queued output is sent, and the closing handshake is
    /// completed. If the handler moved the [`WebSocket`] elsewhere, the connection stays open.
    pub(crate) async fn finish<E>(&self, handled: &Result<(), E>) {
        let code = match handled {
            Ok(()) => CloseCode::NORMAL,
            Err(_) => CloseCode::INTERNAL_ERROR,
        };
        if let Some(driver) = self.driver.get()
            && !driver.finish(code).await
            && self.place.is_some()
        {
            // The connection still counts.
            driver.ended().await;
        }
    }

    /// The same, for a connection whose place is held separately.
    #[cfg(feature = "hyper")]
    pub(crate) async fn finish_in<E>(
        &mut self,
        handled: &Result<(), E>,
        place: Option<Box<Place>>,
    ) {
        self.place = place.map(|place| *place);
        self.finish(handled).await;
    }
}

impl Drop for Served {
    /// After a panic, or if the task is cancelled, nothing else closes the connection.
    fn drop(&mut self) {
        if let Some(driver) = self.driver.get() {
            driver.give_up(CloseCode::INTERNAL_ERROR);
        }
    }
}
