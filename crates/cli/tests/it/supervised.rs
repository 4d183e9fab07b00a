//! A supervisor like systemd is told what the server does.

use std::os::unix::net::UnixDatagram;

use rustix::process::Signal;

use crate::{program::offhook, serve::serving};

#[test]
fn a_supervisor_is_told_when_the_server_is_ready_and_when_it_stops() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("notify");
    let supervisor = UnixDatagram::bind(&path).expect("bound");
    let heard = || {
        let mut message = [0; 256];
        let length = supervisor.recv(&mut message).expect("a message");
        String::from_utf8_lossy(&message[..length]).into_owned()
    };
    let program = offhook(&["serve", "--listen", "0", "--in-memory"]);
    let (running, _) = serving(program.env("NOTIFY_SOCKET", &path.display().to_string()));
    assert_eq!(heard(), "READY=1");
    running.signal(Signal::TERM);
    assert_eq!(heard(), "STOPPING=1");
    assert_eq!(running.end().code, Some(0));
}

#[cfg(target_os = "linux")]
#[test]
fn the_supervisor_may_listen_at_an_abstract_name() {
    use std::os::{linux::net::SocketAddrExt as _, unix::net::SocketAddr};

    let name = format!("offhook-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).expect("a name");
    let supervisor = UnixDatagram::bind_addr(&address).expect("bound");
    let program = offhook(&["serve", "--listen", "0", "--in-memory"]);
    let (running, _) = serving(program.env("NOTIFY_SOCKET", &format!("@{name}")));
    let mut message = [0; 256];
    let length = supervisor.recv(&mut message).expect("a message");
    assert_eq!(&message[..length], b"READY=1");
    drop(running);
}

#[test]
fn a_supervisor_that_does_not_listen_stops_nobody() {
    let program = offhook(&["serve", "--listen", "0", "--in-memory"]);
    let (running, _) = serving(program.env("NOTIFY_SOCKET", "/nowhere/notify"));
    running.signal(Signal::TERM);
    assert_eq!(running.end().code, Some(0));
}
