//! The opening handshake over a connected transport, by HTTP/1.1.

use std::io;
use std::time::Duration;

use offhook_protocol::handshake::{ClientHandshake, ClientRequest, ClientStep, Opened, Refused};

use super::deadline::Deadline;
use crate::Transport;
use crate::error::{Error, Phase};

/// How long to wait for the body of a refusal: it states the reason, and many servers send it with
/// the head, but some keep the connection open after it without announcing its length.
pub(super) const BODY_GRACE: Duration = Duration::from_secs(2);

/// Room for a typical answer; longer ones take several reads.
const BUFFER: usize = 2048;

/// The server's answer.
pub(super) enum Answer {
    Yes {
        opened: Opened,
        /// The start of the server's frames.
        leftover: Vec<u8>,
    },
    No(Box<Refused>),
}

/// Requests a WebSocket and waits for the answer. `to` names the server in errors.
pub(super) async fn upgrade(
    transport: &mut Transport,
    request: ClientRequest,
    to: &str,
    deadline: Deadline,
) -> Result<Answer, Error> {
    let mut key = [0; 16];
    getrandom::fill(&mut key).map_err(|error| Error::Connect {
        to: to.into(),
        source: error.into(),
    })?;
    let (bytes, handshake) = request.start(key);
    let ask = async {
        transport.write_all(&bytes).await.map_err(Error::Lost)?;
        answer(transport, handshake, to).await
    };
    deadline.within(Phase::Handshake, to, ask).await
}

async fn answer(
    transport: &mut Transport,
    mut handshake: ClientHandshake,
    to: &str,
) -> Result<Answer, Error> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let count = transport.read(&mut buffer).await.map_err(Error::Lost)?;
        if count == 0 {
            return Err(Error::Lost(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the server closed the connection instead of answering the opening handshake",
            )));
        }
        // RFC 8446 §5.1: a TLS server answers a plain text request with an alert. No HTTP answer
        // starts with a control character.
        if let [0x15, 0x03, ..] = buffer[..count] {
            return Err(Error::WrongScheme {
                to: to.into(),
                reason: "the server expects TLS: use wss://",
            });
        }
        match handshake.receive(&buffer[..count])? {
            ClientStep::Incomplete(next) => handshake = next,
            ClientStep::Open { opened, consumed } => {
                return Ok(Answer::Yes {
                    opened,
                    leftover: buffer[consumed..count].to_vec(),
                });
            }
            ClientStep::Refused(refused) => return Ok(Answer::No(Box::new(refused))),
        }
    }
}

/// Reads the body of a refusal. Errors are ignored: the handshake was refused in any case.
pub(super) async fn read_body(
    transport: &mut Transport,
    refused: &mut Refused,
    deadline: Deadline,
) {
    let mut buffer = vec![0; BUFFER];
    let body = async {
        while !refused.body_is_complete() {
            match transport.read(&mut buffer).await {
                Ok(0) | Err(_) => break,
                Ok(count) => refused.receive_body(&buffer[..count]),
            }
        }
        Ok(())
    };
    let deadline = deadline.sooner(BODY_GRACE);
    // Complete or timed out: either way, keep what was received.
    let _ = deadline.within(Phase::Handshake, "", body).await;
}
