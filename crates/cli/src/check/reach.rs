//! Whether the server can be reached: its name and its port.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::finding::{Finding, Findings};
use super::target::Target;
use crate::failure::Failure;

/// How many addresses are tried. 8: more than clients try.
const MOST_ADDRESSES: usize = 8;

/// Returns an address that accepts connections.
pub(super) async fn check(
    target: &Target,
    limit: Duration,
    findings: &mut Findings,
) -> Result<Option<SocketAddr>, Failure> {
    let Some(addresses) = resolve(target, limit, findings).await? else {
        return Ok(None);
    };
    let mut trying = JoinSet::new();
    for address in addresses.iter().take(MOST_ADDRESSES).copied() {
        trying.spawn(async move {
            let begun = Instant::now();
            let connected = timeout(limit, TcpStream::connect(address)).await;
            let connected = connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
            (address, connected.map(|_| begun.elapsed()))
        });
    }
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    while let Some(tried) = trying.join_next().await {
        match tried {
            Ok((address, Ok(time))) => good.push((address, time)),
            Ok((address, Err(error))) => bad.push((address, error)),
            Err(_) => {}
        }
    }
    let Some((address, time)) = good.first().copied() else {
        let (address, error) = bad.swap_remove(0);
        findings.add(unreachable(address, &error))?;
        return Ok(None);
    };
    let milliseconds = time.as_secs_f64() * 1e3;
    findings.add(Finding::ok(
        "tcp",
        format!("connected to {address} in {milliseconds:.1} ms"),
    ))?;
    for (address, error) in bad {
        let text = format!("{address} does not answer: {}", words(&error));
        findings.add(Finding::warning("tcp", text).advice(
            "clients that try this address first wait: let the server listen there too, or remove \
             the address from DNS",
        ))?;
    }
    Ok(Some(address))
}

async fn resolve(
    target: &Target,
    limit: Duration,
    findings: &mut Findings,
) -> Result<Option<Vec<SocketAddr>>, Failure> {
    let host = &target.host;
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(Some(vec![SocketAddr::new(address, target.port)]));
    }
    let found = match timeout(limit, lookup_host((host.as_str(), target.port))).await {
        Ok(Ok(found)) => found.collect::<Vec<_>>(),
        Ok(Err(error)) => {
            let text = format!("{host} cannot be resolved: {error}");
            findings.add(Finding::failed("dns", text).advice(format!(
                "check the spelling, and that the name has an A or AAAA record: `dig {host}`"
            )))?;
            return Ok(None);
        }
        Err(_) => Vec::new(),
    };
    if found.is_empty() {
        let text = format!("{host} has no address, or its name server does not answer");
        findings
            .add(Finding::failed("dns", text).advice("add an A or AAAA record for the name"))?;
        return Ok(None);
    }
    let addresses: Vec<String> = found.iter().map(|found| found.ip().to_string()).collect();
    let text = format!("{host} is {}", addresses.join(", "));
    findings.add(Finding::ok("dns", text))?;
    Ok(Some(found))
}

fn unreachable(address: SocketAddr, error: &io::Error) -> Finding {
    let text = format!("{address} cannot be connected to: {}", words(error));
    let kind = error.kind();
    let advice = if kind == io::ErrorKind::ConnectionRefused {
        "nothing listens at this port: is the server running, and does it listen on this address? \
         A server on 127.0.0.1 is not reached from outside (`offhook serve --listen :8000` is)"
    } else if kind == io::ErrorKind::TimedOut {
        "nothing answers: a firewall or a security group drops the packets, or the machine is down"
    } else {
        "there is no route to this address from here: look at the routes and the firewall"
    };
    Finding::failed("tcp", text).advice(advice)
}

fn words(error: &io::Error) -> String {
    let kind = error.kind();
    if kind == io::ErrorKind::ConnectionRefused {
        "connection refused".to_owned()
    } else if kind == io::ErrorKind::TimedOut {
        "it took too long".to_owned()
    } else {
        error.to_string()
    }
}
