//! A WebTransport session: opened by an extended CONNECT, whose stream stays open as long as the session.
//! The worker serves it as one connection of the native dialect; `docs/webtransport.md` specifies it.

use std::{rc::Rc, time::Duration};

use hyper::StatusCode;
use offhook::protocol::CloseCode;
use offhook_dialects::{
    native,
    webtransport::{OverWebTransport, Settings},
};
use offhook_http3::{
    Code,
    frame::{DATA, Frame, Frames, write},
    webtransport::{Capsules, close},
};
use quinn::{RecvStream, SendStream};
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};

use super::{
    answer,
    connection::{Connection, Opened, number, refuse},
    request::Head,
    websocket,
};
use crate::{
    door::{Place, Upgrade},
    http::Answer,
    http2::bad,
    metrics::Answered,
    worker::{Ended, Farewell, Guest, Session, Speaker, Worker},
};

/// The draft that the answer names, as browsers expect it.
const DRAFT: (&str, &str) = ("sec-webtransport-http3-draft", "draft02");

/// The code with which a stream of a session is refused: the application's 0, in the range of WebTransport
/// (draft-ietf-webtrans-http3 §4.3).
const REFUSED: Code = Code(0x52e4_a40f_a8db);

/// How long the client may take to end its half of a session that was closed. 2 s: several round trips on a
/// slow link.
const LINGER: Duration = Duration::from_secs(2);

/// Removes a session from those of its connection.
struct Listed<'a>(&'a Connection, u64);

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        self.0.sessions.borrow_mut().remove(&self.1);
    }
}

/// Passes a stream to its session. Only the first one is accepted.
pub(super) fn pass(connection: &Connection, id: u64, (mut send, mut receive, unread): Opened) {
    let Some(session) = connection.sessions.borrow().get(&id).cloned() else {
        return refuse(&mut send, &mut receive, Code::UNKNOWN_SESSION);
    };
    if let Err(refused) = session.try_send((send, receive, unread)) {
        let (mut send, mut receive, _) = refused.into_inner();
        refuse(&mut send, &mut receive, REFUSED);
    }
}

/// Opens the session that a CONNECT requests, and serves it until it ends; or answers with the refusal.
pub(super) async fn serve(
    connection: &Rc<Connection>,
    head: Head,
    frames: Frames,
    (mut send, mut receive): (SendStream, RecvStream),
    mut place: Place,
) {
    let worker = &connection.worker;
    let id = u64::from(quinn::VarInt::from(send.id()));
    let most = usize::try_from(worker.shared.config.http3.sessions).unwrap_or(usize::MAX);
    if connection.sessions.borrow().len() >= most {
        return refuse(&mut send, &mut receive, Code::REQUEST_REJECTED);
    }
    let decided = decide(worker, &head, &mut place);
    let status = match &decided {
        Ok(_) => 200,
        Err(refusal) => refusal.status().as_u16(),
    };
    worker.metrics.answers.count(Answered::WebTransport, status);
    let guest = match decided {
        Ok(guest) => guest,
        Err(refusal) => {
            answer::refuse(&mut send, *refusal, worker.shared.patience()).await;
            let _ended = receive.stop(number(Code::NO_ERROR));
            return;
        }
    };
    let (give, mut streams) = mpsc::channel(1);
    connection.sessions.borrow_mut().insert(id, give);
    let listed = Listed(connection, id);
    let draft = (DRAFT.0.as_bytes().to_vec(), DRAFT.1.as_bytes().to_vec());
    let patience = worker.shared.patience();
    if let Err(error) = answer::accept(&mut send, 200, [draft].into_iter(), patience).await {
        return tracing::debug!(%error, "lost before the session was open");
    }
    let (end, ended) = watch::channel(None);
    let farewell = {
        let watching = until_ended(&mut receive, frames, &end);
        let serving = serve_open(worker, connection, id, &mut streams, ended, (guest, place));
        tokio::pin!(watching, serving);
        tokio::select! {
            farewell = &mut serving => farewell,
            // The session notices it, and ends as well.
            () = &mut watching => serving.await,
        }
    };
    drop(listed);
    say_goodbye(&mut send, &mut receive, &farewell).await;
}

/// Who opens the session, or the answer that refuses it.
fn decide(worker: &Worker, head: &Head, place: &mut Place) -> Result<Guest, Box<Answer>> {
    let path = head.parts.uri.path();
    let ours = &worker.shared.config.ws_path;
    if path != ours {
        let words = format!("WebTransport sessions are served at {ours}");
        let mut answer = bad(words);
        *answer.status_mut() = StatusCode::NOT_FOUND;
        return Err(Box::new(answer));
    }
    // The same checks as for a WebSocket of the native dialect. A browser's WebTransport can name no
    // subprotocol.
    let Upgrade { guest, .. } = websocket::decide(worker, head, place, Some(native::SUBPROTOCOL))?;
    let config = &worker.shared.config;
    let settings = Settings {
        message_bytes: config.messages.max_bytes,
        streams: config.http3.session_streams,
        rules: std::sync::Arc::clone(&worker.live().rules),
    };
    let dialect = OverWebTransport::new(settings);
    Ok(Guest {
        speaker: Speaker::Other(Box::new(Box::new(dialect))),
        ..guest
    })
}

/// Reads the capsules on the stream of a session until it ends, and says how.
async fn until_ended(
    receive: &mut RecvStream,
    mut frames: Frames,
    end: &watch::Sender<Option<Ended>>,
) {
    let mut capsules = Capsules::default();
    let ended = loop {
        let mut closed = None;
        let next = loop {
            match frames.next() {
                Ok(Some(Frame::Data(data))) => match capsules.receive(&data) {
                    Ok(None) => {}
                    Ok(by_client) => {
                        closed = by_client;
                        break Ok(());
                    }
                    Err(error) => break Err(error),
                },
                // Fields after the body mean nothing here.
                Ok(Some(Frame::Whole { .. })) => {}
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        if let Err(error) = next {
            tracing::debug!(%error, "a session ends");
            let _ended = receive.stop(number(error.code));
            break Ended { left: false };
        }
        if let Some(closed) = closed {
            tracing::debug!(
                code = closed.code,
                reason = closed.reason,
                "a session was closed"
            );
            break Ended {
                left: closed.code == 0,
            };
        }
        match receive.read_chunk(4096, true).await {
            Ok(Some(chunk)) => frames.receive(&chunk.bytes),
            // Draft §5: the same as a close with code 0 and no reason.
            Ok(None) => break Ended { left: true },
            Err(error) => {
                tracing::debug!(%error, "a session was lost");
                break Ended { left: false };
            }
        }
    };
    end.send_replace(Some(ended));
}

/// Serves an open session, once its client has opened the control stream.
async fn serve_open(
    worker: &Rc<Worker>,
    connection: &Connection,
    id: u64,
    streams: &mut mpsc::Receiver<Opened>,
    mut ended: watch::Receiver<Option<Ended>>,
    (guest, place): (Guest, Place),
) -> Farewell {
    let within = worker.shared.config.connections.connect_timeout;
    let mut stopping = worker.stopping();
    let opened = tokio::select! {
        opened = timeout(within, streams.recv()) => opened,
        _ended = ended.wait_for(Option::is_some) => return Farewell::default(),
        () = stopping.begun() => {
            return Farewell::new(CloseCode::SERVICE_RESTART, "the server goes away");
        }
    };
    let Ok(Some((send, receive, unread))) = opened else {
        let why = "no control stream was opened in time";
        worker.note_refusal("connect", why, crate::refused::Client::at(place.peer()));
        return Farewell::new(CloseCode::POLICY_VIOLATION, why);
    };
    // Further streams are refused.
    streams.close();
    while let Ok((mut send, mut receive, _)) = streams.try_recv() {
        refuse(&mut send, &mut receive, REFUSED);
    }
    worker.metrics.webtransport_sessions.add(1);
    let session = Session {
        quic: connection.quic.clone(),
        id,
        send,
        receive,
        unread,
        ended,
    };
    worker.serve_session(session, guest, place).await
}

/// Draft §5: the capsule with code and reason, then the end of the stream.
async fn say_goodbye(send: &mut SendStream, receive: &mut RecvStream, farewell: &Farewell) {
    let mut bytes = Vec::new();
    // If the client has ended the session, it knows.
    if *farewell != Farewell::default() {
        let capsule = close(u32::from(farewell.code), &farewell.reason);
        write(DATA, &capsule, &mut bytes);
    }
    let mut is_written = false;
    let said = async {
        is_written = send.write_all(&bytes).await.is_ok();
        let _ended = send.finish();
        // The client ends its half when it has read the capsule.
        while let Ok(Some(_)) = receive.read_chunk(4096, true).await {}
    };
    let _late = timeout(LINGER, said).await;
    if !is_written {
        // Its drop would finish it within a frame, for which the client has to close the whole connection
        // (RFC 9114 §7.1).
        let _ended = send.reset(number(Code::REQUEST_CANCELLED));
    }
}
