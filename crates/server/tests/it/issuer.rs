//! Who makes tokens, and publishes keys.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use offhook_auth::{Algorithm, Signer};
use offhook_server::{
    Config,
    config::{Auth, TokenSecret},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    task::{JoinHandle, spawn},
};

use crate::hall::config;

pub(crate) const SECRET: &[u8] = b"a secret of thirty-two bytes....";

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.unwrap().as_secs()
}

/// A server that takes the tokens of [`token`], and has no patience with clocks.
pub(crate) fn with_tokens(change: impl FnOnce(&mut Auth)) -> Config {
    let mut config = config();
    config.auth.secrets = vec![TokenSecret(SECRET.to_vec())];
    config.auth.leeway = std::time::Duration::ZERO;
    change(&mut config.auth);
    config
}

/// A token with these claims, and an end in an hour where they name none.
pub(crate) fn token(mut claims: Value) -> String {
    if claims.get("exp").is_none() {
        claims["exp"] = (now() + 3600).into();
    }
    signer().sign(&claims).unwrap()
}

pub(crate) fn of(user: &str) -> String {
    token(json!({ "sub": user }))
}

fn signer() -> Signer {
    Signer::hmac(Algorithm::Hs256, SECRET).unwrap()
}

/// An HTTP server that gives the same answer to every request; the test can replace the answer.
pub(crate) struct Publisher {
    pub(crate) address: SocketAddr,
    pub(crate) requests: Arc<Mutex<Vec<String>>>,
    answer: Arc<Mutex<Vec<u8>>>,
    serving: JoinHandle<()>,
}

impl Publisher {
    pub(crate) async fn new(answer: Vec<u8>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests: Arc<Mutex<Vec<String>>> = Arc::default();
        let answer = Arc::new(Mutex::new(answer));
        let (seen, given) = (Arc::clone(&requests), Arc::clone(&answer));
        let serving = spawn(async move {
            let mut silent = Vec::new();
            loop {
                let Ok((mut stream, _)) = listener.accept().await else {
                    return;
                };
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    match stream.read_u8().await {
                        Ok(byte) => head.push(byte),
                        Err(_) => break,
                    }
                }
                seen.lock()
                    .unwrap()
                    .push(String::from_utf8_lossy(&head).into_owned());
                let answer = given.lock().unwrap().clone();
                // The client may have closed the connection early.
                let _heard = stream.write_all(&answer).await;
                if answer.is_empty() {
                    // The connection stays open without an answer.
                    silent.push(stream);
                }
            }
        });
        Self {
            address,
            requests,
            answer,
            serving,
        }
    }

    pub(crate) fn answers(&self, answer: Vec<u8>) {
        *self.answer.lock().unwrap() = answer;
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/keys", self.address)
    }

    pub(crate) fn count(&self) -> usize {
        self.requests.lock().unwrap().len()
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// A whole answer with this body.
pub(crate) fn ok(body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}").into_bytes()
}
