//! What the server's own API does with sessions, whichever worker they are on.

use std::num::NonZeroUsize;

use offhook_engine::{ChannelName, ErrorCode, Format, Refusal, SessionId, Since, Subscribe, Whom};
use offhook_server::{Config, Server};
use serde_json::json;
use tokio::time::timeout;

use crate::{
    caller::Caller,
    hall::{Hall, NEVER, config},
};

async fn hall() -> Hall {
    Hall::open(Config {
        workers: NonZeroUsize::new(3).unwrap(),
        ..config()
    })
    .await
}

fn session(caller: &Caller) -> SessionId {
    let number = u128::from_str_radix(&caller.session, 16).unwrap();
    SessionId::from_bytes(number.to_be_bytes())
}

#[tokio::test]
async fn a_session_on_any_worker_can_be_messaged_subscribed_and_closed() {
    let hall = hall().await;
    for _ in 0..6 {
        let mut caller = hall.caller().await;
        let whom = Whom::Session(session(&caller));
        let sessions = hall.sessions();
        assert!(sessions.is_connected(session(&caller)));
        let told = sessions
            .tell(whom.clone(), "{\"n\":1}".into(), Format::Json)
            .await;
        assert_eq!(told, 1);
        assert_eq!(
            caller.hear().await,
            json!({"type": "told", "data": {"n": 1}})
        );

        let chat = ChannelName::new("chat").unwrap();
        let wish = Subscribe::new(chat.clone(), Since::Now);
        assert_eq!(sessions.subscribe(whom.clone(), wish).await, 1);
        let subscribed = caller.hear_a("subscribed").await;
        assert_eq!(
            (subscribed.get("id"), &subscribed["channel"]),
            (None, &json!("chat"))
        );
        let why = Refusal::new(ErrorCode::Forbidden, "the room is closed");
        assert_eq!(
            sessions.unsubscribe(whom.clone(), chat.into(), why).await,
            1
        );
        assert_eq!(
            caller.hear_a("unsubscribed").await["message"],
            "the room is closed"
        );

        assert_eq!(sessions.disconnect(whom.clone()).await, 1);
        let (heard, closed) = caller.end().await;
        assert_eq!(
            heard,
            [json!({"type": "closing", "reason": "disconnected"})]
        );
        assert_eq!(closed.code.get(), 4002);
    }
}

#[tokio::test]
async fn an_unknown_session_is_not_reached() {
    let hall = hall().await;
    let nobody = SessionId::from_bytes([9; 16]);
    let sessions = hall.sessions();
    assert!(!sessions.is_connected(nobody));
    assert_eq!(sessions.disconnect(Whom::Session(nobody)).await, 0);
    assert_eq!(sessions.disconnect(Whom::User("ann".into())).await, 0);
}

#[tokio::test]
async fn sessions_of_a_stopped_server_are_not_awaited() {
    let server = Server::start(config()).await.unwrap();
    let sessions = server.sessions().clone();
    server.stop().await;
    let told = sessions.tell(Whom::User("ann".into()), "1".into(), Format::Json);
    let told = timeout(NEVER, told).await;
    assert_eq!(told, Ok(0), "nobody is there, and nobody will ever answer");
}
