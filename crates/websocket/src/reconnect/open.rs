//! How a connection is opened, each time anew.

use std::future::Future;
use std::pin::Pin;

use super::Reconnecting;
use crate::connect::Connect;
use crate::error::Error;
use crate::socket::WebSocket;

pub(super) type Opening = Pin<Box<dyn Future<Output = Result<WebSocket, Error>> + Send>>;

/// A way to open a connection, again and again: a [`Connect`], or a function from the number of
/// the attempt to the future of a connection.
pub trait Open {
    /// Opens a connection. `attempt` counts from 1 since the last stable one.
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
    /// A connection that comes back when it was lost, each time with what is said here.
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
