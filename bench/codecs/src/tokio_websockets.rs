//! tokio-websockets, through its stream and sink.

use std::sync::Arc;

use futures_util::{SinkExt, StreamExt};
use tokio_websockets::{ClientBuilder, Message, ServerBuilder, WebSocketStream};

use crate::memory::{Memory, run};
use crate::race::Work;
use crate::traffic::Traffic;

pub const NAME: &str = "tokio-websockets";

fn socket(wire: &Arc<[u8]>, server: bool) -> WebSocketStream<Memory> {
    let memory = Memory::new(wire);
    if server {
        ServerBuilder::new().serve(memory)
    } else {
        ClientBuilder::new().take_over(memory)
    }
}

pub fn read(traffic: Traffic, wire: &Arc<[u8]>) -> Work {
    let mut socket = socket(wire, traffic.masked);
    Box::new(move |count| {
        run(async {
            for _ in 0..count {
                let message = socket.next().await.expect("endless").expect("valid");
                assert_eq!(message.as_payload().len(), traffic.size);
            }
        });
        count
    })
}

pub fn echo(traffic: Traffic, wire: &Arc<[u8]>) -> Work {
    let mut socket = socket(wire, true);
    Box::new(move |count| {
        run(async {
            let mut done = 0;
            while done < count {
                for _ in 0..traffic.batch() {
                    let message = socket.next().await.expect("endless").expect("valid");
                    assert_eq!(message.as_payload().len(), traffic.size);
                    socket.feed(message).await.expect("open");
                    done += 1;
                }
                socket.flush().await.expect("memory takes all");
            }
            done
        })
    })
}

pub fn write(traffic: Traffic, server: bool) -> Work {
    let mut socket = socket(&[].into(), server);
    let payload = traffic.content.payload(traffic.size);
    Box::new(move |count| {
        run(async {
            let mut done = 0;
            while done < count {
                for _ in 0..traffic.batch() {
                    let message = Message::binary(payload.clone());
                    socket.feed(message).await.expect("open");
                    done += 1;
                }
                socket.flush().await.expect("memory takes all");
            }
            done
        })
    })
}
