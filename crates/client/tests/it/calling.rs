//! Calls, with a backend that answers the server's webhooks.

use std::sync::{Arc, Mutex};

use aws_lc_rs::hmac::{HMAC_SHA256, Key, verify};
use data_encoding::BASE64;
use offhook_client::{Error, ErrorCode};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::test_server::{TestServer, within};

const SECRET: &str = "a secret of at least thirty-two bytes";

/// The calls that a backend has received.
type Calls = Arc<Mutex<Vec<Value>>>;

/// Starts a backend as docs/webhooks.md describes it. Returns its URL, and the calls that it will
/// receive.
async fn backend(answer: fn(&Value) -> Value) -> (String, Calls) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/offhook", listener.local_addr().unwrap());
    let calls = Calls::default();
    let received = Arc::clone(&calls);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, Arc::clone(&received), answer));
        }
    });
    (url, calls)
}

/// Answers requests over one connection. A request without a valid signature gets no answer.
async fn serve(stream: TcpStream, calls: Calls, answer: fn(&Value) -> Value) {
    let mut stream = BufReader::new(stream);
    while let Some((head, body)) = request(&mut stream).await {
        let field = |name: &str| {
            let mut fields = head.iter().filter_map(|line| line.split_once(": "));
            fields.find(|(other, _)| *other == name).unwrap().1
        };
        let (id, timestamp) = (field("webhook-id"), field("webhook-timestamp"));
        let signed = [format!("{id}.{timestamp}.").as_bytes(), &body].concat();
        let signature = field("webhook-signature").strip_prefix("v1,").unwrap();
        let signature = BASE64.decode(signature.as_bytes()).unwrap();
        verify(
            &Key::new(HMAC_SHA256, SECRET.as_bytes()),
            &signed,
            &signature,
        )
        .unwrap();
        let call: Value = serde_json::from_slice(&body).unwrap();
        let text = answer(&call).to_string();
        calls.lock().unwrap().push(call);
        let length = text.len();
        let response = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{text}");
        stream.write_all(response.as_bytes()).await.unwrap();
    }
}

/// The lines of a request's head, and its body; none at the end of the connection.
async fn request(stream: &mut BufReader<TcpStream>) -> Option<(Vec<String>, Vec<u8>)> {
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        if line == "\r\n" {
            break;
        }
        head.push(line.trim_end().to_owned());
    }
    let length = head
        .iter()
        .find_map(|line| line.strip_prefix("content-length: "))
        .unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    stream.read_exact(&mut body).await.ok()?;
    Some((head, body))
}

#[tokio::test]
async fn a_call_gets_the_answer_of_the_backend_and_its_error_unchanged() {
    let (url, calls) = backend(|call| match call["method"].as_str() {
        Some("add") => json!({"data": call["data"][0].as_i64().unwrap() + call["data"][1].as_i64().unwrap()}),
        Some("bytes") => json!({"base64": "AP8="}),
        _ => json!({"error": {"code": "room_full", "message": "The room is full.", "data": {"max": 8}}}),
    })
    .await;
    let server = TestServer::with_backend(&url, SECRET).await;
    let client = server.client().await;
    let sum = within(client.call("add", json!([2, 3])).into_future()).await;
    assert_eq!(sum.unwrap().json::<i64>().unwrap(), 5);
    let bytes = within(client.call("bytes", json!(null)).into_future()).await;
    assert_eq!(bytes.unwrap().as_bytes(), [0, 255]);
    let entered = client.call("enter", json!({"room": 7})).key("enter-7");
    let Err(Error::Refused(refused)) = within(entered.into_future()).await else {
        panic!("the backend refuses it")
    };
    assert_eq!(refused.code(), Some(ErrorCode::Rejected));
    assert_eq!(refused.message(), "The room is full.");
    let error: Value = serde_json::from_str(refused.backend().unwrap()).unwrap();
    let expected = json!({"code": "room_full", "message": "The room is full.", "data": {"max": 8}});
    assert_eq!(error, expected);
    let calls = calls.lock().unwrap();
    let keys: Vec<_> = calls
        .iter()
        .map(|call| (&call["method"], &call["key"]))
        .collect();
    let (add, bytes, enter) = (json!("add"), json!("bytes"), json!("enter"));
    let expected = [
        (&add, &Value::Null),
        (&bytes, &Value::Null),
        (&enter, &json!("enter-7")),
    ];
    assert_eq!(keys, expected);
}
