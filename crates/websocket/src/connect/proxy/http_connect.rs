//! CONNECT (RFC 9110 §9.3.6): a tunnel through an HTTP proxy.

use httparse::{EMPTY_HEADER, Response, Status};
use offhook_protocol::handshake::basic_credentials;

use super::ProxyError;
use crate::Transport;
use crate::connect::url::Credentials;

/// The longest answer accepted from a proxy: eight times what proxies send with their longest Via
/// and authentication fields.
const HEAD_LIMIT: usize = 8 * 1024;
const MOST_HEADERS: usize = 64;

/// RFC 7617 §2.
const NOT_BASIC: ProxyError = ProxyError::NotRepresentable(
    "its user name must not contain a colon, and neither it nor the password control characters",
);

/// Requests a tunnel to `host:port`. When it returns, the transport is the tunnel.
pub(super) async fn ask(
    transport: &mut Transport,
    authority: &str,
    credentials: Option<&Credentials>,
) -> Result<(), ProxyError> {
    let mut request = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n");
    if let Some(credentials) = credentials {
        let Credentials { user, password } = credentials;
        let value = basic_credentials(user, password).map_err(|_| NOT_BASIC)?;
        request.push_str(&format!("Proxy-Authorization: {value}\r\n"));
    }
    request.push_str("\r\n");
    transport.write_all(request.as_bytes()).await?;
    match read_status(transport).await? {
        // RFC 9110 §9.3.6: any 2xx means that the tunnel starts right after the head.
        200..=299 => Ok(()),
        407 => Err(ProxyError::HttpAuthentication {
            sent: credentials.is_some(),
        }),
        status => Err(ProxyError::Status(status)),
    }
}

async fn read_status(transport: &mut Transport) -> Result<u16, ProxyError> {
    let mut head = vec![0; HEAD_LIMIT];
    let mut filled = 0;
    loop {
        match transport.read(&mut head[filled..]).await? {
            0 if filled == HEAD_LIMIT => {
                return Err(ProxyError::Malformed("its answer is longer than 8 KiB"));
            }
            0 => return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into()),
            count => filled += count,
        }
        if let Some(status) = parse(&head[..filled])? {
            return Ok(status);
        }
    }
}

/// The status, once the head is complete.
fn parse(head: &[u8]) -> Result<Option<u16>, ProxyError> {
    let mut headers = [EMPTY_HEADER; MOST_HEADERS];
    let mut response = Response::new(&mut headers);
    let parsed = response.parse(head).map_err(|error| {
        ProxyError::Malformed(if error == httparse::Error::TooManyHeaders {
            "its answer has more than 64 header fields"
        } else {
            "its answer is not HTTP: is it an HTTP proxy?"
        })
    })?;
    let (Status::Complete(length), Some(status)) = (parsed, response.code) else {
        return Ok(None);
    };
    // The client speaks first, so the server cannot have sent anything. Extra bytes would be taken
    // for the server's.
    if length < head.len() && (200..300).contains(&status) {
        return Err(ProxyError::Malformed(
            "it sent unexpected bytes after its answer",
        ));
    }
    Ok(Some(status))
}
