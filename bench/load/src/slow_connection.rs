//! One subscriber that does not read, among many that do.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::fan_out::{Broadcast, Plan};
use crate::process;
use crate::report::{Others, SlowConnection};
use crate::transport::Dialer;

/// The receive buffer of the slow connection. It is small, so that the server has to deal with the
/// rest.
const RECEIVE_BUFFER: usize = 4096;

/// How many publications a slow connection misses before the others are measured: of 1 KiB, several times
/// what its outbox holds.
const BEHIND: u64 = 2000;

/// Between two looks at the server's memory.
const LOOK: Duration = Duration::from_secs(1);

/// Measures the others without a slow connection and with one, then lets it read.
pub fn run(dialer: &Dialer, plan: &Plan) -> Result<SlowConnection> {
    let mut broadcast = Broadcast::open(dialer, plan)?;
    let without = others(&mut broadcast, plan, &mut Vec::new())?;
    let slow = dialer.clone().with_receive_buffer(RECEIVE_BUFFER);
    broadcast.open_slow_connection(&slow, plan)?;
    broadcast.fall_behind(BEHIND)?;
    let mut anonymous_kib = vec![process::anonymous_kib(plan.pid)?];
    let with = others(&mut broadcast, plan, &mut anonymous_kib)?;
    let missed = broadcast.missed().context("there is no slow connection")?;
    let begin = Instant::now();
    let times_told = broadcast.catch_up()?;
    ensure!(
        times_told > 0,
        "{missed} publications fit into sockets and outbox, and the connection never fell behind: measure \
         with larger ones"
    );
    Ok(SlowConnection {
        without,
        with,
        anonymous_kib,
        missed,
        catch_up_seconds: begin.elapsed().as_secs_f64(),
        times_told,
        anonymous_kib_after: process::anonymous_kib(plan.pid)?,
    })
}

fn others(broadcast: &mut Broadcast, plan: &Plan, anonymous_kib: &mut Vec<u64>) -> Result<Others> {
    let eight = broadcast.closed_loop(8, plan)?;
    anonymous_kib.push(process::anonymous_kib(plan.pid)?);
    let paced = broadcast.paced_with(plan, LOOK, || {
        anonymous_kib.push(process::anonymous_kib(plan.pid)?);
        Ok(())
    })?;
    Ok(Others { eight, paced })
}
