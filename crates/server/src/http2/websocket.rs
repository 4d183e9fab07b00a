//! Opens a WebSocket on a stream (RFC 8441). After that, it is a connection like any other.

use std::rc::Rc;

use bytes::Bytes;
use h2::{RecvStream, ext::Protocol, server::SendResponse};
use http_body_util::Either;
use hyper::{
    Request, Response,
    header::{HeaderMap, ORIGIN},
    http::request::Parts,
};
use offhook::{
    Transport,
    protocol::handshake::{Carrier, ConnectRequest, ServerDecision},
};
use tokio::task::spawn_local;

use super::{
    answer,
    request::{join_cookies, name_host},
};
use crate::{
    door::{Place, Upgrade, Way, forwarded_client, rejected, upgrade},
    http::{Answer, converted},
    metrics::Answered,
    refused::Client,
    worker::{CountedStream, Worker},
};

/// Opens the WebSocket that an extended CONNECT requests, or answers with the refusal. The place is that of its
/// stream.
pub(super) fn open(
    worker: &Rc<Worker>,
    (request, held): (Request<RecvStream>, CountedStream),
    mut respond: SendResponse<Bytes>,
    from_proxy: bool,
    mut place: Place,
) {
    let (mut head, receive) = request.into_parts();
    join_cookies(&mut head.headers);
    if from_proxy {
        let client = forwarded_client(fields(&head.headers), &worker.live().config.proxies);
        client.into_iter().for_each(|client| place.move_to(client));
    }
    let decided = match name_host(&head.uri, &mut head.headers) {
        Ok(()) => decide(worker, &head, from_proxy, &mut place),
        Err(words) => Err(Box::new(answer::bad(words))),
    };
    let status = match &decided {
        Ok(upgrade) => upgrade.response.status(),
        Err(refusal) => refusal.status().as_u16(),
    };
    worker.metrics.answers.count(Answered::WebSocket, status);
    let Upgrade {
        response,
        negotiated,
        guest,
    } = match decided {
        Ok(upgrade) => upgrade,
        Err(refusal) => return refuse(worker, respond, *refusal, place),
    };
    let response = Response::from_parts(converted(&response).into_parts().0, ());
    match respond.send_response(response, false) {
        Ok(send) => {
            let way = Way {
                negotiated,
                unread: Vec::new(),
            };
            let stream = Transport::http2_holding(send, receive, held);
            worker.open(way.into_socket(stream, &worker.settings), guest, place);
        }
        Err(error) => tracing::debug!(%error, "lost before the WebSocket was open"),
    }
}

/// Accepts the handshake, or returns the answer to an invalid or refused one.
fn decide(
    worker: &Worker,
    head: &Parts,
    from_proxy: bool,
    place: &mut Place,
) -> Result<Upgrade, Box<Answer>> {
    let uri = &head.uri;
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let connect = ConnectRequest {
        method: head.method.as_str(),
        protocol: head.extensions.get::<Protocol>().map(Protocol::as_str),
        scheme: uri.scheme_str().unwrap_or_default(),
        authority,
        path: uri.path_and_query().map_or("", |path| path.as_str()),
    };
    let live = worker.live();
    let acceptor = live.handshake(from_proxy);
    let decision = ServerDecision::from_extended_connect(acceptor, connect, fields(&head.headers));
    let decision = decision.map_err(|rejection| {
        let origin = head.headers.get(ORIGIN);
        let client = Client {
            peer: Some(place.peer()),
            origin: origin.and_then(|origin| origin.to_str().ok()),
            path: Some(uri.path()),
            ..Client::default()
        };
        let carrier = Carrier::ExtendedConnect;
        Box::new(converted(&rejected(
            worker, &rejection, authority, client, carrier,
        )))
    })?;
    upgrade(worker, decision, place).map_err(|response| Box::new(converted(&response)))
}

fn refuse(worker: &Rc<Worker>, respond: SendResponse<Bytes>, refusal: Answer, place: Place) {
    let patience = worker.shared.patience();
    spawn_local(async move {
        let answer = refusal.map(Either::Left);
        if let Err(error) = answer::send(respond, answer, false, patience).await {
            tracing::debug!(%error, "a refusal was not sent");
        }
        drop(place);
    });
}

fn fields(headers: &HeaderMap) -> impl Iterator<Item = (&str, &[u8])> {
    headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_bytes()))
}
