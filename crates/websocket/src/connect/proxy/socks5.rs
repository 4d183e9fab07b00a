//! SOCKS5 (RFC 1928), without authentication or with user name and password (RFC 1929).

use std::net::IpAddr;

use super::{ProxyError, SocksReply};
use crate::Transport;
use crate::connect::url::{Credentials, Host};

const VERSION: u8 = 5;
const NO_AUTHENTICATION: u8 = 0;
const USER_AND_PASSWORD: u8 = 2;
const CONNECT: u8 = 1;
const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;

const NOT_SOCKS5: ProxyError =
    ProxyError::Malformed("its answer is not SOCKS5: is it a SOCKS5 proxy?");

const USER_TOO_LONG: &str = "its user name is longer than the 255 bytes of SOCKS5";
const PASSWORD_TOO_LONG: &str = "its password is longer than the 255 bytes of SOCKS5";
const HOST_TOO_LONG: &str = "the host is longer than the 255 bytes of SOCKS5";

/// Requests a tunnel. When it returns, the transport is the tunnel.
///
/// Reads only the bytes that belong to the proxy.
pub(super) async fn ask(
    transport: &mut Transport,
    host: &Host,
    port: u16,
    credentials: Option<&Credentials>,
) -> Result<(), ProxyError> {
    let request = connect_request(host, port)?;
    authenticate(transport, credentials).await?;
    transport.write_all(&request).await?;
    receive_reply(transport).await
}

async fn authenticate(
    transport: &mut Transport,
    credentials: Option<&Credentials>,
) -> Result<(), ProxyError> {
    // RFC 1928 §3: version, number of methods, methods.
    let greeting: &[u8] = match credentials {
        Some(_) => &[VERSION, 2, NO_AUTHENTICATION, USER_AND_PASSWORD],
        None => &[VERSION, 1, NO_AUTHENTICATION],
    };
    transport.write_all(greeting).await?;
    let mut chosen = [0; 2];
    transport.read_exact(&mut chosen).await?;
    match (chosen, credentials) {
        ([VERSION, NO_AUTHENTICATION], _) => Ok(()),
        ([VERSION, USER_AND_PASSWORD], Some(credentials)) => {
            send_credentials(transport, credentials).await
        }
        ([VERSION, _], _) => Err(ProxyError::SocksAuthentication {
            sent: credentials.is_some(),
        }),
        _ => Err(NOT_SOCKS5),
    }
}

async fn send_credentials(
    transport: &mut Transport,
    credentials: &Credentials,
) -> Result<(), ProxyError> {
    // RFC 1929 §2: version 1, then user name and password, each preceded by its length.
    let mut request = vec![1];
    push_short(&mut request, &credentials.user, USER_TOO_LONG)?;
    push_short(&mut request, &credentials.password, PASSWORD_TOO_LONG)?;
    transport.write_all(&request).await?;
    let mut answer = [0; 2];
    transport.read_exact(&mut answer).await?;
    match answer {
        [_, 0] => Ok(()),
        _ => Err(ProxyError::SocksAuthentication { sent: true }),
    }
}

fn push_short(to: &mut Vec<u8>, text: &str, too_long: &'static str) -> Result<(), ProxyError> {
    let length = u8::try_from(text.len()).map_err(|_| ProxyError::NotRepresentable(too_long))?;
    to.push(length);
    to.extend(text.as_bytes());
    Ok(())
}

/// RFC 1928 §4: version, command, reserved, address type, address, port.
fn connect_request(host: &Host, port: u16) -> Result<Vec<u8>, ProxyError> {
    let mut request = vec![VERSION, CONNECT, 0];
    match host {
        Host::Name(name) => {
            request.push(NAME);
            push_short(&mut request, name, HOST_TOO_LONG)?;
        }
        Host::Ip(IpAddr::V4(address)) => {
            request.push(IPV4);
            request.extend(address.octets());
        }
        Host::Ip(IpAddr::V6(address)) => {
            request.push(IPV6);
            request.extend(address.octets());
        }
    }
    request.extend(port.to_be_bytes());
    Ok(request)
}

/// RFC 1928 §6: version, reply, reserved, address type, bound address and port.
async fn receive_reply(transport: &mut Transport) -> Result<(), ProxyError> {
    // The version and the reply first: after a failure some proxies send nothing more.
    let mut reply = [0; 2];
    transport.read_exact(&mut reply).await?;
    match reply {
        [VERSION, 0] => {}
        [VERSION, code] => return Err(ProxyError::Socks(SocksReply(code))),
        _ => return Err(NOT_SOCKS5),
    }
    let mut kind = [0; 2];
    transport.read_exact(&mut kind).await?;
    let length = match kind[1] {
        IPV4 => 4,
        IPV6 => 16,
        NAME => {
            let mut length = [0];
            transport.read_exact(&mut length).await?;
            usize::from(length[0])
        }
        _ => return Err(NOT_SOCKS5),
    };
    // The address bound by the proxy is not needed.
    let mut bound = [0; 255 + 2];
    transport.read_exact(&mut bound[..length + 2]).await?;
    Ok(())
}
