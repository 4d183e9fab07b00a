//! The memory of an idle connection.

use allocation_counter::measure;
use offhook::protocol::handshake::Negotiated;
use offhook::{Settings, WebSocket};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};

const CONNECTIONS: usize = 100;

type Ends = (WebSocket, WebSocket);

fn connect(runtime: &Runtime, listener: &TcpListener, settings: &Settings) -> Ends {
    runtime.block_on(async {
        let near = TcpStream::connect(listener.local_addr().unwrap());
        let (near, far) = tokio::join!(near, listener.accept());
        let agreed = Negotiated::default;
        let client = WebSocket::client(near.unwrap(), agreed(), &[], settings);
        let server = WebSocket::server(far.unwrap().0, agreed(), &[], settings);
        (client, server)
    })
}

fn echo(runtime: &Runtime, (client, server): &mut Ends, message: &[u8]) {
    runtime.block_on(async {
        client.send(message).await.unwrap();
        let received = server.recv().await.unwrap().unwrap();
        server.send(received).await.unwrap();
        // Written when the server's end receives again; a long message takes several polls.
        let (echoed, idle) = (client.recv(), server.recv());
        tokio::select! {
            biased;
            _ = idle => panic!("nothing more was sent"),
            echoed = echoed => assert_eq!(echoed.unwrap().unwrap().as_bytes(), message),
        }
    });
}

/// Bytes held per end after `act` was applied to all of them.
fn held_after(mut act: impl FnMut()) -> i64 {
    measure(&mut act).bytes_current / (2 * i64::try_from(CONNECTIONS).unwrap())
}

#[test]
fn an_idle_connection_holds_no_buffer_fresh_or_after_a_burst() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let settings = Settings::default();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let burst = vec![7; 64 * 1024];
    // The shared memory of a thread's connections is allocated from here on.
    let mut first = connect(&runtime, &listener, &settings);
    echo(&runtime, &mut first, &burst);

    let mut all = Vec::with_capacity(CONNECTIONS);
    let fresh = held_after(|| {
        for _ in 0..CONNECTIONS {
            all.push(connect(&runtime, &listener, &settings));
        }
        for ends in &mut all {
            echo(&runtime, ends, b"hello");
        }
    });
    assert!(fresh < 1_280, "{fresh} bytes when fresh");

    let more = held_after(|| {
        for ends in &mut all {
            echo(&runtime, ends, &burst);
        }
    });
    assert!(more < 64, "{more} bytes more after a burst");
}

#[test]
fn unsent_output_is_held_only_until_it_is_written() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (mut client, server) = offhook::pair();
        let held = measure(|| {
            for _ in 0..200 {
                server.try_send(vec![0; 1_000]).unwrap();
            }
        });
        assert!(held.bytes_current >= 200_000);
        let receiving = async {
            for _ in 0..200 {
                client.recv().await.unwrap();
            }
        };
        receiving.await;
        assert_eq!(server.buffered_amount(), 0);
    });
}
