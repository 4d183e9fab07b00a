//! The channel client over WebTransport. To the client, a session is one end of a WebSocket in memory; the
//! task here transfers messages between the other end and the session. All subscriptions use the control
//! stream, so that messages have one order.

use std::future::{Future, pending};

use offhook::{
    Error, Message, Open, Pair, Sender, WebSocket,
    protocol::{CloseCode, ClosedBy},
};
use quinn::SendStream;

use crate::{
    connect::WebTransport,
    session::{Down, Event, Session, send},
};

impl Open for WebTransport {
    fn open(
        &mut self,
        _attempt: u32,
    ) -> impl Future<Output = Result<WebSocket, Error>> + Send + 'static {
        let to = self.clone();
        async move {
            let session = to.session().await.map_err(Error::Lost)?;
            let (near, far, _link) = Pair::new().open();
            tokio::spawn(carry(session, far));
            Ok(near)
        }
    }
}

/// How a session ended.
#[derive(Debug, PartialEq, Eq)]
enum Ended {
    /// The server ended it.
    ByServer,
    /// The client closed it for good.
    Left,
    Lost,
}

/// Transfers messages until one of the two ends is closed or lost.
async fn carry(mut session: Session, mut far: WebSocket) {
    let sender = far.sender();
    let (up, down) = session.halves();
    let ended = tokio::select! {
        ended = receive(down, &sender) => ended,
        ended = pass_up(up, &mut far) => ended,
    };
    match ended {
        Ended::ByServer => {
            let closed = session.closed().unwrap_or_default();
            // The client receives all earlier messages first, and then the server's close code.
            let _however = far.close(CloseCode::new(closed.code), &closed.reason).await;
        }
        Ended::Left => session.close().await,
        // Dropping the far end tells the client that the connection is lost; dropping the session tells
        // the server.
        Ended::Lost => {}
    }
}

/// Passes the server's messages to the client. What the client does not read limits the server.
async fn receive(down: &mut Down, sender: &Sender) -> Ended {
    loop {
        let text = match down.recv().await {
            Ok(Some(Event::Control(text))) => text,
            // The client has asked for neither.
            Ok(Some(Event::Stream(..) | Event::Datagram(_))) => continue,
            Ok(None) => return Ended::ByServer,
            Err(_lost) => return Ended::Lost,
        };
        if sender.send(text).await.is_err() {
            // The client closes the connection, which the other direction reports.
            return pending().await;
        }
    }
}

/// Passes the client's messages to the server.
async fn pass_up(up: &mut SendStream, far: &mut WebSocket) -> Ended {
    loop {
        match far.recv().await {
            Ok(Some(Message::Text(text))) => {
                if send(up, &text).await.is_err() {
                    // The other direction says how the session has ended, and when.
                    return pending().await;
                }
            }
            Ok(Some(Message::Binary(_))) => {}
            Ok(None) => {
                let left = far.closed().is_some_and(|closed| {
                    closed.code == CloseCode::NORMAL && closed.by == ClosedBy::Remote
                });
                return if left { Ended::Left } else { Ended::Lost };
            }
            Err(_) => return Ended::Lost,
        }
    }
}
