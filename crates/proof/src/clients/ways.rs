//! The connections of a client: over one transport, or each over another one than the one before.

use std::{future::Future, io, pin::Pin};

use offhook::{Connect, Error, Open, Tls, WebSocket};
use offhook_client::{Requests, SUBPROTOCOL, Transport as OverRequests};
use offhook_webtransport::WebTransport;

use crate::messages::{Reach, Secure};
use crate::plan::Transport;

type Opening = Pin<Box<dyn Future<Output = Result<WebSocket, Error>> + Send>>;

/// One transport to the server.
#[derive(Clone, Debug)]
enum Way {
    WebSocket(Box<Connect>),
    Requests(Box<Requests>),
    WebTransport(Box<WebTransport>),
}

impl Way {
    fn open(&mut self, attempt: u32) -> Opening {
        match self {
            Self::WebSocket(connect) => Box::pin(Open::open(&mut **connect, attempt)),
            Self::Requests(requests) => Box::pin(requests.open(attempt)),
            Self::WebTransport(sessions) => Box::pin(sessions.open(attempt)),
        }
    }
}

/// Opens connections.
#[derive(Debug)]
pub(super) struct Ways {
    ways: Vec<Way>,
    /// The number of connections opened so far, from the first one's transport on.
    next: usize,
}

impl Ways {
    /// The transports to a server; if there are several, it begins with the one at `first`.
    pub(super) fn new(reach: &Reach, transport: Transport, first: usize) -> io::Result<Self> {
        let connect = || {
            Connect::to(&reach.url)
                .subprotocol(SUBPROTOCOL)
                .require_subprotocol()
                .no_proxy()
        };
        let websocket = || Way::WebSocket(Box::new(connect()));
        let requests = |over| Way::Requests(Box::new(Requests::new(connect(), &reach.url, over)));
        let (events, polls) = (OverRequests::Events, OverRequests::Polls);
        let ways = match transport {
            Transport::WebSocket => vec![websocket()],
            Transport::Sse => vec![requests(events)],
            Transport::Poll => vec![requests(polls)],
            Transport::WebTransport => vec![webtransport(reach)?],
            Transport::Mixed => vec![
                websocket(),
                requests(events),
                webtransport(reach)?,
                requests(polls),
            ],
        };
        Ok(Self { ways, next: first })
    }
}

impl Open for Ways {
    fn open(
        &mut self,
        attempt: u32,
    ) -> impl Future<Output = Result<WebSocket, Error>> + Send + 'static {
        let number = self.next % self.ways.len().max(1);
        self.next += 1;
        let opening = self.ways.get_mut(number).map(|way| way.open(attempt));
        async move {
            match opening {
                Some(opening) => opening.await,
                // There is at least one.
                None => Err(Error::Closing),
            }
        }
    }
}

fn webtransport(reach: &Reach) -> io::Result<Way> {
    let missing = || io::Error::other("the server does not speak WebTransport");
    let Secure { url, certificate } = reach.webtransport.as_ref().ok_or_else(missing)?;
    let tls = Tls::builder()
        .pinned_pem(certificate)
        .and_then(offhook::TlsBuilder::build)
        .map_err(io::Error::other)?;
    let sessions = WebTransport::to(url).map_err(io::Error::other)?;
    Ok(Way::WebTransport(Box::new(sessions.tls(tls))))
}
