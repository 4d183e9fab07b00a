use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::{Instant, sleep};

use super::{Dialer, MOST_ADDRESSES, interleaved, race, resolve};
use crate::connect::deadline::Deadline;
use crate::connect::url::Host;
use crate::error::{Error, Phase};

fn addresses(list: &[&str]) -> Vec<SocketAddr> {
    let parse = |text: &&str| SocketAddr::new(text.parse().unwrap(), 80);
    list.iter().map(parse).collect()
}

fn hour() -> Deadline {
    Deadline::after(Duration::from_secs(3600))
}

/// An address of this machine that nothing listens on.
async fn closed() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}

/// A simulated network: each address answers after the given number of milliseconds, with success
/// or failure.
struct Network {
    hosts: Vec<(SocketAddr, u64, bool)>,
    began: Instant,
    /// When each attempt started, in milliseconds.
    started: Mutex<Vec<u128>>,
    running: AtomicUsize,
}

struct Running<'a>(&'a AtomicUsize);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Network {
    fn of(hosts: &[(&str, u64, bool)]) -> Self {
        let host =
            |&(address, answers, yes): &(&str, u64, bool)| (addresses(&[address])[0], answers, yes);
        Self {
            hosts: hosts.iter().map(host).collect(),
            began: Instant::now(),
            started: Mutex::default(),
            running: AtomicUsize::new(0),
        }
    }

    async fn connect(&self, address: SocketAddr) -> io::Result<SocketAddr> {
        self.started.lock().unwrap().push(self.elapsed());
        self.running.fetch_add(1, Ordering::Relaxed);
        let _running = Running(&self.running);
        let mut hosts = self.hosts.iter().filter(|(host, ..)| *host == address);
        let (_, answers, yes) = hosts.next().unwrap();
        sleep(Duration::from_millis(*answers)).await;
        if *yes {
            Ok(address)
        } else {
            Err(ErrorKind::ConnectionRefused.into())
        }
    }

    async fn race(&self) -> io::Result<SocketAddr> {
        let addresses = self.hosts.iter().map(|(address, ..)| *address).collect();
        race(addresses, |address| self.connect(address)).await
    }

    fn elapsed(&self) -> u128 {
        self.began.elapsed().as_millis()
    }

    fn started(&self) -> Vec<u128> {
        self.started.lock().unwrap().clone()
    }
}

#[test]
fn the_families_take_turns_from_the_one_the_system_prefers() {
    let given = addresses(&["::1", "::2", "::3", "10.0.0.1", "::2", "10.0.0.2"]);
    let expected = addresses(&["::1", "10.0.0.1", "::2", "10.0.0.2", "::3"]);
    assert_eq!(interleaved(given), expected);
    let given = addresses(&["10.0.0.1", "10.0.0.2", "::1"]);
    let expected = addresses(&["10.0.0.1", "::1", "10.0.0.2"]);
    assert_eq!(interleaved(given), expected);
    assert_eq!(interleaved(Vec::new()), []);
}

#[tokio::test(start_paused = true)]
async fn a_silent_address_gets_250_ms_before_the_next_is_tried_beside_it() {
    let network = Network::of(&[("::1", 60_000, true), ("10.0.0.1", 30, true)]);
    assert_eq!(network.race().await.unwrap(), addresses(&["10.0.0.1"])[0]);
    assert_eq!(network.started(), [0, 250]);
    assert_eq!(network.elapsed(), 280);
}

#[tokio::test(start_paused = true)]
async fn an_address_that_answers_late_still_wins_if_it_answers_first() {
    let network = Network::of(&[("::1", 300, true), ("10.0.0.1", 100, true)]);
    assert_eq!(network.race().await.unwrap(), addresses(&["::1"])[0]);
    assert_eq!(network.elapsed(), 300);
}

#[tokio::test(start_paused = true)]
async fn a_failure_starts_the_next_attempt_immediately() {
    let network = Network::of(&[
        ("::1", 10, false),
        ("10.0.0.1", 1000, true),
        ("::2", 20, false),
        ("10.0.0.2", 1, true),
    ]);
    assert_eq!(network.race().await.unwrap(), addresses(&["10.0.0.2"])[0]);
    assert_eq!(network.started(), [0, 10, 260, 280]);
}

#[tokio::test(start_paused = true)]
async fn the_other_attempts_are_cancelled_when_one_succeeds() {
    let network = Network::of(&[
        ("::1", 60_000, true),
        ("::2", 60_000, true),
        ("::3", 1, true),
    ]);
    network.race().await.unwrap();
    assert_eq!(network.started().len(), 3);
    assert_eq!(network.running.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn of_two_simultaneous_successes_one_is_kept() {
    // Both at 300 ms.
    let network = Network::of(&[("::1", 300, true), ("10.0.0.1", 50, true)]);
    let won = network.race().await.unwrap();
    assert!(network.hosts.iter().any(|(address, ..)| *address == won));
    assert_eq!(network.started(), [0, 250]);
    assert_eq!(network.elapsed(), 300);
    assert_eq!(network.running.load(Ordering::Relaxed), 0);
}

/// RFC 6455 §4.1: one connection at a time to an address, "even if the remote host is known by
/// another name".
#[tokio::test(start_paused = true)]
async fn an_address_is_tried_once_even_if_it_is_given_several_times_in_different_forms() {
    let silent = |address| (address, 60_000, false);
    let network = Network::of(&["::1", "10.0.0.1", "10.0.0.2"].map(silent));
    let named = [
        "::1",
        "::ffff:10.0.0.1",
        "10.0.0.1",
        "::1",
        "10.0.0.2",
        "10.0.0.1",
    ];
    let usable = Dialer::default().usable(&addresses(&named)).unwrap();
    let expected = addresses(&["::1", "10.0.0.1", "10.0.0.2"]);
    assert_eq!(usable, expected);
    let raced = race(usable, |address| network.connect(address)).await;
    raced.unwrap_err();
    assert_eq!(network.started(), [0, 250, 500]);
}

#[test]
fn another_port_or_scope_is_another_address() {
    let given: Vec<SocketAddr> = ["[fe80::1%1]:80", "[fe80::1%2]:80", "[fe80::1%1]:81"]
        .map(|text| text.parse().unwrap())
        .to_vec();
    assert_eq!(interleaved(given.clone()), given);
}

#[tokio::test(start_paused = true)]
async fn when_all_attempts_fail_the_error_lists_each() {
    let network = Network::of(&[("::1", 500, false), ("10.0.0.1", 10, false)]);
    let error = network.race().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    let expected = "10.0.0.1:80: connection refused, [::1]:80: connection refused";
    assert_eq!(error.to_string(), expected);
    assert_eq!(network.elapsed(), 500);
}

#[tokio::test]
async fn a_connection_has_tcp_nodelay() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let list = [closed().await, address];
    let dialer = Dialer::default();
    let stream = dialer.connect_to("both", &list, hour()).await.unwrap();
    assert_eq!(stream.peer_addr().unwrap(), address);
    assert!(stream.nodelay().unwrap());
}

#[tokio::test]
async fn the_local_address_is_the_one_bound_to() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let local: IpAddr = Ipv4Addr::new(127, 0, 0, 2).into();
    let dialer = Dialer { bind: Some(local) };
    // An address of the other family cannot be reached from it and is not tried.
    let list = [addresses(&["::1"])[0], address];
    let connecting = dialer.connect_to("both", &list, hour());
    let (connected, accepted) = tokio::join!(connecting, listener.accept());
    assert_eq!(accepted.unwrap().1.ip(), local);
    assert_eq!(connected.unwrap().local_addr().unwrap().ip(), local);

    let error = dialer.connect_to("v6", &list[..1], hour()).await;
    let error = error.unwrap_err();
    assert!(!error.is_retryable(), "{error}");
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("127.0.0.2"), "{source}");
}

#[tokio::test]
async fn a_timeout_names_the_addresses_that_were_tried() {
    // A listener whose queue is full does not answer.
    let (_listener, _queued, address) = full_listener().await;
    let deadline = Deadline::after(Duration::from_millis(20));
    let dialer = Dialer::default();
    let error = dialer
        .connect_to("example.com:80", &[address], deadline)
        .await;
    let Err(Error::Timeout { phase, to }) = error else {
        panic!("{error:?}");
    };
    assert_eq!(phase, Phase::Connect);
    assert_eq!(&*to, "example.com:80 (127.0.0.1)");
}

async fn full_listener() -> (TcpListener, Vec<tokio::net::TcpStream>, SocketAddr) {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    let mut queued = Vec::new();
    // The kernel accepts a few more than requested. The queue is full when a connection is not
    // accepted at once.
    while let Ok(stream) = tokio::time::timeout(
        Duration::from_millis(300),
        tokio::net::TcpStream::connect(address),
    )
    .await
    {
        queued.push(stream.unwrap());
    }
    (listener, queued, address)
}

#[tokio::test]
async fn names_are_looked_up_and_addresses_are_not() {
    let host = Host::parse("localhost").unwrap();
    let found = resolve(&host, 81, "localhost:81", hour()).await.unwrap();
    assert!((1..=MOST_ADDRESSES).contains(&found.len()));
    assert!(
        found
            .iter()
            .all(|address| address.ip().is_loopback() && address.port() == 81)
    );

    let host = Host::parse("[2001:db8::1]").unwrap();
    let found = resolve(&host, 81, "", hour()).await.unwrap();
    assert_eq!(found, ["[2001:db8::1]:81".parse().unwrap()]);
}

#[tokio::test]
async fn a_name_that_does_not_exist_is_an_error_that_names_it() {
    // RFC 6761 §6.4: `invalid` never exists.
    let host = Host::parse("nobody.invalid").unwrap();
    let error = Dialer::default()
        .connect(&host, 80, hour())
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "cannot connect to nobody.invalid:80");
    assert!(error.is_retryable());
}
