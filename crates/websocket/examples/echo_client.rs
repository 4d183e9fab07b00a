//! Connects, sends "hello", expects it back, and closes with 1000. The exit status is 0 only then.
//!
//! ```console
//! $ cargo run --release -p offhook --example echo_server -- 127.0.0.1:9001
//! $ cargo run --release -p offhook --example echo_client -- ws://127.0.0.1:9001
//! ```
//!
//! `echo_client URL [--ca FILE]`
#![expect(clippy::print_stdout, reason = "a program with an output")]

use std::error::Error;

use offhook::Connect;
use offhook::protocol::CloseCode;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().unwrap_or("ws://127.0.0.1:9001".to_owned());
    let mut connect = Connect::to(&url);
    if arguments.next().as_deref() == Some("--ca") {
        connect = trusting(connect, &arguments.next().ok_or("--ca needs a file")?)?;
    }
    let mut socket = connect.open().await?;
    socket.send("hello").await?;
    let answer = socket.recv().await?.ok_or("closed without an answer")?;
    if answer.as_text() != Some("hello") {
        return Err(format!("sent \"hello\", received {answer}").into());
    }
    let closed = socket.close(CloseCode::NORMAL, "").await?;
    if closed.code != CloseCode::NORMAL || !closed.clean {
        return Err(format!("closed with {}, clean: {}", closed.code, closed.clean).into());
    }
    println!("{answer}");
    Ok(())
}

#[cfg(feature = "tls")]
fn trusting(connect: Connect, authority: &str) -> Result<Connect, Box<dyn Error>> {
    let pem = std::fs::read(authority)?;
    Ok(connect.tls(offhook::Tls::builder().root_pem(&pem)?.build()?))
}

#[cfg(not(feature = "tls"))]
fn trusting(_: Connect, _: &str) -> Result<Connect, Box<dyn Error>> {
    Err("built without TLS".into())
}
