//! The message printed when the server has started.

use std::{net::SocketAddr, path::Path};

use offhook_server::{
    Listening, Running, Served,
    config::{Config, Loaded},
};

use super::Dev;
use crate::screen::{BOLD, DIM, LINK};

/// The addresses of the chat and for programs, the location of the data, and what `--dev` and `--dev-tls` have
/// created.
pub(super) fn text(loaded: &Loaded, running: &Running, dev: &Dev) -> String {
    let config = &loaded.config;
    let version = env!("CARGO_PKG_VERSION");
    let mut text = format!("{BOLD}Offhook {version}{BOLD:#} is listening\n\n");
    for listening in running.listening() {
        for (word, url, note) in urls(config, listening) {
            text.push_str(&line(word, &url, note));
        }
    }
    text.push_str(&data(config));
    if let Some(file) = loaded.file() {
        text.push_str(&format!("  {DIM}config{DIM:#}  {}\n", shown(file)));
    }
    if let Some(hash) = dev.hash() {
        text.push_str(&for_webtransport(hash));
    }
    let with_http = |one: &&Listening| one.served == Served::Http;
    let first = running.listening().iter().find(with_http);
    let first = first.and_then(|one| url("http", one));
    if let (Some(key), Some(Url { base, .. })) = (&dev.key, first) {
        text.push_str(&for_development(key, &base, config.talk));
    }
    text.push_str("\nCtrl-C stops it.\n");
    text
}

/// Logs the same for programs.
pub(super) fn log(loaded: &Loaded, running: &Running, dev: &Dev) {
    let config = &loaded.config;
    for listening in running.listening() {
        for (word, url, _) in urls(config, listening) {
            match word {
                "admin" => tracing::info!(url, "listening for operators"),
                "chat" => {}
                _ => tracing::info!(url, "listening"),
            }
        }
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

/// What is at a listener: a word, a URL, and a note for people.
fn urls(config: &Config, listening: &Listening) -> Vec<(&'static str, String, &'static str)> {
    let word = match listening.served {
        Served::Http => "url",
        Served::Mqtt => "mqtt",
        Served::Stomp => "stomp",
        Served::Admin => "admin",
    };
    let scheme = match listening.served {
        Served::Http => "ws",
        Served::Admin => "http",
        Served::Mqtt | Served::Stomp => word,
    };
    let Some(Url { base, note }) = url(scheme, listening) else {
        // A Unix socket has no URL.
        return vec![(word, listening.at.to_string(), "")];
    };
    match listening.served {
        Served::Mqtt | Served::Stomp => vec![(word, base, note)],
        Served::Admin => vec![(word, format!("{base}/dashboard/"), note)],
        Served::Http => {
            let own = (word, format!("{base}{}", config.ws_path), note);
            let chat = url("http", listening).filter(|_| config.talk);
            let chat = chat.map(|chat| ("chat", format!("{}/talk/", chat.base), note));
            chat.into_iter().chain([own]).collect()
        }
    }
}

/// A URL without a path.
struct Url {
    base: String,
    note: &'static str,
}

/// The URL of a listener; none if it has no address.
fn url(scheme: &str, listening: &Listening) -> Option<Url> {
    let tls = if listening.tls { "s" } else { "" };
    let (host, note) = reached(listening.address()?);
    let base = format!("{scheme}{tls}://{host}");
    Some(Url { base, note })
}

/// The text about the key of `--dev`, which is printed only here.
fn for_development(key: &str, url: &str, has_dashboard: bool) -> String {
    let dashboard = match has_dashboard {
        true => format!("  {LINK}{url}/dashboard/#key={key}{LINK:#}\n\n"),
        false => String::new(),
    };
    format!(
        "\n{BOLD}For development, not for production:{BOLD:#} anyone with this key may do everything, and\n\
         every page served from this machine (localhost, any port) may connect.\n\n{dashboard}  \
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
