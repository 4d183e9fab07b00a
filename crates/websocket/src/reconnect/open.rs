//! Opening a connection for each attempt.

use std::future::Future;
use std::pin::Pin;

use super::Reconnecting;
use crate::connect::Connect;
use crate::error::Error;
use crate::socket::WebSocket;

pub(super) type Opening = Pin<Box<dyn Future<Output = Result<WebSocket, Error>> + Send>>;

/// Opens connections, one for each attempt: a [`Connect`], or an async function of the attempt's
/// number.
pub trait Open {
    /// Opens a connection. `attempt` counts from 1 since the last stable connection.
    fn open(
        &mut self,
        attempt: u32,
    ) -> impl Future<Output = Result<WebSocket, Error>> + Send + 'static;
}

impl<F, O> Open for F
where
    F: FnMut(u32) -> O,
    O: Future<Output = Result<WebSocket, Error>> + Send + 'static,
{
    fn open(
        &mut self,
        attempt: u32,
    ) -> impl Future<Output = Result<WebSocket, Error>> + Send + 'static {
        self(attempt)
    }
}

impl Connect {
    /// Makes a connection that reconnects when it is lost, with these options each time.
    pub fn reconnecting(self) -> Reconnecting {
        Reconnecting::to(self)
    }
}

impl Open for Connect {
    fn open(&mut self, _: u32) -> impl Future<Output = Result<WebSocket, Error>> + Send + 'static {
        let connect = self.clone();
        async move { Self::open(&connect).await }
    }
}
