//! Head-of-line blocking: one packet with a message of one channel is lost, and the messages of other channels
//! that follow it are timed.

use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::Plan;
use super::carrier::{Carrier, Subscriber};
use super::path::{Path, Reach};
use super::publisher::Publisher;
use super::results::{Blocking, Times};
use super::server::Server;

/// The channel whose message is lost comes first.
const CHANNELS: [&str; 4] = ["blocking/0", "blocking/1", "blocking/2", "blocking/3"];

/// Messages of the other channels that follow each lost one, and the time between them. Together 60 ms: longer
/// than a round trip of 40 ms, after which the lost packet is sent again.
const FOLLOWING: u64 = 15;
const APART: Duration = Duration::from_millis(4);

/// How long the messages of one trial may take.
const TRIAL_WITHIN: Duration = Duration::from_secs(5);

/// Those that are compared: one stream over TCP, one over QUIC, and one for each subscription.
pub(super) const COMPARED: [Carrier; 3] = [Carrier::Tls, Carrier::WebTransport, Carrier::Streams];

/// Measures one transport; the path loses no other packets.
pub(super) async fn measure(
    plan: &Plan,
    path: &Path,
    server: &Server,
    reach: &Reach,
    carrier: Carrier,
) -> Result<Blocking, String> {
    path.set_loss(0.0);
    let epoch = Instant::now();
    let mut publisher = Publisher::connect(server.direct, epoch, plan.size).await?;
    let channels = CHANNELS.map(str::to_owned);
    let mut subscriber = Subscriber::open(carrier, reach, &channels, None, plan.poll).await?;
    // One message each, so that every stream is open.
    for channel in CHANNELS {
        publisher.publish(channel).await?;
    }
    for _ in CHANNELS {
        subscriber.next().await?;
    }
    let (mut own, mut others) = (Vec::new(), vec![Vec::new(); FOLLOWING as usize]);
    for _ in 0..plan.trials {
        // Until everything is acknowledged.
        sleep(plan.round_trip * 3).await;
        let trial = trial(plan, path, &mut publisher, &mut subscriber, epoch).await?;
        // The lost packet may have been one of QUIC's own, such as a probe of the path's MTU.
        if let Some((late, following)) = trial {
            own.push(late);
            for (times, time) in others.iter_mut().zip(following) {
                times.push(time);
            }
        }
    }
    let curve = others.iter().enumerate().map(|(number, times)| {
        let after = APART.as_secs_f64() * 1e3 * (number + 1) as f64;
        (after, Times::of(times.clone()).p50)
    });
    Ok(Blocking {
        carrier,
        trials: own.len(),
        curve: curve.collect(),
        own: Times::of(own),
        others: Times::of(others.concat()),
    })
}

/// Loses a packet, and returns how long its message took, and how long each of the following ones took, in
/// milliseconds; none if the message was not in the lost packet.
async fn trial(
    plan: &Plan,
    path: &Path,
    publisher: &mut Publisher,
    subscriber: &mut Subscriber,
    epoch: Instant,
) -> Result<Option<(f64, Vec<f64>)>, String> {
    let lost_before = path.counts()[1].lost;
    // Acknowledgements are smaller.
    path.lose_next(plan.size);
    let first = publisher.publish(CHANNELS[0]).await?;
    let began = Instant::now();
    let mut took = vec![None; FOLLOWING as usize + 1];
    let deadline = began + TRIAL_WITHIN;
    let (mut published, mut arrived) = (0, 0);
    while arrived <= FOLLOWING {
        let next = began + APART * u32::try_from(published + 1).unwrap_or(u32::MAX);
        tokio::select! {
            () = sleep_until(next), if published < FOLLOWING => {
                let others = CHANNELS.len() as u64 - 1;
                let channel = usize::try_from(published % others + 1).unwrap_or(1);
                publisher.publish(CHANNELS.get(channel).copied().unwrap_or(CHANNELS[0])).await?;
                published += 1;
            }
            next = timeout_at(deadline, subscriber.next()) => {
                let late = |_| format!("a message did not arrive within {TRIAL_WITHIN:?}");
                let delivery = next.map_err(late)??;
                let time = epoch.elapsed().saturating_sub(Duration::from_nanos(delivery.data.sent));
                let number = usize::try_from(delivery.data.number - first).unwrap_or(usize::MAX);
                if let Some(took) = took.get_mut(number) {
                    *took = Some(time.as_secs_f64() * 1e3);
                }
                arrived += 1;
            }
        }
    }
    let took: Option<Vec<f64>> = took.into_iter().collect();
    let was_lost = path.counts()[1].lost > lost_before;
    let again = plan.round_trip.as_secs_f64() * 1e3;
    Ok(took.filter(|_| was_lost).and_then(|took| {
        let (own, following) = took.split_first()?;
        // Sent again at the earliest after a round trip.
        (*own >= again).then(|| (*own, following.to_vec()))
    }))
}
