//! Servers that are broken, one way each, for `offhook check` to find out.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use offhook::protocol::handshake::accept_for_key;

use crate::peer::field;
use crate::program::{Running, offhook};
use crate::serve::serving;

/// A server that answers every connection with this function, on threads. Returns its address.
pub(crate) fn server(answer: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    let answer = Arc::new(answer);
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let answer = Arc::clone(&answer);
            thread::spawn(move || answer(stream));
        }
    });
    address
}

/// The head of a request; none if the client has gone.
pub(crate) fn head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        head.extend(byte);
    }
    String::from_utf8(head).ok()
}

/// A server that always answers with this head.
pub(crate) fn refusing(answer: &'static str) -> String {
    let address = server(move |mut stream| {
        if head(&mut stream).is_some() {
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    format!("ws://{address}/")
}

/// How a server that opens WebSockets misbehaves.
#[derive(Clone, Copy, Default)]
pub(crate) struct Habits {
    /// Header lines in addition to the required ones.
    pub(crate) more: &'static str,
    pub(crate) wrong_accept: bool,
    pub(crate) no_upgrade: bool,
    pub(crate) origins: Origins,
    /// It answers no ping.
    pub(crate) is_deaf: bool,
    /// It does not answer a Close.
    pub(crate) no_close: bool,
    /// The longest message, and the code with which longer ones are refused.
    pub(crate) longest: Option<(u64, Option<u16>)>,
    /// The first bytes that it sends.
    pub(crate) says: &'static [u8],
    /// It ends the connection after this, in the middle of nothing.
    pub(crate) cut_after: Option<Duration>,
}

#[derive(Clone, Copy, Default, PartialEq)]
pub(crate) enum Origins {
    #[default]
    Own,
    Any,
    None,
}

pub(crate) fn opening(habits: Habits) -> String {
    let address = server(move |mut stream| {
        let _ = open(&mut stream, habits);
    });
    format!("ws://{address}/")
}

/// One connection, frame by frame; ends when either side does.
fn open(stream: &mut TcpStream, habits: Habits) -> Option<()> {
    let head = head(stream)?;
    let origin = field(&head, "Origin").to_owned();
    let is_own = origin.is_empty() || origin == format!("http://{}", field(&head, "Host"));
    let is_allowed = match habits.origins {
        Origins::Own => is_own,
        Origins::Any => true,
        Origins::None => origin.is_empty(),
    };
    if !is_allowed {
        stream
            .write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
            .ok()?;
        return None;
    }
    let key = if habits.wrong_accept {
        "another key"
    } else {
        field(&head, "Sec-WebSocket-Key")
    };
    let accept = String::from_utf8_lossy(&accept_for_key(key.as_bytes())).into_owned();
    let upgrade = if habits.no_upgrade {
        ""
    } else {
        "Upgrade: websocket\r\nConnection: Upgrade\r\n"
    };
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\n{upgrade}Sec-WebSocket-Accept: {accept}\r\n{}\r\n",
        habits.more
    );
    stream.write_all(answer.as_bytes()).ok()?;
    stream.write_all(habits.says).ok()?;
    // Without a time it waits as long as it takes.
    stream.set_read_timeout(habits.cut_after).expect("a time");
    loop {
        let mut start = [0; 2];
        stream.read_exact(&mut start).ok()?;
        let length = match start[1] & 0x7f {
            126 => number::<2>(stream)?,
            127 => number::<8>(stream)?,
            length => u64::from(length),
        };
        stream.read_exact(&mut [0; 4]).ok()?;
        if let Some((longest, code)) = habits.longest.filter(|(longest, _)| length > *longest) {
            let _ = longest;
            let code = code?.to_be_bytes();
            stream.write_all(&[0x88, 2, code[0], code[1]]).ok()?;
            return None;
        }
        // The check masks with zeros.
        let mut payload = vec![0; usize::try_from(length).ok()?];
        stream.read_exact(&mut payload).ok()?;
        let opcode = match start[0] & 0x0f {
            9 if habits.is_deaf => continue,
            9 => 10,
            8 if habits.no_close => return None,
            8 => 8,
            _ => continue,
        };
        let mut frame = vec![0x80 | opcode, u8::try_from(payload.len()).ok()?];
        frame.extend(payload);
        stream.write_all(&frame).ok()?;
    }
}

fn number<const N: usize>(stream: &mut TcpStream) -> Option<u64> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes).ok()?;
    Some(
        bytes
            .iter()
            .fold(0, |sum, byte| (sum << 8) | u64::from(*byte)),
    )
}

/// A server with a certificate for localhost that is its own authority, as `change` makes it.
pub(crate) fn secure(change: impl FnOnce(&mut rcgen::CertificateParams)) -> (Running, String) {
    let (running, port, _) = secure_with(change);
    (running, port)
}

pub(crate) fn secure_with(
    change: impl FnOnce(&mut rcgen::CertificateParams),
) -> (Running, String, String) {
    let mut params = rcgen::CertificateParams::new(["localhost".to_owned()]).expect("a name");
    change(&mut params);
    let key = rcgen::KeyPair::generate().expect("a key");
    let cert = params.self_signed(&key).expect("signed").pem();
    let files = ["--tls-cert", "cert.pem", "--tls-key", "key.pem"];
    let (running, address) = serving(
        offhook(&[&["--in-memory", "--listen", "0"], &files[..]].concat())
            .file("cert.pem", &cert)
            .file("key.pem", key.serialize_pem()),
    );
    let port = address.rsplit(':').next().expect("a port").to_owned();
    (running, port, cert)
}
