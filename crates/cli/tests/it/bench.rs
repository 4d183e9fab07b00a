use serde_json::Value;

use crate::peer::peer;
use crate::program::{Ended, offhook};
use crate::serve::serving;

/// A short run, and its result as JSON.
fn bench(arguments: &[&str]) -> (Value, Ended) {
    let short = ["bench", "--time", "200ms", "--warm-up", "50ms", "--json"];
    let ended = offhook(&[&short, arguments].concat()).run();
    let result = serde_json::from_str(&ended.stdout).unwrap_or(Value::Null);
    (result, ended)
}

/// An echo server on a thread of its own.
fn echo_server() -> String {
    let (tell, address) = std::sync::mpsc::sync_channel(1);
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.expect("a runtime").block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
                .await
                .expect("a port");
            tell.send(listener.local_addr().expect("bound"))
                .expect("asked for");
            let served = offhook::Server::on(listener).serve(|mut socket| async move {
                while let Some(message) = socket.recv().await? {
                    socket.send(message).await?;
                }
                Ok(())
            });
            served.await.expect("it serves");
        });
    });
    format!("ws://{}/", address.recv().expect("it listens"))
}

fn no_faults(result: &Value) -> bool {
    let faults = result["faults"].as_object().expect("faults");
    let is_none =
        |value: &Value| *value == 0 || value.as_object().is_some_and(|map| map.is_empty());
    faults.values().all(is_none)
}

#[test]
fn a_closed_loop_measures_every_echo() {
    let url = echo_server();
    let (result, ended) = bench(&[&url, "-c", "4", "-i", "2", "-s", "1 KiB", "--threads", "2"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(no_faults(&result), "{result:#}");
    assert!(
        result["answers"]["count"]
            .as_u64()
            .is_some_and(|count| count > 0),
        "{result:#}"
    );
    let latency = &result["answers"]["latency_us"];
    let order =
        ["p50", "p90", "p99", "p999", "max"].map(|name| latency[name].as_f64().expect("a time"));
    assert!(order.is_sorted() && order[0] > 0.0, "{latency}");
    assert_eq!(
        (&result["bytes"], &result["in_flight"]),
        (&1024.into(), &2.into())
    );
}

#[test]
fn an_open_loop_sends_at_the_requested_rate() {
    let url = echo_server();
    let (result, ended) = bench(&[&url, "-c", "3", "--rate", "1000", "--binary", "--deflate"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(no_faults(&result), "{result:#}");
    // Messages due in the window are measured, however late they are sent and answered.
    let timed = result["answers"]["latency_us"]["of"]
        .as_u64()
        .expect("a count");
    assert!((199..=201).contains(&timed), "{result:#}");
    assert_eq!(result["sent_late_us"]["of"], timed, "{result:#}");
}

#[test]
fn unanswered_messages_count_with_the_time_they_waited() {
    let (url, _peer) = peer("", |peer| {
        while peer.hear().is_some_and(|frame| frame.opcode() != 8) {}
    });
    let (result, ended) = bench(&[&url, "-c", "1", "--rate", "100", "--grace", "300ms"]);
    assert_eq!(ended.code, Some(1));
    let unanswered = result["faults"]["unanswered"].as_u64().expect("a count");
    assert!(unanswered > 0, "{result:#}");
    // Each counts as at least as long as it was waited for.
    let shortest = result["answers"]["latency_us"]["p50"]
        .as_f64()
        .expect("a time");
    assert!(shortest >= 300_000.0 * 0.99, "{result:#}");
}

#[test]
fn an_answer_other_than_the_echo_is_wrong_unless_any_is_accepted() {
    let answers = |arguments: &[&str]| {
        let (url, _peer) = peer("", |peer| {
            while let Some(frame) = peer.hear() {
                if frame.opcode() == 8 {
                    return peer.say(&frame);
                }
                peer.say(&offhook_testkit::frames::text("something else"));
            }
        });
        bench(&[&[url.as_str(), "-c", "1"], arguments].concat())
    };
    let (result, ended) = answers(&[]);
    assert_eq!(ended.code, Some(1));
    assert_eq!(result["faults"]["wrong"], 1, "{result:#}");
    let (result, ended) = answers(&["--any-answer"]);
    assert_eq!(ended.code, Some(0), "{result:#}");
}

#[test]
fn deliveries_are_measured_in_every_dialect_and_no_subscriber_misses_any() {
    let (server, address) = serving(offhook(&["--in-memory", "--listen", "0"]));
    for (path, dialect) in [
        ("/ws", "native"),
        ("/socket.io/?EIO=4&transport=websocket", "socketio"),
        ("/mqtt", "mqtt"),
    ] {
        deliveries_are_measured(&format!("ws://{address}{path}"), dialect);
    }
    drop(server);
}

fn deliveries_are_measured(url: &str, dialect: &str) {
    let load = [
        "--subscribers",
        "10",
        "--publishers",
        "2",
        "--channels",
        "2",
        "--rate",
        "60",
        "--dialect",
        dialect,
    ];
    let (result, ended) = bench(&[&[url], &load[..]].concat());
    assert_eq!(ended.code, Some(0), "{}\n{result:#}", ended.stderr);
    assert!(no_faults(&result), "{result:#}");
    let published = result["answers"]["count"].as_u64().expect("a count");
    let delivered = result["deliveries"]["count"].as_u64().expect("a count");
    assert!(published > 0 && delivered > published, "{result:#}");
}

#[test]
fn limits_of_the_server_are_reported_with_what_to_do() {
    let limits = [
        "--limits-publishes-per-second",
        "1",
        "--limits-publish-burst",
        "1",
    ];
    let (server, address) = serving(offhook(
        &[&["--in-memory", "--listen", "0"], &limits[..]].concat(),
    ));
    let url = format!("ws://{address}/ws");
    let (result, ended) = bench(&[&url, "--subscribers", "1", "--rate", "100"]);
    assert_eq!(ended.code, Some(1));
    assert!(
        result["faults"]["refused"]["rate_limited"].is_number(),
        "{result:#}"
    );
    let warnings = result["warnings"].to_string();
    assert!(
        warnings.contains("--limits-publishes-per-second"),
        "{result:#}"
    );
    drop(server);
}

#[test]
fn the_result_is_printed_as_text_by_default() {
    let url = echo_server();
    let ended = offhook(&["bench", &url, "-c", "2", "-t", "100ms", "--warm-up", "10ms"]).run();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let lines: Vec<&str> = ended.stdout.lines().collect();
    let headline = format!("{url}  2 connections, 128 B, closed loop, 1 in flight each, 0.1 s");
    assert_eq!(lines[0], headline);
    assert!(
        lines[2].trim_start().starts_with("answers"),
        "{}",
        ended.stdout
    );
    assert!(lines[3].contains("p99.9"), "{}", ended.stdout);
}

#[test]
fn a_missing_server_is_reported() {
    let (_, ended) = bench(&["ws://127.0.0.1:1/"]);
    assert_eq!(ended.code, Some(1));
    assert!(
        ended
            .stderr
            .contains("only 0 of 64 connections could be opened"),
        "{}",
        ended.stderr
    );
}

#[test]
fn a_server_with_channels_is_recognised_and_subscribers_is_suggested() {
    let (server, address) = serving(offhook(&["--in-memory", "--listen", "0"]));
    let (_, ended) = bench(&[&format!("ws://{address}/ws")]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("--subscribers N"), "{}", ended.stderr);
    drop(server);
}

#[test]
fn contradicting_or_invalid_arguments_exit_with_2() {
    for arguments in [
        &["ws://a/", "--rate", "0"][..],
        &["ws://a/", "--rate", "1", "--in-flight", "1"],
        &["ws://a/", "--connections", "0"],
        &["ws://a/", "--size", "1 TiB"],
        &["ws://a/", "--publishers", "2"],
    ] {
        let (_, ended) = bench(arguments);
        assert_eq!(ended.code, Some(2), "{arguments:?}: {}", ended.stderr);
    }
}

#[test]
fn a_threshold_that_is_missed_fails_the_run_and_one_that_is_reached_does_not() {
    let url = echo_server();
    let reached = [
        "--threshold",
        "p50 < 60s",
        "--threshold",
        "rate > 0",
        "--threshold",
        "faults <= 0",
    ];
    let (result, ended) = bench(&[&[url.as_str(), "-c", "2"], &reached[..]].concat());
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let thresholds = result["thresholds"].as_array().expect("thresholds");
    assert_eq!(thresholds.len(), 3);
    assert!(
        thresholds.iter().all(|threshold| threshold["ok"] == true),
        "{result:#}"
    );
    let (result, ended) = bench(&[&url, "-c", "2", "--threshold", "p50 < 1us"]);
    assert_eq!(ended.code, Some(1));
    assert_eq!(result["thresholds"][0]["ok"], false, "{result:#}");
    assert!(
        ended.stderr.contains("threshold missed: p50 < 1us"),
        "{}",
        ended.stderr
    );
}

#[test]
fn a_threshold_for_faults_allows_that_many() {
    let silent = || {
        peer("", |peer| {
            while peer.hear().is_some_and(|frame| frame.opcode() != 8) {}
        })
    };
    let load = ["-c", "1", "--rate", "20", "--grace", "10ms"];
    let (url, _peer) = silent();
    let (_, ended) = bench(
        &[
            &[url.as_str()],
            &load[..],
            &["--threshold", "faults <= 1000"],
        ]
        .concat(),
    );
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let (url, _peer) = silent();
    let (_, ended) = bench(&[&[url.as_str()], &load[..], &["--threshold", "faults < 1"]].concat());
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
}

#[test]
fn a_scenario_is_several_runs_whose_thresholds_set_the_exit_code() {
    let url = echo_server();
    let scenario = format!(
        "url = \"{url}\"\ntime = \"100ms\"\nwarm_up = \"10ms\"\nconnections = 2\n[[run]]\nname = \"good\"\n\
         [[run]]\nname = \"hopeless\"\nthreshold = [\"rate > 1000000000\"]\n"
    );
    let ended = offhook(&["bench", "--scenario", "load.toml", "--json"])
        .file("load.toml", scenario)
        .run();
    assert_eq!(ended.code, Some(1));
    assert!(
        ended
            .stderr
            .contains("hopeless: threshold missed: rate > 1000000000"),
        "{}",
        ended.stderr
    );
    let result: Value = serde_json::from_str(&ended.stdout).expect("JSON");
    let names: Vec<&str> = result["runs"]
        .as_array()
        .expect("runs")
        .iter()
        .filter_map(|run| run["name"].as_str())
        .collect();
    assert_eq!(names, ["good", "hopeless"]);
    let ended = offhook(&["bench", "--scenario", "load.toml"])
        .file(
            "load.toml",
            "url = \"ws://a/\"\n[[run]]\nname = \"a\"\nrates = 1\n",
        )
        .run();
    assert_eq!(ended.code, Some(2));
    assert!(
        ended
            .stderr
            .contains("load.toml: a: unexpected argument '--rates'"),
        "{}",
        ended.stderr
    );
}

#[test]
fn two_results_are_compared_and_a_worse_one_fails_on_request() {
    let url = echo_server();
    let (result, _) = bench(&[&url, "-c", "1", "--rate", "100"]);
    let mut worse = result.clone();
    let p99 = result["answers"]["latency_us"]["p99"]
        .as_f64()
        .expect("a time");
    worse["answers"]["latency_us"]["p99"] = (p99 * 1.5).into();
    let compare = |before: &Value, after: &Value, more: &[&str]| {
        offhook(&[&["bench", "--compare", "before.json", "after.json"], more].concat())
            .file("before.json", before.to_string())
            .file("after.json", after.to_string())
            .run()
    };
    let ended = compare(&result, &worse, &[]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stdout.contains("+50.0 %"), "{}", ended.stdout);
    assert_eq!(
        compare(&result, &worse, &["--tolerance", "60"]).code,
        Some(0)
    );
    let ended = compare(&result, &worse, &["--tolerance", "10"]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("p99 went from"), "{}", ended.stderr);
    assert_eq!(
        compare(&worse, &result, &["--tolerance", "10"]).code,
        Some(0)
    );
    let ended = compare(&result, &Value::from("nothing"), &[]);
    assert_eq!(ended.code, Some(2));
}

#[test]
fn comparing_results_without_a_common_run_fails() {
    let url = echo_server();
    let (result, _) = bench(&[&url, "-c", "1", "--rate", "100"]);
    let mut steady = result.clone();
    steady["name"] = "steady".into();
    let scenario = serde_json::json!({ "runs": [steady, steady] });
    let ended = offhook(&["bench", "--compare", "before.json", "after.json"])
        .file("before.json", scenario.to_string())
        .file("after.json", result.to_string())
        .run();
    assert_eq!(ended.code, Some(1));
    assert!(
        ended.stderr.contains("a run without a name")
            && ended
                .stderr
                .contains("the earlier result has \"steady\", \"steady\""),
        "{}",
        ended.stderr
    );
}

#[test]
fn the_report_is_one_page_with_plots_and_without_scripts() {
    let url = echo_server();
    let program = offhook(&[
        "bench",
        "-t",
        "600ms",
        "--warm-up",
        "10ms",
        "-c",
        "2",
        "--html",
        "report.html",
    ]);
    let folder = program.directory.path().to_owned();
    let mut running = program.args(&[url.as_str()]).start();
    // The folder is deleted with the program.
    running.line("generator");
    let page = loop {
        let page = std::fs::read_to_string(folder.join("report.html")).unwrap_or_default();
        if page.ends_with("</html>\n") {
            break page;
        }
        std::thread::yield_now();
    };
    assert_eq!(page.matches("<svg").count(), 3, "{page}");
    assert!(
        !page.contains("<script") && !page.contains("src="),
        "{page}"
    );
    assert!(page.contains(url.trim_end_matches('/')), "{page}");
    assert!(page.matches("<path").count() >= 4, "{page}");
}

/// The transports that every run compares.
const TRANSPORTS: [&str; 8] = [
    "polling",
    "long-polling",
    "SSE + POST",
    "WebSocket",
    "WebSocket, deflate",
    "WebSocket, TLS",
    "WebSocket, HTTP/2",
    "WebTransport",
];

/// The numbers of a transport's row: p50, p99, bytes down and up, processor time, reconnecting, its longest, and
/// missing deliveries.
fn row<'a>(stdout: &'a str, transport: &str) -> Vec<&'a str> {
    let rows = stdout.lines().filter_map(|line| line.strip_prefix("  "));
    let mut rows = rows.filter_map(|line| {
        let (name, numbers) = line.split_at_checked(20)?;
        (name.trim() == transport).then(|| numbers.split_whitespace().collect())
    });
    rows.next()
        .unwrap_or_else(|| panic!("no row of {transport}: {stdout}"))
}

#[test]
fn transports_are_compared_over_loopback_without_any_rights() {
    let place = tempfile::tempdir().expect("a directory");
    let file = place.path().join("transports.html");
    let ended = offhook(&[
        "bench",
        "transports",
        "--quick",
        "--loopback",
        "--subscribers=2",
        "--poll=20ms",
        "--html",
        file.to_str().expect("UTF-8"),
    ])
    .run();
    assert_eq!(ended.code, Some(0), "{}{}", ended.stderr, ended.stdout);
    let stdout = ended.stdout;
    let page = std::fs::read_to_string(file).expect("the page is written");
    for transport in TRANSPORTS {
        let row = row(&stdout, transport);
        assert_eq!(
            (row.len(), row.last()),
            (8, Some(&"0")),
            "{transport}: {stdout}"
        );
        for number in [0, 1, 2, 3, 5, 6] {
            let number: f64 = row[number].parse().expect("a number");
            assert!(number >= 0.0, "{transport}: {stdout}");
        }
        // The message itself, and less than ten times as much around it.
        let down: f64 = row[2].parse().expect("a number");
        let least = if transport.contains("deflate") {
            50.0
        } else {
            200.0
        };
        assert!((least..2_000.0).contains(&down), "{transport}: {stdout}");
        assert!(page.contains(&format!("<td>{transport}</td>")), "{page}");
    }
    assert!(
        stdout.contains("without headers of TCP, UDP and IP"),
        "{stdout}"
    );
    assert!(!stdout.contains("one lost packet"), "{stdout}");
    assert!(page.matches("<svg").count() >= 3, "{page}");
    assert!(page.contains("width=device-width") && page.contains("prefers-color-scheme:dark"));
    for outside in ["<script", "src=", "href=", "http://", "https://", "url("] {
        assert!(!page.contains(outside), "{outside}: {page}");
    }
}

#[test]
fn packets_are_lost_where_that_is_possible_and_elsewhere_the_command_says_what_it_needs() {
    let ended = offhook(&[
        "bench",
        "transports",
        "--quick",
        "--subscribers=2",
        "--loss=5",
        "--round-trip=20ms",
    ])
    .run();
    assert_eq!(ended.code, Some(0), "{}{}", ended.stderr, ended.stdout);
    let polling = row(&ended.stdout, "polling");
    assert_eq!(polling.len(), 8, "{}", ended.stdout);
    if ended.stderr.contains("packets can't be lost here") {
        assert!(ended.stderr.contains("/dev/net/tun"), "{}", ended.stderr);
        assert!(ended.stdout.contains("0 % loss"), "{}", ended.stdout);
        return;
    }
    assert!(ended.stdout.contains("5 % loss"), "{}", ended.stdout);
    assert!(
        ended.stdout.contains("without the headers of IP"),
        "{}",
        ended.stdout
    );
    for transport in ["WebSocket, TLS", "WebTransport", "WebTransport, streams"] {
        let (_, blocking) = ended
            .stdout
            .split_once("one lost packet")
            .expect("head-of-line blocking is measured");
        assert!(blocking.contains(transport), "{}", ended.stdout);
    }
    // A half of the round trip is below every latency.
    for transport in TRANSPORTS {
        let p50: f64 = row(&ended.stdout, transport)[0].parse().expect("a number");
        assert!(p50 >= 10.0, "{transport}: {}", ended.stdout);
    }
}

#[test]
fn flags_of_transports_are_checked_before_anything_starts() {
    for (flag, complaint) in [
        ("--loss=60", "from 0 to 50"),
        ("--subscribers=2000", "at most 1000"),
        ("--size=4KiB", "fits into one packet"),
        ("--poll=0s", "more than 0"),
    ] {
        let ended = offhook(&["bench", "transports", flag]).run();
        assert_eq!(ended.code, Some(2), "{flag}");
        assert!(ended.stderr.contains(complaint), "{}", ended.stderr);
    }
    let help = offhook(&["bench", "transports", "--help"]).run().stdout;
    for word in ["/dev/net/tun", "--quick", "Examples:", "half a round trip"] {
        assert!(help.contains(word), "{help}");
    }
    assert!(!help.contains("--inside"), "{help}");
}
