//! The opening handshake over a connected transport, by HTTP/1.1.

use std::io;
use std::time::Duration;

use offhook_protocol::handshake::{ClientHandshake, ClientRequest, ClientStep, Opened, Refused};

use super::deadline::Deadline;
use super::exchange::{read, write_all};
use crate::Transport;
use crate::error::{Error, Phase};

/// What a refusal says of its reason is worth waiting for, but not long: many servers send it
/// with the head, and some keep the connection open behind it without saying where it ends.
pub(super) const BODY_GRACE: Duration = Duration::from_secs(2);

/// As much as a usual answer takes; longer ones take several reads.
const BUFFER: usize = 2048;

/// The server's answer.
pub(super) enum Answer {
    Yes {
        opened: Opened,
        /// The beginning of the server's frames.
        leftover: Vec<u8>,
    },
    No(Box<Refused>),
}

/// Asks for a WebSocket and waits for the answer. `to` is the server, for errors.
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
        write_all(transport, &bytes).await.map_err(Error::Lost)?;
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
        let count = read(transport, &mut buffer).await.map_err(Error::Lost)?;
        if count == 0 {
            return Err(Error::Lost(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the server closed the connection instead of answering the opening handshake",
            )));
        }
        // RFC 8446 §5.1: what a TLS server says to a request in plain text is an alert. No answer in
        // HTTP begins with a control character.
        if let [0x15, 0x03, ..] = buffer[..count] {
            return Err(Error::WrongScheme {
                to: to.into(),
                reason: "what answers there speaks TLS: try wss://",
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

/// Reads on what the server says of its refusal. Whatever goes wrong now, it was refused.
pub(super) async fn read_body(
    transport: &mut Transport,
    refused: &mut Refused,
    deadline: Deadline,
) {
    let mut buffer = vec![0; BUFFER];
    let body = async {
        while !refused.body_is_complete() {
            match read(transport, &mut buffer).await {
                Ok(0) | Err(_) => break,
                Ok(count) => refused.receive_body(&buffer[..count]),
            }
        }
        Ok(())
    };
    let deadline = deadline.sooner(BODY_GRACE);
    // Too late, or done: what is there is what there is.
    let _ = deadline.within(Phase::Handshake, "", body).await;
}
