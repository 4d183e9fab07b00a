//! A run full of secrets: none of them reaches the log, an error or the health report.

use std::time::Duration;

use offhook_auth::ApiKey;
use offhook_server::config::ResumeKey;
use serde_json::{Value, json};

use crate::{
    asked::{Does, TestBackend, asking},
    caller::Caller,
    hall::Hall,
    issuer::{token, with_tokens},
    logged::journal,
};

/// Parts of secrets that occur nowhere else.
const API_KEY: &str = "ohk_secretapikeysecretapikeysecretapikeysecret";
const WRONG_KEY: &str = "ohk_almostthesecretkeyalmostthesecretkey000000";
const TOKEN_SECRET: &[u8] = b"a token secret of forty bytes: zanzibar.";
/// That of the test backend.
const HOOK_SECRET: &str = "a secret of at least thirty-two bytes";
const INFO: &str = "private-info-ouagadougou";
const DATA: &str = "private-data-antananarivo";

/// Everything that answers say, to be searched for secrets.
#[derive(Default)]
struct Said(Vec<String>);

impl Said {
    fn note(&mut self, answer: impl std::fmt::Display) {
        self.0.push(answer.to_string());
    }
}

fn bearer(path: &str, token: &str) -> String {
    format!("{path} HTTP/1.1\r\nAuthorization: Bearer {token}\r\nContent-Length: 0")
}

/// Uses bad tokens in every place.
async fn use_bad_tokens(hall: &Hall, tokens: [&str; 3], said: &mut Said) {
    for bad in tokens {
        for request in [
            bearer("GET /poll?channel=chat", bad),
            format!("GET /poll?channel=chat&token={bad} HTTP/1.1"),
            format!("GET /sse?channel=chat&token={bad} HTTP/1.1\r\nAccept: text/event-stream"),
            format!(
                "GET /poll?channel=chat HTTP/1.1\r\nSec-Fetch-Site: same-origin\r\nCookie: session={bad}"
            ),
            format!("GET /ws?token={bad} HTTP/1.1"),
        ] {
            let (_, head, body) = hall.request(&request).await;
            said.note(head);
            said.note(body);
        }
        let entry = hall.number().subprotocol(format!("offhook.token.{bad}"));
        said.note(entry.open().await.unwrap_err());
        let mut caller = hall.dial().await;
        said.note(
            caller
                .refused(json!({ "type": "connect", "token": bad }))
                .await,
        );
        let mut caller = Caller::new(hall.number().open().await.unwrap());
        said.note(
            caller
                .refused(json!({ "type": "connect", "resume": bad }))
                .await,
        );
    }
}

/// Opens a session, and asks for what fails. Returns its resume token, and one that was tampered with.
async fn fail_in_a_session(
    hall: &Hall,
    good: &str,
    forged: &str,
    said: &mut Said,
) -> (String, String) {
    let mut ann = hall.dial().await;
    let welcome = ann.ask(json!({ "type": "connect", "token": good })).await;
    let resume = welcome["resume"].as_str().unwrap().to_owned();
    for request in [
        json!({ "type": "refresh", "token": forged }),
        json!({ "type": "subscribe", "channel": "chat", "token": forged }),
        json!({ "type": "subscribe", "channel": "asked/a" }),
        json!({ "type": "publish", "channel": "asked/a", "data": DATA }),
        json!({ "type": "publish", "channel": "nowhere", "data": DATA, "key": "" }),
        json!({ "type": "call", "method": "sum", "data": DATA }),
        json!({ "type": "call", "method": "sum", "data": DATA, "key": "k" }),
        json!({ "type": "call", "method": "sum", "data": DATA }),
    ] {
        said.note(ann.refused(request).await);
    }
    ann.say(&format!("{{\"type\":\"connect\",\"token\":\"{good}\""))
        .await;
    said.note(ann.hear_a("error").await);
    ann.cut();
    let mut tampered = resume.clone();
    tampered.pop();
    let mut again = hall.dial().await;
    said.note(
        again
            .refused(json!({ "type": "connect", "resume": tampered }))
            .await,
    );
    (resume, tampered)
}

/// Uses the API with the key, with a wrong one, and with bodies that are wrong.
async fn fail_in_the_api(hall: &Hall, resume: &str, said: &mut Said) {
    for key in [API_KEY, WRONG_KEY] {
        for (request, body) in [
            (
                "POST /api/v1/publish",
                json!({ "channel": "chat", "data": DATA, "what": 1 }),
            ),
            (
                "POST /api/v1/publish",
                json!({ "channel": 7, "data": DATA }),
            ),
            ("POST /api/v1/disconnect", json!({ "session": resume })),
            ("GET /api/v1/nothing", Value::Null),
        ] {
            let (status, head, body) = hall.api(key, request, &body.to_string()).await;
            assert!(status >= 400, "{body}");
            said.note(head);
            said.note(body);
        }
    }
}

#[tokio::test]
async fn no_secret_reaches_the_log_an_error_or_the_health_report() {
    let journal = journal();
    // It fails in each way, so that each way is logged.
    let mut turn = 0;
    let backend = TestBackend::new(move |_| {
        turn += 1;
        match turn % 4 {
            0 => Does::Writes(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n".to_vec()),
            1 => Does::Writes(format!("garbage {DATA}\r\n\r\n").into_bytes()),
            2 => Does::Says(json!({ "allow": 1, "info": INFO })),
            _ => Does::Writes(Vec::new()),
        }
    });
    let backend = backend.await;
    let mut config = with_tokens(|auth| auth.secrets[0].0 = TOKEN_SECRET.to_vec());
    let asks = asking(&backend);
    config.channels = asks.channels;
    config.backend = asks.backend;
    config.backend.timeout = Duration::from_millis(500);
    config.auth.query = true;
    config.auth.cookie = Some("session".to_owned());
    config.auth.anonymous = Some(true);
    config.resume.key = Some(ResumeKey(*b"resume key of thirty-two bytes: "));
    config.api.keys = vec![ApiKey::of_everything(API_KEY)];
    let hall = Hall::open(config).await;
    let signer = offhook_auth::Signer::hmac(offhook_auth::Algorithm::Hs256, TOKEN_SECRET).unwrap();
    let claims = |exp: u64| json!({ "sub": "ann", "info": { "note": INFO }, "exp": exp });
    let good = signer.sign(&claims(9_999_999_999)).unwrap();
    let expired = signer.sign(&claims(1)).unwrap();
    let forged = token(json!({ "sub": "root", "info": { "note": INFO } }));
    let mut said = Said::default();

    use_bad_tokens(&hall, [&expired, &forged, &good[1..]], &mut said).await;
    let (resume, tampered) = fail_in_a_session(&hall, &good, &forged, &mut said).await;
    fail_in_the_api(&hall, &resume, &mut said).await;
    said.note(hall.api(API_KEY, "GET /api/v1/stats", "").await.2);
    said.note(hall.health().await.1);
    hall.close().await;

    let resume_parts = [&resume[3..], &tampered[3..]];
    let signature = |token: &str| token.rsplit('.').next().unwrap().to_owned();
    let mut secrets = vec![
        API_KEY.to_owned(),
        API_KEY[4..].to_owned(),
        WRONG_KEY[4..].to_owned(),
        "zanzibar".to_owned(),
        HOOK_SECRET.to_owned(),
        "resume key of thirty-two".to_owned(),
        "in-the-query".to_owned(),
        INFO.to_owned(),
        DATA.to_owned(),
        signature(&good),
        signature(&expired),
        signature(&forged),
        good.split('.').nth(1).unwrap().to_owned(),
        ApiKey::of_everything(API_KEY)
            .to_string()
            .rsplit(':')
            .next()
            .unwrap()
            .to_owned(),
    ];
    secrets.extend(resume_parts.map(str::to_owned));
    let lines = journal.lines();
    assert!(
        lines.iter().any(|line| line.contains("refused")),
        "the run is logged"
    );
    for text in lines.iter().chain(&said.0) {
        for secret in &secrets {
            assert!(!text.contains(secret), "{secret} is in {text}");
        }
    }
}
