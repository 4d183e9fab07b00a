//! A backend for one test: an HTTP server on a real socket, which checks every signature: those of the
//! server's own webhooks, and those in the form of Pusher.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use aws_lc_rs::hmac::{HMAC_SHA256, Key, verify};
use data_encoding::BASE64;
use offhook_auth::AppKey;
use offhook_engine::{Access, ChannelRules};
use offhook_server::{Config, config::ChannelRule};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::{
        Notify,
        mpsc::{Receiver, Sender, channel},
    },
    time::timeout,
};

use crate::hall::{NEVER, config};

const SECRET: &str = "a secret of at least thirty-two bytes";
/// The app whose webhooks are received in the form of Pusher.
pub(crate) const PUSHER: &str = "1 app-key a-secret-of-20-bytes";

/// What the backend does with a request.
pub(crate) enum Does {
    /// It answers 200 with this.
    Says(Value),
    /// The same, once it is told to.
    SaysWhen(Arc<Notify>, Value),
    /// It writes these bytes, and closes.
    Writes(Vec<u8>),
    /// It never answers.
    Hangs,
}

/// A request as the backend gets it.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// Empty in the form of Pusher.
    pub(crate) id: String,
    /// The key of the app, in the form of Pusher.
    pub(crate) pusher_key: Option<String>,
    pub(crate) body: Value,
}

pub(crate) struct TestBackend {
    address: SocketAddr,
    requests: Receiver<Request>,
    /// Connections that were made.
    connections: Arc<AtomicUsize>,
}

type Decide = Arc<Mutex<dyn FnMut(&Request) -> Does + Send>>;

impl TestBackend {
    pub(crate) async fn new(decide: impl FnMut(&Request) -> Does + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (heard, requests) = channel(10_000);
        let connections = Arc::new(AtomicUsize::new(0));
        let (counted, decide): (_, Decide) =
            (Arc::clone(&connections), Arc::new(Mutex::new(decide)));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(stream, heard.clone(), Arc::clone(&decide)));
            }
        });
        Self {
            address,
            requests,
            connections,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/hooks?k=in-the-query", self.address)
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// The next question.
    pub(crate) async fn next(&mut self) -> Request {
        loop {
            let request = self.next_of_all().await;
            if request.body["type"] != "events" {
                return request;
            }
        }
    }

    /// The next batch of events.
    pub(crate) async fn events(&mut self) -> Value {
        loop {
            let request = self.next_of_all().await;
            if request.body["type"] == "events" {
                return request.body;
            }
        }
    }

    pub(crate) async fn next_of_all(&mut self) -> Request {
        let request = timeout(NEVER, self.requests.recv()).await;
        request.expect("the backend is asked").unwrap()
    }

    /// The questions that are here already.
    pub(crate) fn heard(&mut self) -> Vec<Request> {
        let all = std::iter::from_fn(|| self.requests.try_recv().ok());
        all.filter(|request| request.body["type"] != "events")
            .collect()
    }

    /// The next event of this kind, whatever comes before it.
    pub(crate) async fn event(&mut self, kind: &str) -> Value {
        loop {
            let batch = self.events().await;
            let events = batch["events"].as_array().cloned().unwrap_or_default();
            if let Some(event) = events.into_iter().find(|event| event["type"] == kind) {
                return event;
            }
        }
    }
}

async fn serve(stream: TcpStream, heard: Sender<Request>, decide: Decide) {
    let mut stream = BufReader::new(stream);
    loop {
        let Some(request) = read(&mut stream).await else {
            return;
        };
        let does = (decide.lock().unwrap())(&request);
        heard.send(request).await.unwrap();
        match does {
            Does::Says(body) => answer(&mut stream, &body).await,
            Does::SaysWhen(told, body) => {
                told.notified().await;
                answer(&mut stream, &body).await;
            }
            Does::Writes(bytes) => {
                // Whoever does not want all of it closes.
                let _closed = stream.write_all(&bytes).await;
                return;
            }
            Does::Hangs => {
                let mut rest = Vec::new();
                let _closed = stream.read_to_end(&mut rest).await;
                return;
            }
        }
    }
}

async fn answer(stream: &mut BufReader<TcpStream>, body: &Value) {
    let body = body.to_string();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all((head + &body).as_bytes()).await.unwrap();
}

/// None at the end. Panics unless it is signed by the secret.
async fn read(stream: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        let line = line.trim_end().to_owned();
        if line.is_empty() {
            break;
        }
        headers.push(line);
    }
    assert!(
        headers[0].starts_with("POST /hooks?k=in-the-query HTTP/1.1"),
        "{headers:?}"
    );
    let header = |name: &str| {
        headers.iter().find_map(|line| {
            let (own, value) = line.split_once(": ")?;
            own.eq_ignore_ascii_case(name).then(|| value.to_owned())
        })
    };
    let needed = |name| header(name).unwrap_or_else(|| panic!("no {name} in {headers:?}"));
    let mut body = vec![0; needed("content-length").parse().unwrap()];
    stream.read_exact(&mut body).await.ok()?;
    let request = |id, pusher_key| Request {
        id,
        pusher_key,
        body: serde_json::from_slice(&body).unwrap(),
    };
    if let Some(key) = header("x-pusher-key") {
        let app: AppKey = PUSHER.parse().unwrap();
        assert_eq!(needed("x-pusher-signature"), app.signature(&body));
        return Some(request(String::new(), Some(key)));
    }
    let (id, timestamp) = (needed("webhook-id"), needed("webhook-timestamp"));
    let signed = [format!("{id}.{timestamp}.").as_bytes(), &body].concat();
    let signature = needed("webhook-signature");
    let signature = BASE64
        .decode(signature.strip_prefix("v1,").unwrap().as_bytes())
        .unwrap();
    let key = Key::new(HMAC_SHA256, SECRET.as_bytes());
    verify(&key, &signed, &signature).expect("the request is signed");
    Some(request(id, None))
}

/// A server that asks this backend about everything below `asked/`.
pub(crate) fn asking(backend: &TestBackend) -> Config {
    let mut config = config();
    let rules = ChannelRules {
        publish: Access::Asked,
        subscribe: Access::Asked,
        notify: true,
        ..ChannelRules::default()
    };
    let pattern = "asked/*".to_owned();
    config.channels.insert(
        0,
        ChannelRule {
            pattern,
            rules,
            ..ChannelRule::default()
        },
    );
    config.backend.url = Some(backend.url().parse().unwrap());
    config.backend.secrets = vec![SECRET.parse().unwrap()];
    config.backend.calls = Access::Everyone;
    config
}

/// The same with short deadlines and without repetitions; nothing is told.
pub(crate) fn impatient(backend: &TestBackend) -> Config {
    let mut config = asking(backend);
    for rule in &mut config.channels {
        rule.rules.notify = false;
    }
    config.backend.timeout = Duration::from_millis(500);
    config.backend.retries = 0;
    config
}
