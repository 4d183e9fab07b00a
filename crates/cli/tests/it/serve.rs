use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    os::unix::fs::PermissionsExt as _,
};

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::BASE64;
use rustix::process::Signal;
use tokio_rustls::rustls::pki_types::{CertificateDer, pem::PemObject as _};

use crate::program::{Program, Running, offhook};

/// A running server, and its address.
pub(crate) fn serving(program: Program) -> (Running, String) {
    let mut running = program.start();
    let line = running.line("url");
    let (_, url) = line.split_once("://").expect("a URL");
    let address = url.trim_end_matches("/ws").to_owned();
    running.line("Ctrl-C stops it.");
    (running, address)
}

fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("it listens");
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    answer
}

/// A WebSocket that is opened, and then does nothing.
pub(crate) fn open_connection(address: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("it listens");
    let request = format!(
        "GET /ws HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Protocol: offhook.v1.json\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).expect("it answers");
    assert_eq!(&answer, b"HTTP/1.1 101");
    stream
}

#[test]
fn serve_prints_where_the_chat_and_the_data_are_and_stops_on_a_signal() {
    let mut running = offhook(&["serve", "--listen", "0"]).start();
    assert!(running.line("Offhook").ends_with("is listening"));
    let chat = running.line("chat");
    let address = chat
        .trim_start_matches("chat")
        .trim()
        .trim_start_matches("http://");
    let address = address.trim_end_matches("/talk/").to_owned();
    assert_eq!(running.line("data"), "data    ./offhook-data");
    running.line("Ctrl-C stops it.");
    assert!(get(&address, "/healthz").starts_with("HTTP/1.1 200"));
    running.signal(Signal::TERM);
    let ended = running.end();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stderr.ends_with("stopped\n"), "{}", ended.stderr);
}

#[test]
fn without_a_command_the_first_steps_are_printed_and_nothing_is_started() {
    // It ends by itself; a server would not.
    let ended = offhook(&[]).run();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stdout.contains("offhook serve"), "{}", ended.stdout);
    assert!(ended.stdout.contains("offhook --help"), "{}", ended.stdout);
    let widest = ended.stdout.lines().map(|line| line.chars().count()).max();
    assert!(widest <= Some(72), "{}", ended.stdout);
}

#[test]
fn cargo_run_without_a_command_starts_the_server() {
    let config = include_str!("../../../../.cargo/config.toml");
    let setting = config
        .lines()
        .find_map(|line| line.strip_prefix("CARGO_RUN_OFFHOOK = "));
    let command = setting.expect("cargo run has a command").trim_matches('"');
    let (running, address) = serving(
        offhook(&[])
            .env("CARGO_RUN_OFFHOOK", command)
            .file("offhook.toml", "listen = \"0\"\nin_memory = true\n"),
    );
    assert!(get(&address, "/healthz").starts_with("HTTP/1.1 200"));
    drop(running);
}

#[test]
fn flags_without_a_command_are_those_of_serve() {
    let (running, address) = serving(offhook(&["--listen", "0", "--in-memory"]));
    assert!(get(&address, "/healthz").starts_with("HTTP/1.1 200"));
    drop(running);
}

/// The hash is what a browser computes: that of the certificate that the server sends.
#[test]
fn dev_tls_serves_tls_with_a_certificate_for_localhost_and_prints_its_hash() {
    let start = || offhook(&["serve", "--listen", "0", "--dev-tls"]);
    let program = start();
    let directory = program.directory.path().to_owned();
    let mut running = program.start();
    let chat = running.line("chat");
    let (_, url) = chat.split_once("https://").expect("it is served over TLS");
    let address = url.trim_end_matches("/talk/").to_owned();
    let line = running.line("certificate  ");
    let hash = line.trim_start_matches("certificate").trim().to_owned();
    running.line("Ctrl-C stops it.");
    let cert = directory.join("offhook-data/dev-tls/cert.pem");
    let pem = std::fs::read(&cert).expect("the certificate is in the data directory");
    let der = CertificateDer::from_pem_slice(&pem).expect("a certificate");
    let computed = BASE64.encode(digest(&SHA256, &der).as_ref());
    assert_eq!(computed, hash);
    let key = std::fs::metadata(directory.join("offhook-data/dev-tls/key.pem")).expect("a key");
    assert_eq!(
        key.permissions().mode() & 0o077,
        0,
        "others cannot read the key"
    );
    let port = address.rsplit(':').next().expect("a port");
    let url = format!("wss://localhost:{port}/ws");
    let dial = [
        "dial",
        &url,
        "--subprotocol",
        "offhook.v1.json",
        "--linger",
        "1ms",
    ];
    let trusted = [&dial[..], &["--ca", cert.to_str().expect("a path")]].concat();
    let ended = offhook(&trusted).run_with("");
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let ended = offhook(&dial).run_with("");
    assert_ne!(ended.code, Some(0), "nobody else trusts it");
}

#[test]
fn dev_tls_beside_a_certificate_is_refused() {
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("signed");
    let ended = offhook(&[
        "--listen",
        "0",
        "--in-memory",
        "--dev-tls",
        "--tls-cert",
        "c.pem",
        "--tls-key",
        "k.pem",
    ])
    .file("c.pem", own.cert.pem())
    .file("k.pem", own.signing_key.serialize_pem())
    .run();
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("already has a certificate"),
        "{}",
        ended.stderr
    );
}

#[test]
fn in_memory_no_files_are_written() {
    let program = offhook(&["serve", "--listen", "0", "--in-memory"]);
    let directory = program.directory.path().to_owned();
    let (running, _) = serving(program);
    assert_eq!(directory.read_dir().expect("readable").count(), 0);
    drop(running);
}

#[test]
fn a_second_ctrl_c_stops_immediately() {
    let (mut running, address) =
        serving(offhook(&["--listen", "0", "--in-memory", "--drain", "1h"]));
    let line = open_connection(&address);
    running.signal(Signal::INT);
    running.error_line("stopping: clients have up to 3600 s to disconnect");
    running.signal(Signal::INT);
    let ended = running.end();
    assert_eq!(ended.code, Some(130), "{}", ended.stderr);
    drop(line);
}

#[test]
fn a_port_in_use_is_reported_with_what_to_do_and_exits_with_1() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("bound").to_string();
    let ended = offhook(&["--in-memory", "--listen", &address]).run();
    assert_eq!(ended.code, Some(1));
    assert!(
        ended
            .stderr
            .starts_with(&format!("error: {address} is in use")),
        "{}",
        ended.stderr
    );
    assert!(
        ended.stderr.contains("--listen 0 any free one"),
        "{}",
        ended.stderr
    );
}

#[test]
fn a_port_is_shared_with_another_server_only_on_request() {
    let (first, address) = serving(offhook(&["--in-memory", "--listen", "0"]));
    let ended = offhook(&["--in-memory", "--listen", &address]).run();
    assert_eq!(ended.code, Some(1), "{}", ended.stdout);
    let (second, shared) = serving(offhook(&[
        "--in-memory",
        "--share-port",
        "--listen",
        &address,
    ]));
    assert_eq!(shared, address);
    drop((first, second));
}

#[test]
fn data_in_use_by_another_server_is_not_touched() {
    let program = offhook(&["--listen", "0"]);
    let data = program
        .directory
        .path()
        .join("offhook-data")
        .display()
        .to_string();
    let (first, _) = serving(program);
    let ended = offhook(&["--listen", "0", "--data", &data]).run();
    assert_eq!(ended.code, Some(1), "{}", ended.stdout);
    assert!(
        ended.stderr.contains("another process uses this log"),
        "{}",
        ended.stderr
    );
    drop(first);
}

#[test]
fn with_json_every_line_of_every_kind_is_an_object() {
    let flags = ["--listen", "0", "--in-memory", "--log-format", "json"];
    let mut running = offhook(&flags).start();
    let mut seen = running.error_line_with("\"listening\"");
    let url = objects(&seen).pop().expect("a line")["url"].clone();
    let url = url.as_str().expect("a URL").to_owned();
    let address = url.trim_start_matches("ws://").trim_end_matches("/ws");
    // A refusal, a reload, and the end.
    assert!(get(address, "/nowhere").starts_with("HTTP/1.1 404"));
    let mut stranger = TcpStream::connect(address).expect("it listens");
    let request = "GET /ws HTTP/1.1\r\nHost: x\r\nOrigin: https://evil.example\r\nUpgrade: websocket\r\n\
                   Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stranger.write_all(request.as_bytes()).expect("it reads");
    seen += &running.error_line_with("\"refused\"");
    running.signal(Signal::HUP);
    seen += &running.error_line_with("read again");
    running.signal(Signal::TERM);
    let ended = running.end();
    seen += &ended.stderr;
    assert_eq!(ended.stdout, "", "a container merges both streams");
    let lines = objects(&seen);
    let refused = lines.iter().find(|line| line["message"] == "refused");
    let refused = refused.expect("the refusal");
    assert_eq!(refused["origin"], "https://evil.example");
    assert_eq!(refused["path"], "/ws");
    assert_eq!(refused["setting"], "origins");
    assert_eq!(refused["address"], "127.0.0.1");
    assert!(lines.iter().any(|line| line["message"] == "stopped"));
}

/// Parses each line as an object.
fn objects(lines: &str) -> Vec<serde_json::Value> {
    let object = |line: &str| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
    lines.lines().map(object).collect()
}

#[test]
fn with_json_a_server_that_cannot_start_says_so_in_an_object() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("bound").to_string();
    let flags = ["--in-memory", "--log-format", "json", "--listen", &address];
    let ended = offhook(&flags).run();
    assert_eq!(ended.code, Some(1));
    let lines = objects(&ended.stderr);
    let last = lines.last().expect("a line")["message"].to_string();
    assert!(last.contains("is in use"), "{last}");
}

#[test]
fn a_second_sigterm_stops_at_once() {
    let (mut running, address) =
        serving(offhook(&["--listen", "0", "--in-memory", "--drain", "1h"]));
    let line = open_connection(&address);
    running.signal(Signal::TERM);
    running.error_line("stopping: clients have up to 3600 s to disconnect");
    // A SIGTERM within the first second is ignored, because some supervisors send it twice.
    running.signal_until_the_end(Signal::TERM);
    let ended = running.end();
    assert_eq!(ended.code, Some(143), "{}", ended.stderr);
    drop(line);
}
