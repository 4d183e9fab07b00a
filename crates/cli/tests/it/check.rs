//! `offhook check` against deployments with one fault each, and against one without.

use std::io::Write as _;

use serde_json::Value;

use crate::deployment::{Habits, Origins, head, opening, refusing, secure, secure_with, server};
use crate::program::{Ended, offhook};
use crate::serve::serving;

/// The findings, as JSON, and how it ended.
fn check(arguments: &[&str]) -> (Value, Ended) {
    let ended = offhook(&[&["check", "--json", "--idle", "0s"], arguments].concat()).run();
    let report = serde_json::from_str(&ended.stdout).unwrap_or(Value::Null);
    (report, ended)
}

/// The text and advice of the first finding of this step and level.
fn found(report: &Value, check: &str, level: &str) -> String {
    let findings = report["findings"].as_array().expect("findings");
    let mut fitting = findings
        .iter()
        .filter(|finding| finding["check"] == check && finding["level"] == level);
    let finding = fitting.next();
    let finding = finding.unwrap_or_else(|| panic!("no {level} of {check}: {report:#}"));
    let part = |name: &str| finding[name].as_str().unwrap_or_default().to_owned();
    format!("{}\n{}", part("text"), part("advice"))
}

#[track_caller]
fn fails(arguments: &[&str], step: &str, expected: &[&str]) {
    let (report, ended) = check(arguments);
    assert_eq!(
        (ended.code, &report["ok"]),
        (Some(1), &Value::Bool(false)),
        "{report:#}"
    );
    let text = found(&report, step, "failed");
    for expected in expected {
        assert!(text.contains(expected), "{expected:?} in {report:#}");
    }
}

#[test]
fn our_own_server_passes_and_its_message_limit_is_found() {
    let (server, address) = serving(offhook(&["--in-memory", "--listen", "0"]));
    let (report, ended) = check(&[&format!("ws://{address}/ws")]);
    assert_eq!(
        (ended.code, &report["ok"]),
        (Some(0), &Value::Bool(true)),
        "{report:#}"
    );
    found(&report, "handshake", "ok");
    found(&report, "ping", "ok");
    found(&report, "close", "ok");
    assert!(
        found(&report, "origin", "ok").contains("may connect"),
        "{report:#}"
    );
    assert!(
        found(&report, "largest", "ok").contains("closed with 1009"),
        "{report:#}"
    );
    let text = offhook(&["check", &format!("ws://{address}/ws"), "--idle", "0s"]).run();
    assert!(text.stdout.contains("✓ handshake"), "{}", text.stdout);
    assert!(
        text.stdout.ends_with("it works: 0 failures, 0 warnings\n"),
        "{}",
        text.stdout
    );
    drop(server);
}

#[test]
fn an_unknown_host_name_is_found() {
    fails(
        &["ws://nothing.invalid/"],
        "dns",
        &["nothing.invalid", "A or AAAA record"],
    );
}

#[test]
fn a_port_without_a_listener_is_found() {
    fails(
        &["ws://127.0.0.1:1/"],
        "tcp",
        &["connection refused", "is the server running"],
    );
}

#[test]
fn a_proxy_that_drops_the_upgrade_is_found() {
    let url = refusing("HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\n\r\n");
    fails(
        &[&url],
        "handshake",
        &["status 426", "proxy_set_header Upgrade"],
    );
}

#[test]
fn a_page_instead_of_a_websocket_is_found() {
    let url = refusing("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>");
    fails(&[&url], "handshake", &["status 200", "a page answers"]);
}

#[test]
fn a_proxy_without_a_server_is_found() {
    let url = refusing("HTTP/1.1 502 Bad Gateway\r\nServer: nginx\r\nContent-Length: 0\r\n\r\n");
    fails(
        &[&url],
        "handshake",
        &["status 502", "cannot reach the server behind it"],
    );
}

#[test]
fn an_unknown_path_is_found() {
    let (server, address) = serving(offhook(&["--in-memory", "--listen", "0"]));
    let url = format!("ws://{address}/wrong");
    fails(
        &[&url],
        "handshake",
        &["status 404", "the server's is at /ws"],
    );
    drop(server);
}

#[test]
fn a_server_that_never_answers_is_found() {
    let address = server(|mut stream| while head(&mut stream).is_some() {});
    let url = format!("ws://{address}/");
    fails(
        &[&url, "--timeout", "200ms"],
        "handshake",
        &["no answer in 200ms"],
    );
}

#[test]
fn a_server_of_another_protocol_is_found() {
    let address = server(|mut stream| {
        let _ = stream.write_all(b"220 mail.example ESMTP\r\n");
        while head(&mut stream).is_some() {}
    });
    fails(
        &[&format!("ws://{address}/")],
        "handshake",
        &["does not answer in HTTP/1.1"],
    );
}

#[test]
fn an_answer_for_another_key_is_found() {
    let url = opening(Habits {
        wrong_accept: true,
        ..Habits::default()
    });
    fails(
        &[&url],
        "handshake",
        &["Sec-WebSocket-Accept must be", "does not know WebSocket"],
    );
}

#[test]
fn an_answer_without_the_upgrade_header_is_found() {
    let url = opening(Habits {
        no_upgrade: true,
        ..Habits::default()
    });
    fails(&[&url], "handshake", &["upgrade field must be websocket"]);
}

#[test]
fn an_unoffered_subprotocol_is_found() {
    let url = opening(Habits {
        more: "Sec-WebSocket-Protocol: chat\r\n",
        ..Habits::default()
    });
    fails(
        &[&url],
        "subprotocol",
        &["chose \"chat\"", "only what the client offers"],
    );
}

#[test]
fn an_unoffered_extension_is_found() {
    let more = "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=99\r\n";
    let url = opening(Habits {
        more,
        ..Habits::default()
    });
    fails(&[&url], "compression", &["extension that was not offered"]);
}

#[test]
fn a_server_that_refuses_its_own_pages_is_found() {
    let url = opening(Habits {
        origins: Origins::None,
        ..Habits::default()
    });
    fails(
        &[&url],
        "origin",
        &[
            "refused with status 403",
            "proxy_set_header Host $http_host",
        ],
    );
}

#[test]
fn a_redirect_loop_is_found() {
    let url = refusing("HTTP/1.1 301 Moved\r\nLocation: /\r\nContent-Length: 0\r\n\r\n");
    fails(&[&url], "redirect", &["redirects to itself"]);
}

#[test]
fn a_redirect_is_followed_and_reported_because_browsers_do_not_follow_it() {
    let good = opening(Habits::default());
    let address = server(move |mut stream| {
        if head(&mut stream).is_some() {
            let answer =
                format!("HTTP/1.1 302 Found\r\nLocation: {good}\r\nContent-Length: 0\r\n\r\n");
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    let (report, ended) = check(&[&format!("ws://{address}/")]);
    assert_eq!(ended.code, Some(0), "{report:#}");
    assert!(found(&report, "redirect", "warning").contains("browsers do not follow redirects"));
    found(&report, "ping", "ok");
}

#[test]
fn unanswered_pings_are_found() {
    let url = opening(Habits {
        is_deaf: true,
        ..Habits::default()
    });
    fails(
        &[&url, "--timeout", "200ms"],
        "ping",
        &["no pong in 200ms", "RFC 6455 §5.5.2"],
    );
}

#[test]
fn invalid_frames_are_found() {
    let url = opening(Habits {
        says: b"\x81\x81\0\0\0\0a",
        ..Habits::default()
    });
    fails(&[&url], "frames", &["a server must not mask frames"]);
}

#[test]
fn accepting_any_origin_is_a_warning_that_can_fail_the_check() {
    let url = opening(Habits {
        origins: Origins::Any,
        ..Habits::default()
    });
    let (report, ended) = check(&[&url]);
    assert_eq!(ended.code, Some(0), "{report:#}");
    assert!(
        found(&report, "origin", "warning").contains("any site"),
        "{report:#}"
    );
    let (report, ended) = check(&[&url, "--strict"]);
    assert_eq!(
        (ended.code, &report["ok"]),
        (Some(1), &Value::Bool(false)),
        "{report:#}"
    );
}

#[test]
fn an_unanswered_close_is_a_warning() {
    let url = opening(Habits {
        no_close: true,
        ..Habits::default()
    });
    let (report, _) = check(&[&url]);
    assert!(
        found(&report, "close", "warning").contains("1006"),
        "{report:#}"
    );
}

#[test]
fn the_largest_message_is_found_and_a_refusal_without_a_reason_is_a_warning() {
    let longest = Some((100 << 10, Some(1009)));
    let (report, _) = check(&[&opening(Habits {
        longest,
        ..Habits::default()
    })]);
    let text = found(&report, "largest", "ok");
    assert!(
        text.contains("64 KiB is accepted, 128 KiB is refused: closed with 1009"),
        "{text}"
    );
    let longest = Some((100 << 10, None));
    let (report, _) = check(&[&opening(Habits {
        longest,
        ..Habits::default()
    })]);
    let text = found(&report, "largest", "warning");
    assert!(text.contains("cut without a close"), "{text}");
    let (report, _) = check(&[&opening(Habits::default())]);
    assert!(
        found(&report, "largest", "warning").contains("1 GiB"),
        "{report:#}"
    );
}

#[test]
fn an_idle_timeout_is_found_by_waiting() {
    let cut_after = Some(std::time::Duration::from_millis(300));
    let url = opening(Habits {
        cut_after,
        ..Habits::default()
    });
    let ended = offhook(&["check", "--json", "--idle", "1m", &url]).run();
    let report: Value = serde_json::from_str(&ended.stdout).expect("JSON");
    let text = found(&report, "idle", "warning");
    assert!(
        text.contains("cut without a close") && text.contains("proxy_read_timeout"),
        "{text}"
    );
    let url = opening(Habits::default());
    let ended = offhook(&["check", "--json", "--idle", "100ms", &url]).run();
    let report: Value = serde_json::from_str(&ended.stdout).expect("JSON");
    assert!(
        found(&report, "idle", "ok").contains("stays open"),
        "{report:#}"
    );
}

#[test]
fn the_wrong_scheme_is_found_with_and_without_tls() {
    let (plain, address) = serving(offhook(&["--in-memory", "--listen", "0"]));
    let other = format!("ws://{address}/ws");
    fails(
        &[&format!("wss://{address}/ws")],
        "tls",
        &["does not support TLS", &other],
    );
    drop(plain);
    let (secure, port) = secure(|_| ());
    let other = format!("wss://localhost:{port}/ws");
    fails(
        &[&format!("ws://localhost:{port}/ws")],
        "handshake",
        &["answers in TLS", &other],
    );
    drop(secure);
}

#[test]
fn a_self_signed_certificate_is_found_and_the_rest_is_still_checked() {
    let (server, port, cert) = secure_with(|_| ());
    let url = format!("wss://localhost:{port}/ws");
    fails(&[&url], "certificate", &["self-signed", "--ca FILE"]);
    let (report, _) = check(&[&url]);
    found(&report, "ping", "ok");
    let trusted = offhook(&["check", "--json", "--idle", "0s", "--ca", "ca.pem", &url])
        .file("ca.pem", cert)
        .run();
    assert_eq!(trusted.code, Some(0), "{}", trusted.stdout);
    drop(server);
}

#[test]
fn an_expired_certificate_is_found() {
    let (server, port) = secure(|params| params.not_after = rcgen::date_time_ymd(2021, 5, 4));
    let url = format!("wss://localhost:{port}/ws");
    fails(&[&url], "certificate", &["ended on 2021-05-04", "renew it"]);
    drop(server);
}

#[test]
fn a_certificate_for_another_name_is_found() {
    let (server, port, cert) = secure_with(|params| {
        *params = rcgen::CertificateParams::new(["a.example".to_owned()]).expect("a name");
    });
    let url = format!("wss://localhost:{port}/ws");
    let ended = offhook(&["check", "--json", "--idle", "0s", "--ca", "ca.pem", &url])
        .file("ca.pem", cert)
        .run();
    let report: Value = serde_json::from_str(&ended.stdout).expect("JSON");
    let text = found(&report, "certificate", "failed");
    assert!(
        text.contains("it is valid for a.example, not for localhost"),
        "{text}"
    );
    drop(server);
}

#[test]
fn a_certificate_without_names_is_found() {
    let (server, port, cert) = secure_with(|params| {
        *params = rcgen::CertificateParams::new(Vec::new()).expect("no names");
    });
    let url = format!("wss://localhost:{port}/ws");
    let ended = offhook(&["check", "--json", "--idle", "0s", "--ca", "ca.pem", &url])
        .file("ca.pem", cert)
        .run();
    let report: Value = serde_json::from_str(&ended.stdout).expect("JSON");
    let text = found(&report, "certificate", "failed");
    assert!(
        text.contains("it names no host, so it is not valid for localhost"),
        "{text}"
    );
    assert!(ended.stdout.contains("subjectAltName"), "{}", ended.stdout);
    drop(server);
}

#[test]
fn contradicting_or_invalid_arguments_exit_with_2() {
    for url in ["a.example", "ftp://a.example/", "ws://"] {
        assert_eq!(offhook(&["check", url]).run().code, Some(2), "{url}");
    }
}
