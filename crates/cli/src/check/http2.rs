//! HTTP/2: whether the server supports it, and WebSockets over it (RFC 8441).

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use super::finding::{Finding, Findings};
use super::socket::Route;
use crate::failure::Failure;

/// RFC 9113 §3.4: the preface, and an empty SETTINGS frame.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// RFC 8441 §3.
const ENABLE_CONNECT_PROTOCOL: u16 = 8;

/// The longest SETTINGS frame accepted. 16 KiB: the default maximum of RFC 9113 §4.2.
const LONGEST: usize = 16 << 10;

pub(super) async fn check(route: &Route, findings: &mut Findings) -> Result<(), Failure> {
    if !route.target.is_tls {
        return Ok(());
    }
    let Ok(mut tls) = route.connect_tls(&[b"h2"]).await else {
        return findings.add(Finding::note("http2", "not spoken"));
    };
    if tls.get_ref().1.alpn_protocol() != Some(b"h2") {
        return findings.add(Finding::note("http2", "not spoken"));
    }
    let settings = async {
        tls.write_all(PREFACE).await.ok()?;
        tls.flush().await.ok()?;
        // RFC 9113 §3.4: the server's first frame is SETTINGS.
        let mut header = [0; 9];
        tls.read_exact(&mut header).await.ok()?;
        let [a, b, c, kind, ..] = header;
        let length = usize::try_from(u32::from_be_bytes([0, a, b, c])).ok()?;
        if kind != 4 || length > LONGEST {
            return None;
        }
        let mut settings = vec![0; length];
        tls.read_exact(&mut settings).await.ok()?;
        Some(settings)
    };
    let Ok(Some(settings)) = timeout(route.limit, settings).await else {
        return findings.add(
            Finding::warning("http2", "negotiated, but the server sent no SETTINGS")
                .advice("browsers may fail to load anything from here: look at the proxy"),
        );
    };
    let enabled = settings.chunks_exact(6).any(|setting| {
        let [a, b, value @ ..] = setting else {
            return false;
        };
        u16::from_be_bytes([*a, *b]) == ENABLE_CONNECT_PROTOCOL && *value == [0, 0, 0, 1]
    });
    findings.add(if enabled {
        Finding::ok("http2", "supported, with WebSockets over it (RFC 8441)")
    } else {
        Finding::note(
            "http2",
            "supported, without WebSockets over it: browsers open an HTTP/1.1 connection for them",
        )
    })
}
