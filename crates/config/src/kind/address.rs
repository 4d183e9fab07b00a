//! Addresses to listen on.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::Kind;
use crate::given::{Given, Misfit, Value};
use crate::toml_text::quoted;

/// One address or several.
pub(crate) struct Addresses;

impl Kind for Addresses {
    type Value = Vec<SocketAddr>;

    fn expected(&self) -> String {
        "an address like \"127.0.0.1:8000\", \"[::1]:8000\", \"8000\" (this machine only) or \
         \":8000\" (every interface), or a list of them"
            .to_owned()
    }

    fn placeholder(&self) -> String {
        "ADDR".to_owned()
    }

    fn read(&self, given: &Given) -> Result<Self::Value, Vec<Misfit>> {
        let items = match &given.value {
            Value::List(items) if items.is_empty() => return Err(given.misfit(self.expected())),
            Value::List(items) => items.as_slice(),
            Value::Word(_)
            | Value::Text(_)
            | Value::Integer(_)
            | Value::Bool(_)
            | Value::Table(_)
            | Value::Other(_) => std::slice::from_ref(given),
        };
        let (mut addresses, mut misfits) = (Vec::new(), Vec::new());
        for item in items {
            match address(item) {
                Some(address) => addresses.push(address),
                None => misfits.extend(item.misfit(self.expected())),
            }
        }
        if misfits.is_empty() {
            Ok(addresses)
        } else {
            Err(misfits)
        }
    }

    fn write(&self, value: &Self::Value) -> Option<String> {
        let addresses: Vec<_> = value.iter().map(|one| quoted(&one.to_string())).collect();
        Some(format!("[{}]", addresses.join(", ")))
    }

    fn is_list(&self) -> bool {
        true
    }
}

/// One address, of a list that may be empty.
pub(crate) struct ListenAddress;

impl Kind for ListenAddress {
    type Value = SocketAddr;

    fn expected(&self) -> String {
        "an address like \"127.0.0.1:1883\", \"1883\" (this machine only) or \":1883\" (every \
         interface)"
            .to_owned()
    }

    fn placeholder(&self) -> String {
        "ADDR".to_owned()
    }

    fn read(&self, given: &Given) -> Result<Self::Value, Vec<Misfit>> {
        address(given).ok_or_else(|| given.misfit(self.expected()))
    }

    fn write(&self, value: &Self::Value) -> Option<String> {
        Some(quoted(&value.to_string()))
    }
}

fn address(given: &Given) -> Option<SocketAddr> {
    let text = given.text().or_else(|| given.number())?.trim();
    if let Ok(port) = text.parse() {
        return Some((Ipv4Addr::LOCALHOST, port).into());
    }
    if let Some((host, port)) = text.rsplit_once(':')
        && let Ok(port) = port.parse()
    {
        let known: Option<IpAddr> = match host {
            "localhost" => Some(Ipv4Addr::LOCALHOST.into()),
            "" | "*" => Some(Ipv4Addr::UNSPECIFIED.into()),
            _ => None,
        };
        if let Some(ip) = known {
            return Some((ip, port).into());
        }
    }
    text.parse().ok()
}
