//! Every command in the README and in the pages of docs/ that show commands, run as written there.
//!
//! Only the ports and the directory of backups differ: they are those of this test.

use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;

use crate::program::offhook;
use crate::serve::serving;

const README: &str = include_str!("../../../../README.md");
const FIRST: &str = include_str!("../../../../docs/README.md");
const TOOLS: &str = include_str!("../../../../docs/tools.md");
const SERVER: &str = include_str!("../../../../docs/server.md");
const WEBSOCKET: &str = include_str!("../../../../docs/how-websocket-works.md");
const TRANSPORTS: &str = include_str!("../../../../docs/transports.md");
const MQTT: &str = include_str!("../../../../docs/dialects/mqtt.md");
const BACKUP: &str = include_str!("../../../../docs/backup.md");

/// The API key in the environment of the commands, and its entry in the server's settings.
const KEY: (&str, &str) = (
    "ohk_example",
    "* sha256:56d6a962d9317b5baf79a8e3b6913e1e803dfd4eac96e23671a15c8878277c17",
);

/// Commands that are not run here, and why.
const ELSEWHERE: &[(&str, &str)] = &[
    (
        "cargo run --release",
        "builds the program; what it starts is a test in serve.rs",
    ),
    ("./test", "is what runs this test"),
    ("cargo ", "needs the registry, or builds the whole again"),
    ("git clone", "needs the network"),
    (
        "offhook bench transports",
        "takes two minutes; a quick run is a test in bench.rs",
    ),
    ("docker ", "needs a daemon"),
    (
        "mosquitto_",
        "needs mosquitto's clients; run by conformance/dialects/run mqtt",
    ),
];

/// What commands that do not end by themselves print when they work.
const ENDLESS: &[(&str, &str)] = &[
    ("offhook serve", "is listening"),
    ("offhook dial --listen", "listening on"),
    ("offhook dial --bridge", "listening on"),
    ("tail -f", "connected"),
    ("curl -N", "event: subscribed"),
    ("--presence", "room: live"),
    ("--filter", "sensors/+: live"),
    ("offhook top # ", "connections "),
    // Its input is this test's, and does not end.
    ("dial ws://localhost:9001 -H", "connected"),
];

/// The lines of the blocks in these languages; a here-document belongs to the line it begins in.
fn commands(page: &str) -> Vec<String> {
    let mut commands = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        let is_console = line == "```console";
        if line != "```sh" && !is_console {
            continue;
        }
        let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        let mut block = block.into_iter();
        while let Some(line) = block.next() {
            let command = match (is_console, line.strip_prefix("$ ")) {
                (true, Some(command)) => command,
                (true, None) => continue,
                (false, _) => line,
            };
            let mut command = command.to_owned();
            if command.contains("<<'END'") {
                for line in block.by_ref() {
                    command = format!("{command}\n{line}");
                    if line == "END" {
                        break;
                    }
                }
            }
            if !command.trim().is_empty() && !command.starts_with('#') {
                commands.push(command);
            }
        }
    }
    commands
}

/// What the commands on a page need to find.
fn prepare(folder: &Path) {
    let captures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures");
    for (name, from) in [
        ("capture.pcapng", "tls-with-keys.pcapng"),
        ("keys.txt", "keys.txt"),
        ("follow.txt", "follow-hex.txt"),
    ] {
        std::fs::copy(captures.join(from), folder.join(name)).expect("copied");
    }
    std::fs::write(folder.join("app.log"), "a line\n").expect("written");
}

/// The program first in the path, and `jq` where the machine has none.
fn tools(folder: &Path) -> String {
    let program = Path::new(env!("CARGO_BIN_EXE_offhook"));
    let tools = folder.join("tools");
    std::fs::create_dir(&tools).expect("made");
    std::os::unix::fs::symlink(program, tools.join("offhook")).expect("linked");
    let path = std::env::var("PATH").unwrap_or_default();
    format!("{}:{path}", tools.display())
}

/// A shell that runs this command, in its own process group.
fn shell(command: &str, folder: &Path, path: &str) -> Command {
    let mut shell = Command::new("bash");
    shell.args(["-e", "-o", "pipefail", "-c", command]);
    shell.current_dir(folder).process_group(0);
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("OFFHOOK_") || name == "CARGO_RUN_OFFHOOK" || name.ends_with("_proxy") {
            shell.env_remove(&*name);
        }
    }
    shell.env("PATH", path).env("KEY", KEY.0);
    shell.env("OFFHOOK_ADMIN_KEY", KEY.0);
    shell
}

fn run_to_its_end(command: &str, folder: &Path, path: &str) {
    let output = shell(command, folder, path)
        .stdin(Stdio::null())
        .output()
        .expect("bash");
    assert!(
        output.status.success(),
        "{command}\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Runs it until it prints this, and kills it with everything it started.
fn run_until(command: &str, said: &str, folder: &Path, path: &str) {
    let mut child = shell(&format!("({command}\n) 2>&1"), folder, path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("bash");
    let mut stdout = child.stdout.take().expect("piped");
    let (mut seen, mut bytes) = (String::new(), [0; 4096]);
    while !seen.contains(said) {
        let count = stdout.read(&mut bytes).expect("readable");
        assert!(count > 0, "{command}\nended without {said:?}:\n{seen}");
        seen.push_str(&String::from_utf8_lossy(&bytes[..count]));
    }
    let group = i32::try_from(child.id())
        .ok()
        .and_then(Pid::from_raw)
        .expect("an id");
    kill_process_group(group, Signal::KILL).expect("it runs");
    child.wait().expect("it ends");
}

#[test]
fn every_command_in_the_readme_and_the_pages_runs_as_documented() {
    let folder = TempDir::new().expect("a folder");
    let folder = folder.path();
    prepare(folder);
    let path = tools(folder);
    let (server, address) = serving(offhook(&[
        "--in-memory",
        "--listen",
        "0",
        "--api-keys",
        KEY.1,
    ]));
    let mut echo = offhook(&["dial", "--listen", "0", "--as", "echo"]).start();
    let line = echo.error_line("listening");
    let (_, rest) = line.split_once("ws://").expect("a URL");
    let (echoes, _) = rest.split_once('/').expect("a URL");
    let pages = [README, FIRST, TOOLS, SERVER, TRANSPORTS, MQTT, WEBSOCKET];
    for (page, at_least) in pages.into_iter().zip([3, 2, 20, 5, 3, 3, 9]) {
        assert!(commands(page).len() >= at_least, "{:?}", commands(page));
    }
    for command in pages.into_iter().flat_map(commands) {
        let is = |(start, _): &&(&str, &str)| command.starts_with(start);
        if ELSEWHERE.iter().any(|elsewhere| is(&elsewhere)) {
            continue;
        }
        let here = command
            .replace("localhost:9001", echoes)
            .replace("localhost:8000", &address)
            .replace("--listen 9001", "--listen 0")
            .replace("--listen 9002", "--listen 0")
            .replace("listen:9003", "listen:0")
            .replace(" --listen :8000", "")
            .replace("--mqtt-listen :1883", "--mqtt-listen 127.0.0.1:0")
            // Otherwise curl succeeds with any status.
            .replace("curl ", "curl --silent --show-error --fail-with-body ");
        let asked = format!(" --server http://{address}");
        let here = here
            .replace("offhook explain", &format!("offhook explain{asked}"))
            .replace("offhook top", &format!("offhook top{asked}"));
        let here = match here.strip_prefix("offhook serve") {
            Some(more) => format!("offhook serve --listen 0{more}"),
            None => here,
        };
        // Of ten seconds, one is enough to see that it works.
        let here = if here.contains("offhook bench ws") {
            let (before, after) = here.split_once("offhook bench ").expect("it is there");
            format!("{before}offhook bench -t 300ms --warm-up 50ms {after}")
        } else {
            here
        };
        // The program's own commands are matched at the beginning: comments name them, too.
        let is_endless = |(part, _): &&(&str, &str)| match part.starts_with("offhook") {
            true => command.starts_with(part),
            false => command.contains(part),
        };
        match ENDLESS.iter().find(is_endless) {
            Some((_, said)) => run_until(&here, said, folder, &path),
            None => run_to_its_end(&here, folder, &path),
        }
    }
    drop((server, echo));
}

/// `systemctl` is the server that the test starts.
#[test]
fn every_command_of_the_backup_page_runs_as_documented() {
    let folder = TempDir::new().expect("a folder");
    let folder = folder.path();
    let path = tools(folder);
    let backups = folder.join("backups");
    std::fs::create_dir(&backups).expect("made");
    let data = folder.join("offhook-data").display().to_string();
    let start = || serving(offhook(&["serve", "--listen", "0", "--data", &data]));
    let (server, address) = start();
    let publish = format!("echo hi | offhook dial ws://{address}/ws --publish chat");
    run_to_its_end(&publish, folder, &path);
    let mut server = Some((server, address));
    for command in commands(BACKUP) {
        if command.starts_with("systemctl stop") {
            server = None;
        } else if command.starts_with("systemctl start") {
            server = Some(start());
        } else if command.starts_with("offhook log restore") && server.is_some() {
            // It is for a log that was lost, and comes again where the log was moved away.
        } else {
            let here = command.replace("/mnt/backups", &backups.display().to_string());
            run_to_its_end(&here, folder, &path);
        }
    }
    let (_server, address) = server.expect("the page starts the server again");
    let read =
        format!("offhook dial ws://{address}/ws --subscribe chat --since start -n 1 | grep hi");
    run_to_its_end(&read, folder, &path);
    let exported = std::fs::read_to_string(folder.join("chat.jsonl")).expect("written");
    assert!(exported.contains("hi"), "{exported}");
}

#[test]
fn the_example_of_decode_prints_the_documented_output() {
    let (_, rest) = TOOLS.split_once("```console\n$ ").expect("an example");
    let (block, _) = rest.split_once("```").expect("its end");
    let (command, expected) = block.split_once('\n').expect("its output");
    let folder = TempDir::new().expect("a folder");
    let path = tools(folder.path());
    let output = shell(command, folder.path(), &path).output().expect("bash");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout).trim_end(),
        expected.trim_end()
    );
}
