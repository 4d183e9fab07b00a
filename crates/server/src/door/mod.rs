//! Accepting: how many may come, what each of them wants, and where it goes. A WebSocket becomes a
//! connection with nothing around it; everything else is served by hyper.

mod admission;
mod head;
mod hosts;
mod listening;
mod routes;
mod stream;
mod tls;
mod upgrade;

use std::{
    io,
    net::SocketAddr,
    rc::Rc,
    time::{Duration, Instant},
};

use offhook::protocol::handshake::{Carrier, Refusal, Response};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    task::spawn_local,
    time::{sleep, timeout},
};

use crate::{http, worker::Worker};
pub(crate) use admission::{Admission, Place};
use head::Heard;
pub(crate) use listening::{ensure_free, listen};
pub(crate) use routes::Routes;
#[cfg(test)]
pub(crate) use routes::Spoken;
pub(crate) use stream::{Rewound, Stream};
pub(crate) use tls::acceptor as tls_acceptor;
pub(crate) use upgrade::{Upgrade, Way, upgrade};

/// After an error of accept that is not one connection's, such as no free descriptor, this long
/// passes before the next try: the cause lasts, and trying at once would burn a core.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Accepts until the worker stops.
pub(crate) async fn accept(worker: Rc<Worker>, listener: TcpListener) {
    let mut stopping = worker.stopping();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopping.begun() => return,
        };
        match accepted {
            Ok((stream, address)) => {
                let Some(place) = worker.shared.admission.take(address.ip()) else {
                    // Not even heard: there are more than can be told politely.
                    worker.note_refused("connection", "there are too many connections");
                    continue;
                };
                spawn_local(receive(Rc::clone(&worker), stream, address, place));
            }
            Err(error) => {
                worker.note_refused("accept", &error);
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Reads what a client wants, and passes it on.
async fn receive(worker: Rc<Worker>, stream: TcpStream, address: SocketAddr, mut place: Place) {
    // TLS costs more than all that follows: what is too much is closed before it. Without TLS the
    // answer is a 503, which says when to come back.
    if worker.shared.tls.is_some() && !place.handshake(Instant::now()) {
        return worker.note_refused("handshakes", "too many come at once");
    }
    // What is wrong with a client's socket is the client's to notice.
    let _best_effort = stream.set_nodelay(true);
    let within = worker.shared.config.connections.handshake_timeout;
    let heard = timeout(within, async {
        let mut stream = worker.shared.accept_tls(stream).await?;
        let heard = head::hear(&mut stream, &worker.handshake).await?;
        io::Result::Ok((stream, heard))
    });
    match Box::pin(heard).await {
        Ok(Ok((stream, heard))) => show(worker, stream, heard, place).await,
        Ok(Err(error)) => tracing::debug!(%address, %error, "lost before it was heard"),
        Err(_) => worker.note_refused("handshake", "it took too long"),
    }
}

async fn show(worker: Rc<Worker>, mut stream: Stream, heard: Heard, mut place: Place) {
    let response = match heard {
        Heard::Http(unread) => {
            return Box::pin(http::serve(worker, Rewound::new(stream, unread), place)).await;
        }
        Heard::Rejected(rejection) => {
            worker.note_refused("handshake", &rejection);
            rejection.response(Carrier::Upgrade)
        }
        Heard::WebSocket(decision, unread) => match upgrade(&worker, *decision, &mut place) {
            Ok(Upgrade {
                response,
                negotiated,
                guest,
            }) => {
                if say(&mut stream, response).await.is_ok() {
                    let way = Way { negotiated, unread };
                    worker.open(way.into_socket(stream, &worker.settings), guest, place);
                }
                return;
            }
            Err(response) => response,
        },
    };
    if say(&mut stream, response).await.is_ok() {
        // Whether the client takes the end as well as the answer is its own affair.
        let _ended = stream.shutdown().await;
    }
}

async fn say(stream: &mut Stream, response: Response) -> io::Result<()> {
    stream.write_all(&response.into_bytes()).await?;
    stream.flush().await
}

/// A refusal with a sentence for people.
fn refusal(status: u16, sentence: &str) -> Refusal {
    let refusal = Refusal::new(status).expect("every status here is one of HTTP's final ones");
    refusal.body(format!("{sentence}\n"))
}
