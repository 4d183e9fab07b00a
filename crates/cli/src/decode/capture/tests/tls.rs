//! Captures and decrypts TLS connections between two rustls endpoints.

use std::sync::{Arc, Mutex};

use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{
    ClientConfig, ClientConnection, Connection as Tls, KeyLog as Log, ServerConfig,
    ServerConnection, SupportedCipherSuite, SupportedProtocolVersion, version,
};

use super::packets::{Connection, pcap};
use crate::decode::capture::read;
use crate::decode::capture::tls::{KeyLog, Sealed};
use crate::decode::connections::{Carried, carried};
use crate::dial::AnyCertificate;
use crate::explain::Side;

#[derive(Debug, Default)]
struct Lines(Mutex<String>);

impl Log for Lines {
    fn log(&self, label: &str, random: &[u8], secret: &[u8]) {
        let digits = |bytes: &[u8]| crate::screen::hex(bytes).replace(' ', "");
        let line = format!("{label} {} {}\n", digits(random), digits(secret));
        self.0.lock().expect("one thread").push_str(&line);
    }
}

/// A connection on which these texts are sent, and its key log.
pub(super) fn captured(
    suite: SupportedCipherSuite,
    version: &'static SupportedProtocolVersion,
    client_says: &[u8],
    server_says: &[u8],
) -> (Vec<u8>, String) {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites = vec![suite];
    let provider = Arc::new(provider);
    let log = Arc::new(Lines::default());
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[version])
        .expect("they fit")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate::new()))
        .with_no_client_auth();
    config.key_log = log.clone();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("made");
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
    let server = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .expect("they fit")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .expect("a certificate");
    let name = ServerName::try_from("localhost").expect("a name");
    let client = ClientConnection::new(Arc::new(config), name).expect("it can begin");
    let server = ServerConnection::new(Arc::new(server)).expect("it can begin");
    let (mut client, mut server) = (Tls::Client(client), Tls::Server(server));
    let mut packets = Connection::open();
    write(&mut client, client_says);
    exchange(&mut client, &mut server, &mut packets);
    write(&mut server, server_says);
    if version.version == version::TLS13.version {
        client.refresh_traffic_keys().expect("TLS 1.3 can");
    }
    write(&mut client, client_says);
    exchange(&mut client, &mut server, &mut packets);
    let log = log.0.lock().expect("one thread").clone();
    (pcap(1, packets.packets()), log)
}

fn write(tls: &mut Tls, data: &[u8]) {
    std::io::Write::write_all(&mut tls.writer(), data).expect("there is room");
}

fn exchange(client: &mut Tls, server: &mut Tls, packets: &mut Connection) {
    loop {
        let moved = [(Side::Client, 0), (Side::Server, 1)].map(|(side, _)| {
            let (from, to) = match side {
                Side::Client => (&mut *client, &mut *server),
                Side::Server => (&mut *server, &mut *client),
            };
            let mut bytes = Vec::new();
            while from.wants_write() {
                from.write_tls(&mut bytes).expect("into memory");
            }
            packets.send(side, &bytes);
            let mut rest = bytes.as_slice();
            while !rest.is_empty() {
                to.read_tls(&mut rest).expect("from memory");
                to.process_new_packets().expect("good records");
                let mut read = Vec::new();
                let _ = std::io::Read::read_to_end(&mut to.reader(), &mut read);
            }
            bytes.len()
        });
        if moved == [0, 0] {
            return;
        }
    }
}

/// The decrypted bytes of each side.
fn decrypted(file: &[u8], log: &str) -> Result<(Vec<u8>, Vec<u8>), String> {
    let mut keys = KeyLog::default();
    keys.read(log.as_bytes());
    let capture = read(file).map_err(|_| "no capture".to_owned())?;
    let stream = capture.streams().streams.pop();
    let stream = stream.ok_or("no connection")?;
    match carried(&stream, &keys) {
        Carried::WebSocket { data, is_tls: true } => {
            let of = |side| -> Vec<u8> {
                let parts = data.iter().filter(|part| part.side == side);
                parts.flat_map(|part| part.bytes.to_vec()).collect()
            };
            Ok((of(Side::Client), of(Side::Server)))
        }
        Carried::WebSocket { is_tls: false, .. } => Err("it is not encrypted".to_owned()),
        Carried::Other(why) => Err(why),
    }
}

#[test]
fn every_suite_of_tls_1_2_and_1_3_is_decrypted_even_after_a_key_update() {
    let client_says = [0x89, 0x80, 1, 2, 3, 4];
    // Longer than a record.
    let server_says = [&[0x82, 126, 0x75, 0x30][..], &[7; 30_000]].concat();
    for suite in aws_lc_rs::ALL_CIPHER_SUITES {
        let version = match suite {
            SupportedCipherSuite::Tls12(_) => &version::TLS12,
            SupportedCipherSuite::Tls13(_) => &version::TLS13,
        };
        // The certificate's key is ECDSA: suites with RSA are never negotiated.
        if format!("{suite:?}").contains("ECDHE_RSA") {
            continue;
        }
        let (file, log) = captured(*suite, version, &client_says, &server_says);
        let expected = (client_says.repeat(2), server_says.clone());
        assert_eq!(decrypted(&file, &log), Ok(expected), "{suite:?}");
    }
}

#[test]
fn the_traffic_secrets_alone_are_sufficient() {
    let suite = aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
    let ping = [0x89, 0x80, 1, 2, 3, 4];
    let (file, log) = captured(suite, &version::TLS13, &ping, &[0x8a, 0]);
    let lines = log.lines().filter(|line| !line.contains("HANDSHAKE"));
    let log: Vec<&str> = lines.collect();
    let expected = (ping.repeat(2), vec![0x8a, 0]);
    assert_eq!(decrypted(&file, &log.join("\n")), Ok(expected));
}

#[test]
fn a_connection_without_secrets_is_reported_with_what_to_do() {
    let suite = aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
    let (file, log) = captured(suite, &version::TLS13, b"\x89\x80aaaa", &[0x8a, 0]);
    assert_eq!(decrypted(&file, ""), Err(Sealed::NoSecret.to_string()));
    let other = log.replace("CLIENT_TRAFFIC_SECRET_0", "SOMETHING_ELSE");
    assert_eq!(decrypted(&file, &other), Err(Sealed::NoSecret.to_string()));
    assert!(Sealed::NoSecret.to_string().contains("SSLKEYLOGFILE"));
}
