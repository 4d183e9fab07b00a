//! One connection in the hands of a handler, and what is left to do when that returns.

use std::sync::{Arc, OnceLock};

use offhook_protocol::CloseCode;

use super::registry::Place;
use crate::driver::Driver;
use crate::socket::WebSocket;

/// What a handler returns: any error ends its connection with 1011, and is told to
/// [`Server::on_error`](super::Server::on_error).
pub type HandlerResult = Result<(), BoxError>;

/// Any error of a handler's; `?` makes one of every error.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A connection that is accepted by a handler, and finished when it returns.
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

    /// It is accepted. While the server stops, it is closed at once.
    pub(crate) fn opened(&self, socket: &WebSocket) {
        let driver = socket.driver();
        driver.keep();
        let _first = self.driver.set(Arc::clone(driver));
        let stops = self.place.as_ref().is_some_and(|place| !place.fill(driver));
        if stops {
            // It is new, so nothing else has closed it but its end.
            let _closing = socket.sender().close(CloseCode::GOING_AWAY, "");
        }
    }

    /// The handler has returned: what it sent goes out, and the closing handshake is done. If it
    /// gave the [`WebSocket`] to somebody else, that one goes on with it.
    pub(crate) async fn finish<E>(&self, handled: &Result<(), E>) {
        let code = match handled {
            Ok(()) => CloseCode::NORMAL,
            Err(_) => CloseCode::INTERNAL_ERROR,
        };
        if let Some(driver) = self.driver.get()
            && !driver.finish(code).await
            && self.place.is_some()
        {
            // It still counts.
            driver.ended().await;
        }
    }

    /// The same, for a connection whose place is held apart.
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
    /// After a panic, or when the task is cut short, nobody else does it.
    fn drop(&mut self) {
        if let Some(driver) = self.driver.get() {
            driver.give_up(CloseCode::INTERNAL_ERROR);
        }
    }
}
