//! Two ends perform random operations over a random link, and a small model predicts the result.
//!
//! The model of one direction: what was sent arrives once, completely and in order; an urgent
//! message may overtake others that are not; if the link is lost, or the receiver closes first, the
//! received messages end early, but have no holes. For closing: the end that called `close` while
//! open began it, each end reads the code that the other sent, and the end is clean unless the link
//! was lost.

mod ops;
mod run;

use offhook_protocol::{ClosedBy, ReadyState};
use offhook_testkit::Heard;
use ops::{Op, Setup, Side, ops, setup};
use proptest::prelude::*;
use run::{Run, Sent};
use std::time::Duration;

/// Longer than the slowest link takes for everything that one run sends.
const LONG: Duration = Duration::from_secs(1500);

/// Longer than both ends wait for each other's Close: twice the close timeout, since output written
/// after a deadline was set is recorded when the deadline expires.
const THE_END: Duration = run::CLOSE_TIMEOUT.saturating_mul(2).saturating_add(LONG);

proptest! {
    #[test]
    fn random_operations_of_both_ends_match_the_model(
        setup in setup(),
        ops in ops(),
    ) {
        check(&setup, ops)?;
    }
}

fn check(setup: &Setup, ops: Vec<Op>) -> Result<(), TestCaseError> {
    let mut run = Run::new(setup);
    for op in ops {
        run.apply(op);
    }
    if !run.lost && run.closes.iter().all(Option::is_none) {
        run.finish_streams();
        run.pair.run(LONG);
        check_open(&run)?;
        run.close(Side::Client, 1000);
    }
    run.pair.run(THE_END);
    check_closed(&run)
}

/// Everything sent has arrived, everything requested is answered, nothing waits.
fn check_open(run: &Run) -> Result<(), TestCaseError> {
    for side in Side::BOTH {
        let (end, peer) = (run.end(side), run.end(side.other()));
        prop_assert_eq!(end.connection.ready_state(), ReadyState::Open);
        prop_assert_eq!(end.connection.buffered_amount(), 0);
        prop_assert!(!end.connection.has_output());
        check_arrival(&run.sent[side as usize], &peer.heard, true)?;

        let pings = &run.pings[side as usize];
        let mut pongs = Vec::new();
        for event in &end.heard {
            if let Heard::Pong(payload, _) = event
                && payload != run::UNASKED
            {
                pongs.push(payload);
            }
        }
        let own = |payload: &&Vec<u8>| payload.starts_with(b"ping ");
        let mut asked = pings.iter();
        let mut answered = pongs.iter().copied().filter(own);
        prop_assert!(
            answered.all(|pong| asked.any(|ping| ping == pong)),
            "in order"
        );
        // The answer to the latest of several pings answers them all, and the latest may be a timed
        // one.
        let latest = pongs.last().copied();
        prop_assert!(latest.is_some() || pings.is_empty());
        prop_assert!(
            latest
                .filter(own)
                .is_none_or(|pong| pings.last() == Some(pong))
        );
    }
    Ok(())
}

fn check_closed(run: &Run) -> Result<(), TestCaseError> {
    for side in Side::BOTH {
        let (end, peer) = (run.end(side), run.end(side.other()));
        prop_assert_eq!(end.connection.ready_state(), ReadyState::Closed);
        prop_assert_eq!(end.connection.buffered_amount(), 0);
        let errors = end
            .heard
            .iter()
            .filter(|event| matches!(event, Heard::Error(_)));
        prop_assert!(run.lost || errors.count() == 0, "{:?}", end.closed());

        let (Some(closed), Some(of_peer)) = (end.closed(), peer.closed()) else {
            return Err(TestCaseError::fail("both have ended"));
        };
        let heard_close = end
            .heard
            .iter()
            .position(|event| matches!(event, Heard::Close(_)));
        prop_assert_eq!(
            heard_close.is_some_and(|at| at + 1 < end.heard.len()),
            false
        );
        let all_arrived = of_peer.by == ClosedBy::Remote && of_peer.clean;
        check_arrival(&run.sent[side as usize], &peer.heard, all_arrived)?;
        if run.lost {
            continue;
        }
        let closed_here = run.closes[side as usize];
        prop_assert!(closed.clean);
        let by = closed_here.map_or(ClosedBy::Remote, |_| ClosedBy::Local);
        prop_assert_eq!(closed.by, by);
        let said = closed.sent.map(|frame| frame.code.get());
        prop_assert_eq!(
            said,
            Some(of_peer.code.get()),
            "the peer reads what was said"
        );
        let echo = of_peer.sent.map(|frame| frame.code.get());
        prop_assert!(
            said == closed_here || said == echo,
            "{:?} or an echo",
            closed_here
        );
    }
    Ok(())
}

/// Compares the received messages with those that were sent.
fn check_arrival(sent: &[Sent], heard: &[Heard], all: bool) -> Result<(), TestCaseError> {
    let arrived = arrived(heard)?;
    let mut order = Vec::new();
    for (text, payload) in arrived {
        let index = sent.iter().position(|sent| sent.payload == payload);
        let Some(index) = index else {
            return Err(TestCaseError::fail(format!(
                "{} bytes never sent",
                payload.len()
            )));
        };
        prop_assert!(!order.contains(&index), "message {} arrived twice", index);
        prop_assert!(text.is_none_or(|text| text == sent[index].text));
        order.push(index);
    }
    prop_assert!(
        !all || order.len() == sent.len(),
        "{} of {}",
        order.len(),
        sent.len()
    );
    let place = |index: usize| order.iter().position(|arrived| *arrived == index);
    for late in 0..sent.len() {
        for early in 0..late {
            let overtakes = sent[late].urgent && !sent[early].urgent;
            let in_order = match (place(early), place(late)) {
                (Some(early), Some(late)) => early < late,
                (None, Some(_)) => false,
                (_, None) => true,
            };
            prop_assert!(
                overtakes || in_order,
                "{} and {} in {:?}",
                early,
                late,
                order
            );
        }
    }
    Ok(())
}

/// A received message: whether it is text, if that is known, and its content.
type Arrived = (Option<bool>, Vec<u8>);

/// The messages among the events. One that never ended does not count.
fn arrived(heard: &[Heard]) -> Result<Vec<Arrived>, TestCaseError> {
    let mut messages = Vec::new();
    let mut open: Option<Vec<u8>> = None;
    for event in heard {
        match event {
            Heard::Text(text) => messages.push((Some(true), text.as_bytes().to_vec())),
            Heard::Binary(bytes) => messages.push((Some(false), bytes.clone())),
            Heard::Chunk(bytes, first, last) => {
                prop_assert_eq!(*first, open.is_none());
                open.get_or_insert_default().extend(bytes);
                if *last {
                    messages.extend(open.take().map(|whole| (None, whole)));
                }
                continue;
            }
            Heard::Ping(_) | Heard::Pong(..) | Heard::Close(_) | Heard::Error(_) => continue,
        }
        prop_assert!(open.is_none(), "no message inside another");
    }
    Ok(messages)
}
