//! The message printed when the server has started.

use std::{net::SocketAddr, path::Path};

use offhook_server::{
    Running,
    config::{Config, Loaded},
};

use super::Dev;
use crate::screen::{BOLD, DIM, LINK};

/// The addresses of the chat and for programs, the location of the data, and what `--dev` and `--dev-tls` have
/// created.
pub(super) fn text(loaded: &Loaded, running: &Running, dev: &Dev) -> String {
    let (config, addresses) = (&loaded.config, running.addresses());
    let tls = if config.tls.is_some() { "s" } else { "" };
    let version = env!("CARGO_PKG_VERSION");
    let mut text = format!("{BOLD}Offhook {version}{BOLD:#} is listening\n\n");
    for address in addresses {
        let (host, note) = reached(*address);
        if config.talk {
            text.push_str(&line("chat", &format!("http{tls}://{host}/talk/"), note));
        }
        text.push_str(&line(
            "url",
            &format!("ws{tls}://{host}{}", config.ws_path),
            note,
        ));
    }
    for (name, addresses, plain) in [
        ("mqtt", running.mqtt_addresses(), config.mqtt.listen.len()),
        (
            "stomp",
            running.stomp_addresses(),
            config.stomp.listen.len(),
        ),
    ] {
        for (n, address) in addresses.iter().enumerate() {
            let tls = if n < plain { "" } else { "s" };
            let (host, note) = reached(*address);
            text.push_str(&line(name, &format!("{name}{tls}://{host}"), note));
        }
    }
    for address in running.admin_addresses() {
        let (host, note) = reached(*address);
        text.push_str(&line("admin", &format!("http://{host}/metrics"), note));
    }
    text.push_str(&data(config));
    if let Some(file) = loaded.file() {
        text.push_str(&format!("  {DIM}config{DIM:#}  {}\n", shown(file)));
    }
    if let Some(hash) = dev.hash() {
        text.push_str(&for_webtransport(hash));
    }
    if let (Some(key), Some(address)) = (&dev.key, addresses.first()) {
        text.push_str(&for_development(
            key,
            &format!("http{tls}://{}", reached(*address).0),
        ));
    }
    text.push_str("\nCtrl-C stops it.\n");
    text
}

/// Logs the same for programs.
pub(super) fn log(loaded: &Loaded, running: &Running, dev: &Dev) {
    let config = &loaded.config;
    let tls = if config.tls.is_some() { "s" } else { "" };
    for address in running.addresses() {
        let host = reached(*address).0;
        tracing::info!(
            url = format!("ws{tls}://{host}{}", config.ws_path),
            "listening"
        );
    }
    for address in running.admin_addresses() {
        let host = reached(*address).0;
        tracing::info!(
            url = format!("http://{host}/metrics"),
            "listening for operators"
        );
    }
    let data = (!config.in_memory).then(|| shown(&config.data));
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        data,
        config = loaded.file().map(shown),
        dev_key = dev.key,
        certificate_sha256 = dev.hash(),
        "started"
    );
}

/// The text about the key of `--dev`, which is printed only here.
fn for_development(key: &str, url: &str) -> String {
    format!(
        "\n{BOLD}For development, not for production:{BOLD:#} anyone with this key may do everything, and\n\
         every page served from this machine (localhost, any port) may connect.\n\n  \
         curl {url}/api/v1/publish -H 'Authorization: Bearer {key}' \\\n    \
         --json '{{\"channel\":\"chat\",\"data\":\"hello\"}}'\n"
    )
}

/// The text about the certificate of `--dev-tls`.
fn for_webtransport(hash: &str) -> String {
    format!(
        "\n{BOLD}The certificate is signed by this server itself:{BOLD:#} browsers warn about its pages once. For\n\
         WebTransport, pages name its hash instead, which is of SHA-256 and in base64:\n\n  \
         certificate  {hash}\n"
    )
}

fn line(word: &str, url: &str, note: &str) -> String {
    format!("  {DIM}{word:6}{DIM:#}  {LINK}{url}{LINK:#}{DIM}{note}{DIM:#}\n")
}

/// The address to enter in a browser on this machine.
fn reached(address: SocketAddr) -> (String, &'static str) {
    let port = address.port();
    if address.ip().is_unspecified() {
        (
            format!("localhost:{port}"),
            "  (and on every other address of this machine)",
        )
    } else {
        (address.to_string(), "")
    }
}

fn data(config: &Config) -> String {
    let data = if config.in_memory {
        "in memory, lost when the server stops".to_owned()
    } else {
        shown(&config.data)
    };
    format!("  {DIM}data{DIM:#}    {data}\n")
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
