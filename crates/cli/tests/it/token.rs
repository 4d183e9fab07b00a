//! `offhook token`, and `offhook serve --dev`.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
};

use crate::program::offhook;

const SECRET: &str = "a secret of thirty-two bytes....";

#[test]
fn a_created_token_has_the_requested_claims() {
    let arguments = [
        "token",
        "ann",
        "--grant",
        "publish+subscribe chat/*",
        "--class",
        "backend",
        "--audience",
        "me",
        "--kid",
        "k",
    ];
    let made = offhook(&arguments)
        .env("OFFHOOK_TOKEN_SECRET", SECRET)
        .run();
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    let shown = offhook(&["token", "--inspect", made.stdout.trim()])
        .run()
        .stdout;
    for part in [
        "\"sub\": \"ann\"",
        "\"chat/*\": \"publish+subscribe\"",
        "\"aud\": \"me\"",
        "\"class\": \"backend\"",
        "\"kid\": \"k\"",
        "not verified",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
}

#[test]
fn errors_about_missing_or_invalid_arguments_do_not_show_the_secret() {
    let nothing = offhook(&["token", "ann"]).run();
    assert!(
        nothing.code == Some(2) && nothing.stderr.contains("OFFHOOK_TOKEN_SECRET"),
        "{}",
        nothing.stderr
    );
    let short = offhook(&["token", "ann"])
        .env("OFFHOOK_TOKEN_SECRET", "short secret")
        .run();
    assert!(
        short.stderr.contains("at least 32") && !short.stderr.contains("short secret"),
        "{}",
        short.stderr
    );
    let grant = offhook(&["token", "ann", "--grant", "fly *"])
        .env("OFFHOOK_TOKEN_SECRET", SECRET)
        .run();
    assert!(grant.stderr.contains("not a verb"), "{}", grant.stderr);
    assert_eq!(
        offhook(&["token", "--inspect", "nonsense"]).run().code,
        Some(2)
    );
}

#[test]
fn a_created_api_key_is_printed_with_its_entry_for_the_server() {
    let made = offhook(&["token", "--api-key"]).run().stdout;
    let key = made
        .split_whitespace()
        .find(|word| word.starts_with("ohk_"))
        .expect("a key");
    let entry = made
        .lines()
        .find(|line| line.contains("sha256:"))
        .expect("an entry");
    let file = format!("[api]\n{}\n", entry.trim());
    let config = offhook(&["config"]).file("offhook.toml", file).run();
    assert_eq!(config.code, Some(0), "{}", config.stderr);
    assert!(
        !config.stdout.contains(key) && !config.stdout.contains("sha256"),
        "{}",
        config.stdout
    );
}

#[test]
fn serve_dev_prints_a_key_with_a_command_to_try_and_says_that_it_is_not_for_production() {
    let mut server = offhook(&["serve", "--dev", "--in-memory", "--listen", "0"]).start();
    server.line("For development, not for production");
    let line = server.line("curl");
    assert!(
        line.contains("/api/v1/publish") && line.contains("Bearer ohk_"),
        "{line}"
    );
}

#[test]
fn serve_dev_lets_pages_of_every_local_port_connect_and_no_others() {
    let mut server = offhook(&["serve", "--dev", "--in-memory", "--listen", "0"]).start();
    let line = server.line("url");
    let address = line.split("ws://").nth(1).unwrap().trim_end_matches("/ws");
    for (origin, status) in [
        ("http://localhost:5173", 426),
        ("http://127.0.0.1:3000", 426),
        ("http://[::1]:3000", 426),
        ("https://app.localhost:8443", 426),
        (&*format!("http://{address}"), 426),
        ("http://localhost.evil.example", 403),
        ("https://evil.example", 403),
        ("null", 403),
    ] {
        let mut stream = TcpStream::connect(address).unwrap();
        write!(
            stream,
            "GET /ws HTTP/1.1\r\nHost: {address}\r\nOrigin: {origin}\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let first = answer.lines().next().unwrap();
        assert!(
            first.starts_with(&format!("HTTP/1.1 {status} ")),
            "{origin}: {answer}"
        );
    }
}
