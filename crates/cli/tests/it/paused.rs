//! A server that is stopped and continued, as a machine that is suspended.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    thread,
    time::Duration,
};

use rustix::process::Signal;

use crate::program::offhook;

/// CONNECT of MQTT 3.1.1, with a keep-alive of one second. Each client has its own id.
fn connect(address: &str, id: u8) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("it listens");
    let patience = Some(Duration::from_secs(30));
    stream.set_read_timeout(patience).expect("a time");
    let head = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x01\x00\x01";
    stream.write_all(head).expect("it reads");
    stream.write_all(&[id]).expect("it reads");
    let mut connack = [0; 4];
    stream.read_exact(&mut connack).expect("it answers");
    assert_eq!(connack, *b"\x20\x02\x00\x00");
    stream
}

const PINGREQ: &[u8] = b"\xc0\x00";

fn is_answered(stream: &mut TcpStream) -> bool {
    let mut pingresp = [0; 2];
    stream.read_exact(&mut pingresp).is_ok() && pingresp == *b"\xd0\x00"
}

#[test]
fn a_pause_of_the_server_is_not_taken_for_silence_of_its_clients() {
    let program = ["serve", "--in-memory", "--listen", "0"];
    let mut server = offhook(&[&program[..], &["--mqtt-listen", "127.0.0.1:0"]].concat()).start();
    let line = server.line("mqtt");
    let (_, address) = line.split_once("://").expect("a URL");
    let mut clients: Vec<_> = (b'a'..=b'z').map(|id| connect(address, id)).collect();
    server.signal(Signal::STOP);
    for client in &mut clients {
        client.write_all(PINGREQ).expect("the system reads");
    }
    // The pause itself: longer than one and a half times the keep-alive, and than an event loop may
    // be late.
    thread::sleep(Duration::from_secs(3));
    server.signal(Signal::CONT);
    let answered = clients.iter_mut().filter_map(|client| {
        let was_answered = is_answered(client);
        was_answered.then(|| client.write_all(PINGREQ).ok())?;
        is_answered(client).then_some(())
    });
    assert_eq!(answered.count(), 26);
}
