//! The channel client over WebTransport.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use offhook::{Error, Open, Pair, WebSocket};
use offhook_client::{Backoff, Client, ConnectionEvent, Event, Recovery, Since, Subscription};
use tokio::sync::watch;

use crate::place::{Place, within};

async fn texts(subscription: &mut Subscription, count: usize) -> Vec<String> {
    let mut texts = Vec::new();
    while texts.len() < count {
        match within(subscription.next()).await.unwrap().unwrap() {
            Event::Publication(publication) => {
                texts.push(publication.data.text().unwrap().into_owned());
            }
            Event::Gap(gap) => panic!("{gap:?}"),
            _ => {}
        }
    }
    texts
}

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|n| n.to_string()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn publications_pass_between_a_websocket_and_webtransport() {
    let place = Place::open().await;
    let ann = within(place.client().connect()).await.unwrap();
    let ben = within(place.over_websocket().connect()).await.unwrap();
    let mut anns = ann.subscribe("room").await.unwrap();
    let mut bens = ben.subscribe("room").await.unwrap();
    for n in 0..20 {
        let from = if n % 2 == 0 { &ann } else { &ben };
        within(from.publish("room", n.to_string()).into_future())
            .await
            .unwrap();
    }
    assert_eq!(texts(&mut anns, 20).await, numbers(0..20));
    assert_eq!(texts(&mut bens, 20).await, numbers(0..20));
    let large = "x".repeat(60_000);
    within(ann.publish("room", large.clone()).into_future())
        .await
        .unwrap();
    assert_eq!(texts(&mut anns, 1).await, [large]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_client_is_no_longer_a_member() {
    let place = Place::open().await;
    let ann = within(place.client().connect()).await.unwrap();
    let ben = within(place.over_websocket().connect()).await.unwrap();
    let mut bens = ben.subscribe("room").presence().await.unwrap();
    let _anns = ann.subscribe("room").await.unwrap();
    while !matches!(
        within(bens.next()).await.unwrap().unwrap(),
        Event::Joined(_)
    ) {}
    within(ann.close()).await;
    while !matches!(within(bens.next()).await.unwrap().unwrap(), Event::Left(_)) {}
}

/// Each connection is over the other transport than the one before. All end when `cut` changes.
struct Alternating {
    place: Arc<Place>,
    opened: Arc<AtomicUsize>,
    cut: watch::Receiver<usize>,
}

impl Open for Alternating {
    fn open(
        &mut self,
        attempt: u32,
    ) -> impl Future<Output = Result<WebSocket, Error>> + Send + 'static {
        let number = self.opened.fetch_add(1, Ordering::Relaxed);
        let mut webtransport = self.place.at("/ws");
        let mut websocket = self.place.websocket();
        let mut cut = self.cut.clone();
        cut.mark_unchanged();
        async move {
            let inner = match number % 2 {
                0 => Open::open(&mut websocket, attempt).await?,
                _ => Open::open(&mut webtransport, attempt).await?,
            };
            let (near, far, _link) = Pair::new().open();
            tokio::spawn(relay(inner, far, cut));
            Ok(near)
        }
    }
}

/// Transfers messages until either end is done, or the connection is cut.
async fn relay(mut inner: WebSocket, mut far: WebSocket, mut cut: watch::Receiver<usize>) {
    loop {
        let passed = tokio::select! {
            Ok(Some(message)) = inner.recv() => far.send(message).await,
            Ok(Some(message)) = far.recv() => inner.send(message).await,
            _cut = cut.changed() => return,
            else => return,
        };
        if passed.is_err() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_moves_between_a_websocket_and_webtransport_without_loss_or_repetition() {
    let place = Arc::new(Place::open().await);
    let (cut, cuts) = watch::channel(0);
    let opened = Arc::new(AtomicUsize::new(0));
    let way = Alternating {
        place: Arc::clone(&place),
        opened: Arc::clone(&opened),
        cut: cuts,
    };
    let mut backoff = Backoff::default();
    (backoff.first, backoff.cap) = (Duration::from_millis(10), Duration::from_millis(10));
    let client = Client::over(way).backoff(backoff);
    let client = within(client.connect()).await.unwrap();
    let mut events = client.events();
    let publisher = within(place.over_websocket().connect()).await.unwrap();
    let mut room = client.subscribe("room").since(Since::Start).await.unwrap();
    for round in 0..6 {
        publisher
            .publish("room", (2 * round).to_string())
            .await
            .unwrap();
        cut.send_modify(|count| *count += 1);
        publisher
            .publish("room", (2 * round + 1).to_string())
            .await
            .unwrap();
        assert_eq!(texts(&mut room, 2).await, numbers(2 * round..2 * round + 2));
        let recovery = loop {
            if let ConnectionEvent::Open { recovery, .. } = within(events.next()).await.unwrap() {
                break recovery;
            }
        };
        assert_eq!(recovery, Recovery::Resumed);
    }
    assert!(opened.load(Ordering::Relaxed) >= 7);
    assert_eq!(client.repeats(), 0);
}
