//! The example drivers of `offhook-protocol`, on plain threads and on smol, with this library's
//! client at the other end.

#[path = "../../../protocol/examples/blocking/mod.rs"]
mod blocking;
#[path = "../../../protocol/examples/smol_driver/mod.rs"]
mod smol_driver;

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::Duration;

use offhook::protocol::CloseCode;
use offhook::{Config, DeflateConfig, Keepalive, WebSocket};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::scripted::to;

/// Serves one connection, and reports when it is done.
type Driver = fn(TcpStream, Config);

fn on_a_thread(stream: TcpStream, config: Config) {
    blocking::echo(stream, config).ok();
}

fn on_smol(stream: TcpStream, config: Config) {
    let stream = smol::Async::new(stream).unwrap().into();
    smol::block_on(smol_driver::echo(stream, config)).ok();
}

const DRIVERS: [Driver; 2] = [on_a_thread, on_smol];

fn serve_one(driver: Driver, config: Config) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serving = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        driver(stream, config);
    });
    (address, serving)
}

async fn echoes(socket: &mut WebSocket, message: impl Into<offhook::Message>) {
    let message = message.into();
    let (sender, sent) = (socket.sender(), message.clone());
    // A blocking driver writes an echo before it reads more, so the peer has to receive in the
    // meantime.
    let sending = tokio::spawn(async move { sender.send(sent).await });
    let received = socket.recv().await.unwrap();
    assert!(received == Some(message), "it came back changed");
    sending.await.unwrap().unwrap();
}

#[tokio::test]
async fn each_example_driver_echoes_what_the_client_sends_and_closes_in_order() {
    for driver in DRIVERS {
        for compressed in [false, true] {
            let (address, serving) = serve_one(driver, Config::default());
            let mut connect = to(format!("ws://{address}/"));
            if compressed {
                connect = connect.deflate(DeflateConfig::default());
            }
            let mut socket = connect.open().await.unwrap();
            echoes(&mut socket, "").await;
            echoes(&mut socket, "hello").await;
            echoes(&mut socket, vec![7_u8; 1 << 20]).await;
            for n in 0..100 {
                echoes(&mut socket, n.to_string()).await;
            }
            socket.ping().await.unwrap();
            let closed = socket.close(CloseCode::new(4001), "done").await.unwrap();
            assert!(closed.clean, "{closed:?}");
            assert_eq!(closed.code, CloseCode::new(4001));
            serving.join().unwrap();
        }
    }
}

#[tokio::test]
async fn each_example_driver_pings_a_silent_client_and_abandons_it() {
    for driver in DRIVERS {
        let keepalive = Keepalive {
            interval: Some(Duration::from_millis(10)),
            pong_timeout: Duration::from_millis(10),
        };
        let config = Config {
            keepalive,
            ..Config::default()
        };
        let (address, serving) = serve_one(driver, config);
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        stream.write_all(&request(address)).await.unwrap();
        let mut said = Vec::new();
        stream.read_to_end(&mut said).await.unwrap();
        let end = said.windows(4).position(|four| four == b"\r\n\r\n");
        let frames = &said[end.unwrap() + 4..];
        // A ping with eight bytes of payload.
        assert_eq!(frames[..2], [0x89, 8], "{frames:?}");
        serving.join().unwrap();
    }
}

#[tokio::test]
async fn each_example_driver_answers_a_breach_of_the_protocol_with_its_code() {
    for driver in DRIVERS {
        let (address, serving) = serve_one(driver, Config::default());
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        stream.write_all(&request(address)).await.unwrap();
        // It is not masked.
        stream.write_all(b"\x81\x01a").await.unwrap();
        let mut said = Vec::new();
        stream.read_to_end(&mut said).await.unwrap();
        let end = said.windows(4).position(|four| four == b"\r\n\r\n");
        let frames = &said[end.unwrap() + 4..];
        assert_eq!(frames[0], 0x88, "{frames:?}");
        assert_eq!(frames[2..4], 1002_u16.to_be_bytes(), "{frames:?}");
        serving.join().unwrap();
    }
}

fn request(address: SocketAddr) -> Vec<u8> {
    let head = format!(
        "GET / HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    );
    head.into_bytes()
}
