//! Holds idle connections, each with one subscription, until standard input ends.

use std::io::BufRead as _;
use std::rc::Rc;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::time::Duration;

use anyhow::Result;

use crate::connection::Heard;
use crate::crowd::Crowd;
use crate::dialects::{Dialect, Part};
use crate::ring::Ring;
use crate::transport::Dialer;

/// How often standard input is checked, in addition to answering the server's pings.
const GLANCE: Duration = Duration::from_millis(50);

/// Connections opened between two progress reports.
const PROGRESS: usize = 1000;

/// Pings in flight at once.
const PINGS: usize = 100;

/// What to hold.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The server's protocol.
    pub dialect: Dialect,
    /// The channel of all connections.
    pub channel: String,
    /// The number of connections.
    pub connections: usize,
    /// What every publication contains, if there are any.
    pub expects: Option<String>,
}

/// Opens the connections, and prints `open N` while doing so and `ready N` at the end. After that,
/// each line `ping` on standard input makes every connection exchange a ping, followed by the
/// output `pinged N`. The end of standard input ends the process.
pub fn run(dialer: &Dialer, plan: &Plan) -> Result<()> {
    let wishes = wishes();
    let ring = match &plan.expects {
        Some(message) => Ring::always(message.clone().into_bytes()),
        None => Ring::empty(),
    };
    let mut crowd = Crowd::new()?;
    let part = Rc::new(Part {
        dialect: plan.dialect,
        subscribes: true,
        channel: plan.channel.clone(),
        number: 0,
    });
    let parts = (0..plan.connections).map(|_| part.clone());
    let mut said = 0;
    crowd.open(dialer, parts, |ready| {
        if ready / PROGRESS > said {
            said = ready / PROGRESS;
            println!("open {ready}");
        }
    })?;
    println!("ready {}", crowd.connections.len());
    loop {
        match wishes.try_recv() {
            Ok(()) => println!("pinged {}", ping(&mut crowd, &ring)?),
            Err(TryRecvError::Empty) => {
                crowd.turn(&ring, Some(GLANCE), |_, _, _| Ok(()))?;
            }
            Err(TryRecvError::Disconnected) => return Ok(()),
        }
    }
}

/// One unit for each line on standard input, until its end.
fn wishes() -> Receiver<()> {
    let (send, receive) = sync_channel(1);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            if line.is_err() || send.send(()).is_err() {
                return;
            }
        }
    });
    receive
}

fn ping(crowd: &mut Crowd, ring: &Ring) -> Result<usize> {
    let ping = crowd.connections[0].part.dialect.ping();
    let (mut asked, mut answered) = (0, 0);
    while answered < crowd.connections.len() {
        while asked < crowd.connections.len() && asked - answered < PINGS {
            crowd.connections[asked].say(&ping)?;
            asked += 1;
        }
        crowd.turn(ring, None, |_, _, heard| {
            answered += usize::from(heard == Heard::Pong);
            Ok(())
        })?;
    }
    Ok(answered)
}
