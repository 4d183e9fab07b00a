//! A running server is handed over to a new process, by `offhook upgrade` and by SIGUSR2.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    os::unix::{
        fs::{PermissionsExt as _, symlink},
        net::UnixDatagram,
    },
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use offhook_client::{Client, Event, Since};
use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::{mpsc, watch};

use crate::{
    program::{Ended, Program, Running, offhook},
    serve::{open_connection, serving},
};

/// A server with its data in a directory of its own, and the processes that replace it.
struct Server {
    running: Running,
    address: String,
    data: PathBuf,
}

impl Server {
    /// With this configuration file and these flags.
    fn start(text: &str, flags: &[&str], change: impl FnOnce(Program) -> Program) -> Self {
        let own = ["serve", "--listen", "0", "--config", "offhook.toml"];
        let program = offhook(&[&own, flags].concat()).file("offhook.toml", text);
        let (running, address) = serving(change(program));
        Self {
            data: running.directory().join("offhook-data"),
            running,
            address,
        }
    }

    /// Replaces the configuration file.
    fn configure(&self, text: &str) {
        let file = self.running.directory().join("offhook.toml");
        fs::write(file, text).expect("written");
    }

    /// The process that serves now.
    fn process(&self) -> Pid {
        let text = fs::read_to_string(self.data.join("offhook.pid")).expect("a process serves");
        // Nothing but the id, for kill $(cat offhook.pid).
        let id = text.trim_end().parse().ok();
        Pid::from_raw(id.expect("an id")).expect("an id")
    }

    fn upgrade(&self) -> Ended {
        offhook(&["upgrade", "--data", &self.data.display().to_string()]).run()
    }

    /// Stops the process that serves now, and returns what all of them said.
    fn stop(self) -> Ended {
        kill_process(self.process(), Signal::TERM).expect("it runs");
        self.running.end()
    }
}

/// No process must be left when a test fails.
struct Guard<'a>(&'a Path);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if !thread::panicking() {
            return;
        }
        let text = fs::read_to_string(self.0.join("offhook.pid")).unwrap_or_default();
        let id = text.lines().next().and_then(|id| id.parse().ok());
        if let Some(process) = id.and_then(Pid::from_raw) {
            let _ended = kill_process(process, Signal::KILL);
        }
    }
}

fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("no connection is refused");
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    answer
}

const SUBSCRIBERS: usize = 1_000;
const CHANNELS: usize = 10;
/// Publications in each channel before, between and after the upgrades.
const EACH: u64 = 10;

/// Opens connections one after the other until it is told to stop. None may be refused. Returns how many
/// requests were answered, and how many were cut off because the old process had no time left.
fn knock(address: &str, ends: &AtomicBool) -> (usize, usize) {
    let (mut answered, mut cut) = (0, 0);
    while !ends.load(Ordering::Relaxed) {
        let mut stream = TcpStream::connect(address).expect("no connection is refused");
        let request = format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\n\r\n");
        let written = stream.write_all(request.as_bytes());
        let mut status = [0; 12];
        match written.and_then(|()| stream.read_exact(&mut status)) {
            Ok(()) => {
                assert_eq!(&status, b"HTTP/1.1 200");
                answered += 1;
            }
            Err(_) => cut += 1,
        }
    }
    (answered, cut)
}

/// Receives the publications of a channel until there are as many as were published.
async fn receive(
    url: &str,
    number: usize,
    mut total: watch::Receiver<Option<u64>>,
    ready: mpsc::Sender<()>,
) {
    let client = Client::connect(url).await.expect("it connects");
    let channel = format!("load/{}", number % CHANNELS);
    let subscribing = client.subscribe(&channel).since(Since::Start);
    let mut subscription = subscribing.await.expect("subscribed");
    ready.send(()).await.expect("it is waited for");
    let mut expected = 0_u64;
    loop {
        let complete = async {
            let reached = total.wait_for(|total| *total == Some(expected)).await;
            drop(reached.expect("it is told"));
        };
        let event = tokio::select! {
            event = subscription.next() => event.expect("it goes on").expect("it goes on"),
            () = complete => break,
        };
        if let Event::Publication(publication) = event {
            let text = publication.data.text();
            let wanted = expected.to_string();
            assert_eq!(text.as_deref(), Some(wanted.as_str()), "client {number}");
            expected += 1;
        } else if let Event::Gap(gap) = event {
            panic!("client {number} misses something: {gap:?}");
        }
    }
    client.close().await;
}

/// Publishes numbers in a channel until told to stop; returns how many.
async fn publish(url: &str, number: usize, ends: Arc<AtomicBool>, ready: mpsc::Sender<()>) -> u64 {
    let client = Client::connect(url).await.expect("it connects");
    ready.send(()).await.expect("it is waited for");
    let channel = format!("load/{number}");
    let mut count = 0;
    while !ends.load(Ordering::Relaxed) || count < EACH {
        let publication = client.publish(&channel, count.to_string());
        publication.await.expect("published");
        count += 1;
    }
    client.close().await;
    count
}

#[test]
fn a_rolling_upgrade_under_load_refuses_no_connection_and_loses_and_repeats_nothing() {
    let flags = [
        "--workers",
        "2",
        "--log-level",
        "warn",
        "--connections-handshakes-per-second",
        "100000",
    ];
    let server = Server::start("", &flags, |program| program);
    let url = format!("ws://{}/ws", server.address);
    let ends = Arc::new(AtomicBool::new(false));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.expect("a runtime");
    let knocking = {
        let (address, ends) = (server.address.clone(), Arc::clone(&ends));
        thread::spawn(move || knock(&address, &ends))
    };
    // The upgrades are begun and awaited on another thread, while the clients run on this one.
    let upgrading = |server: Server, ends: Arc<AtomicBool>| {
        thread::spawn(move || {
            let mut processes = vec![server.process()];
            for _ in 0..2 {
                let ended = server.upgrade();
                assert_eq!(ended.code, Some(0), "{}{}", ended.stderr, ended.stdout);
                println!("{}", ended.stdout.trim());
                processes.push(server.process());
            }
            ends.store(true, Ordering::Relaxed);
            (server, processes)
        })
    };
    let data = server.data.clone();
    let _guard = Guard(&data);
    let (server, processes, published) = runtime.block_on(async {
        let totals: Vec<_> = (0..CHANNELS).map(|_| watch::Sender::new(None)).collect();
        let (ready, mut readied) = mpsc::channel(1);
        let mut subscribers = tokio::task::JoinSet::new();
        for number in 0..SUBSCRIBERS {
            let (url, total) = (url.clone(), totals[number % CHANNELS].subscribe());
            let ready = ready.clone();
            subscribers.spawn(async move { receive(&url, number, total, ready).await });
        }
        let mut publishers = tokio::task::JoinSet::new();
        for number in 0..CHANNELS {
            let (url, ends, ready) = (url.clone(), Arc::clone(&ends), ready.clone());
            publishers.spawn(async move { (number, publish(&url, number, ends, ready).await) });
        }
        for _ in 0..SUBSCRIBERS + CHANNELS {
            readied.recv().await.expect("all of them connect");
        }
        let upgrading = upgrading(server, Arc::clone(&ends));
        let mut published = 0;
        while let Some(ended) = publishers.join_next().await {
            let (number, count) = ended.expect("it published");
            published += count;
            totals[number].send_replace(Some(count));
        }
        while let Some(ended) = subscribers.join_next().await {
            ended.expect("it received everything");
        }
        let (server, processes) = upgrading.join().expect("upgraded");
        (server, processes, published)
    });
    let (answered, cut) = knocking.join().expect("no connection was refused");
    println!(
        "{published} publications to {SUBSCRIBERS} connections; {answered} new connections, {cut} cut off"
    );
    assert!(answered > 0 && published >= EACH * CHANNELS as u64);
    assert!(
        processes.windows(2).all(|pair| pair[0] != pair[1]),
        "{processes:?}"
    );
    // All three processes have ended when nobody has their output open any more.
    let ended = server.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

#[test]
fn if_the_new_process_cannot_start_the_old_one_goes_on_without_closing_a_connection() {
    let flags = ["--connections-connect-timeout", "1h"];
    let mut server = Server::start("", &flags, |program| program);
    let data = server.data.clone();
    let _guard = Guard(&data);
    let mut open = open_connection(&server.address);
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        open.read_exact(&mut byte).expect("the rest of the answer");
        head.extend(byte);
    }
    let before = server.process();
    // Valid in itself, but the file does not exist.
    server.configure("[api]\nkey_files = \"nowhere\"\n");
    let ended = server.upgrade();
    assert_eq!(ended.code, Some(1), "{}", ended.stdout);
    assert!(ended.stderr.contains("and process"), "{}", ended.stderr);
    server.running.error_line_with("nowhere");
    server
        .running
        .error_line_with("the upgrade has failed, and this process continues");
    assert_eq!(server.process(), before);
    assert!(get(&server.address, "/healthz").starts_with("HTTP/1.1 200"));
    // RFC 6455 §5.5.2: a ping, whose mask is zero.
    open.write_all(&[0x89, 0x80, 0, 0, 0, 0]).expect("it reads");
    let mut pong = [0; 2];
    open.read_exact(&mut pong).expect("it answers");
    assert_eq!(pong, [0x8a, 0]);
    // Once it is corrected, the same server can be upgraded.
    server.configure("");
    assert_eq!(server.upgrade().code, Some(0));
    assert_eq!(server.stop().code, Some(0));
}

#[test]
fn if_the_new_process_cannot_open_the_log_the_old_one_opens_it_again() {
    let mut server = Server::start("", &[], |program| program.file("file", ""));
    let data = server.data.clone();
    let _guard = Guard(&data);
    let before = server.process();
    // A file is not a directory, which the new process notices after the old one has closed its log.
    server.configure("data = \"file/data\"");
    let ended = server.upgrade();
    assert_eq!(ended.code, Some(1), "{}", ended.stdout);
    server.running.error_line_with("the upgrade has failed");
    assert_eq!(server.process(), before);
    assert!(get(&server.address, "/healthz").starts_with("HTTP/1.1 200"));
    assert_eq!(server.stop().code, Some(0));
}

#[test]
fn after_a_failed_upgrade_the_server_has_the_settings_with_which_it_was_running() {
    let mut server = Server::start("", &[], |program| program.file("file", ""));
    let data = server.data.clone();
    let _guard = Guard(&data);
    let before = server.process();
    server.configure("data = \"file/data\"\nhosts = [\"chat.example.com\"]");
    server.running.signal(Signal::HUP);
    server
        .running
        .error_line_with("a setting has changed, which takes effect at the next start");
    let ended = server.upgrade();
    assert_eq!(ended.code, Some(1), "{}", ended.stdout);
    server.running.error_line_with("the upgrade has failed");
    // It serves the data that it served before, with the setting that a reload applies.
    assert_eq!(server.process(), before);
    assert!(get(&server.address, "/healthz").starts_with("HTTP/1.1 200"));
    assert_eq!(server.stop().code, Some(0));
}

#[test]
fn a_link_that_leads_to_a_newer_version_starts_the_newer_version() {
    let server = Server::start("", &[], |program| program.by_link("current"));
    let data = server.data.clone();
    let _guard = Guard(&data);
    let directory = server.running.directory();
    let (link, newer) = (directory.join("current"), directory.join("newer"));
    let script = format!(
        "#!/bin/sh\n: > newer-was-started\nexec {} \"$@\"\n",
        env!("CARGO_BIN_EXE_offhook")
    );
    fs::write(&newer, script).expect("written");
    fs::set_permissions(&newer, fs::Permissions::from_mode(0o755)).expect("executable");
    fs::remove_file(&link).expect("removed");
    symlink(&newer, &link).expect("linked");
    let ended = server.upgrade();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(directory.join("newer-was-started").exists());
    assert_eq!(server.stop().code, Some(0));
}

#[test]
fn a_signal_to_stop_during_the_hand_over_stops_both_processes() {
    let flags = ["--connections-connect-timeout", "1h"];
    let server = Server::start("", &flags, |program| program);
    let data = server.data.clone();
    let _guard = Guard(&data);
    // It does not answer the Close, so the old process waits for it after the hand-over has begun.
    let _open = open_connection(&server.address);
    let address = server.address.clone();
    server.running.signal(Signal::USR2);
    // The old process removes its file when the new one is prepared.
    while data.join("offhook.pid").exists() {
        thread::yield_now();
    }
    server.running.signal(Signal::TERM);
    // Both have ended when nobody has their output open any more.
    let ended = server.running.end();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn sigusr2_upgrades_too_and_the_supervisor_is_told_the_new_process() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("notify");
    let supervisor = UnixDatagram::bind(&path).expect("bound");
    let heard = || {
        let mut message = [0; 256];
        let length = supervisor.recv(&mut message).expect("a message");
        String::from_utf8_lossy(&message[..length]).into_owned()
    };
    let notifying = |program: Program| program.env("NOTIFY_SOCKET", &path.display().to_string());
    let server = Server::start("", &[], notifying);
    let data = server.data.clone();
    let _guard = Guard(&data);
    assert_eq!(heard(), "READY=1");
    server.running.signal(Signal::USR2);
    let told = heard();
    let process = server.process().as_raw_nonzero();
    assert_eq!(told, format!("MAINPID={process}"));
    let address = server.address.clone();
    assert!(get(&address, "/healthz").starts_with("HTTP/1.1 200"));
    assert_eq!(server.stop().code, Some(0));
    // This comes from the new process, to which the supervisor listens by now.
    assert_eq!(heard(), "STOPPING=1");
}

#[test]
fn a_socket_of_systemd_is_served_and_handed_over() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound").to_string();
    let activated = |program: Program| program.with_socket("web", listener);
    let server = Server::start("", &["--listen", "systemd:web"], activated);
    let data = server.data.clone();
    let _guard = Guard(&data);
    assert!(get(&address, "/healthz").starts_with("HTTP/1.1 200"));
    let ended = server.upgrade();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(get(&address, "/healthz").starts_with("HTTP/1.1 200"));
    assert_eq!(server.stop().code, Some(0));
}

#[test]
fn without_a_running_server_there_is_nothing_to_upgrade() {
    let ended = offhook(&["upgrade"]).run();
    assert_eq!(ended.code, Some(1));
    assert!(
        ended
            .stderr
            .contains("no running server uses ./offhook-data"),
        "{}",
        ended.stderr
    );
}

#[test]
fn nobody_takes_over_from_a_process_that_hands_nothing_over() {
    let ended = offhook(&["serve", "--in-memory", "--take-over"]).run();
    assert_eq!(ended.code, Some(2), "{}", ended.stdout);
    assert!(
        ended.stderr.contains("`offhook upgrade` starts"),
        "{}",
        ended.stderr
    );
}
