//! `offhook log`: backups, checks and reads, of a log in use and of one that is not.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    os::unix::fs::{FileExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::{
    program::{Ended, Running, offhook},
    serve::serving,
};

/// A data directory that outlives the programs that use it.
struct Data(tempfile::TempDir);

impl Data {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    fn path(&self, name: &str) -> String {
        let path = self.0.path().join(name);
        path.to_str().expect("UTF-8").to_owned()
    }

    fn serve(&self) -> (Running, String) {
        let data = self.path("data");
        let program = offhook(&["serve", "--listen", "0", "--data", &data]);
        let unlimited = [
            "--limits-publishes-per-second=1000000",
            "--limits-publish-burst=1000000",
            "--limits-commands-per-second=1000000",
            "--limits-command-burst=1000000",
            "--config=rules.toml",
        ];
        let rules = "[[channels]]\npattern = \"*\"\nhistory.bytes = \"1 GiB\"\n";
        serving(program.args(&unlimited).file("rules.toml", rules))
    }

    fn log(&self, arguments: &[&str]) -> Ended {
        let data = self.path("data");
        let arguments: Vec<_> = ["log"].iter().chain(arguments).copied().collect();
        offhook(&arguments).args(&["--data", &data]).run()
    }
}

/// Publishes with the program's own client; each is acknowledged when this returns.
fn publish(address: &str, channel: &str, messages: impl Iterator<Item = String>) {
    let mut client = Client::connect(address);
    for (id, message) in (1..).zip(messages) {
        client.publish(id, channel, &message);
    }
}

/// A hand-written client: the simplest possible WebSocket.
struct Client(TcpStream);

impl Client {
    fn connect(address: &str) -> Self {
        let mut stream = TcpStream::connect(address).expect("it listens");
        let request = format!(
            "GET /ws HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Sec-WebSocket-Protocol: offhook.v1.json\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).expect("it reads");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("it answers");
            head.push(byte[0]);
        }
        let mut client = Self(stream);
        client.send(r#"{"type":"connect","id":0}"#);
        client.answer("welcome");
        client
    }

    fn publish(&mut self, id: u64, channel: &str, message: &str) {
        self.send(&format!(
            r#"{{"type":"publish","id":{id},"channel":"{channel}","data":"{message}"}}"#
        ));
        let answer = self.answer("published");
        assert_eq!(answer["id"], id, "{answer}");
    }

    /// One frame, masked with zeros.
    fn send(&mut self, text: &str) {
        let length = u16::try_from(text.len()).expect("short");
        let mut frame = vec![0x81];
        match u8::try_from(length) {
            Ok(short @ ..126) => frame.push(0x80 | short),
            _ => {
                frame.push(0x80 | 126);
                frame.extend(length.to_be_bytes());
            }
        }
        frame.extend([0; 4]);
        frame.extend(text.as_bytes());
        self.0.write_all(&frame).expect("it reads");
    }

    /// The next message of this type.
    fn answer(&mut self, kind: &str) -> Value {
        loop {
            let mut head = [0; 2];
            self.0.read_exact(&mut head).expect("it answers");
            let mut length = usize::from(head[1] & 127);
            if length == 126 {
                let mut longer = [0; 2];
                self.0.read_exact(&mut longer).expect("it answers");
                length = usize::from(u16::from_be_bytes(longer));
            }
            let mut payload = vec![0; length];
            self.0.read_exact(&mut payload).expect("it answers");
            let message: Value = serde_json::from_slice(&payload).unwrap_or_default();
            if message["type"] == kind {
                return message;
            }
            assert_ne!(message["type"], "error", "{message}");
        }
    }
}

fn numbers(count: u32) -> impl Iterator<Item = String> {
    (0..count).map(|n| format!("message {n}"))
}

fn messages(ended: &Ended) -> Vec<String> {
    let lines = ended.stdout.lines();
    let parsed = lines.map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    parsed
        .map(|line| line["data"].as_str().unwrap_or_default().to_owned())
        .collect()
}

fn is_good(ended: &Ended) {
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    assert_eq!(ended.stderr, "");
}

fn stop(running: Running) {
    running.signal(rustix::process::Signal::TERM);
    assert_eq!(running.end().code, Some(0));
}

#[test]
fn a_log_can_be_backed_up_while_the_server_runs_and_restored_into_an_empty_directory() {
    let data = Data::new();
    let (running, address) = data.serve();
    publish(&address, "chat", numbers(60));
    let copy = data.path("monday");
    let backup = data.log(&["backup", &copy]);
    is_good(&backup);
    assert!(
        backup.stdout.contains("1 channels, 60 messages"),
        "{}",
        backup.stdout
    );
    // The server continues, and the backup is unchanged.
    publish(&address, "chat", numbers(5));
    stop(running);
    let read = offhook(&["log", "read", "chat", "--data", &copy]).run();
    assert_eq!(messages(&read), numbers(60).collect::<Vec<_>>());

    // Not over another log.
    let refused = data.log(&["restore", &copy]);
    assert_eq!(refused.code, Some(1));
    assert!(
        refused.stderr.contains("a log already exists"),
        "{}",
        refused.stderr
    );
    fs::rename(data.path("data/log"), data.path("aside")).expect("moved");
    is_good(&data.log(&["restore", &copy]));
    let (running, address) = data.serve();
    publish(&address, "chat", ["after".to_owned()].into_iter());
    let read = data.log(&["read", "chat", "--after", "59"]);
    assert_eq!(messages(&read), ["message 59", "after"]);
    let mode = fs::metadata(data.path("data/log"))
        .expect("there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o700);
    stop(running);
}

#[test]
fn a_backup_under_load_is_complete_and_has_everything_acknowledged_before() {
    let data = Data::new();
    let (running, address) = data.serve();
    publish(&address, "chat", numbers(200));
    let (stops, stopped) = std::sync::mpsc::sync_channel::<()>(0);
    let busy = std::thread::spawn({
        let address = address.clone();
        move || {
            let mut client = Client::connect(&address);
            let mut id = 1;
            while stopped.try_recv() != Err(std::sync::mpsc::TryRecvError::Disconnected) {
                client.publish(id, "busy", &"x".repeat(1000));
                id += 1;
            }
            id - 1
        }
    });
    for round in 0..3 {
        let copy = data.path(&format!("copy {round}"));
        is_good(&data.log(&["backup", &copy]));
        let read = offhook(&["log", "read", "chat", "--data", &copy]).run();
        assert_eq!(messages(&read).len(), 200);
    }
    drop(stops);
    let published = busy.join().expect("it published");
    let read = data.log(&["read", "busy"]);
    assert_eq!(messages(&read).len() as u64, published);
    stop(running);
    let left = fs::read_dir(data.path("data/log/snapshots")).expect("there");
    assert_eq!(left.count(), 0, "no snapshot is left behind");
}

#[test]
fn a_reader_is_told_which_of_its_messages_are_missing_in_a_restored_channel() {
    let data = Data::new();
    let (running, address) = data.serve();
    publish(&address, "chat", numbers(3));
    let copy = data.path("monday");
    is_good(&data.log(&["backup", &copy]));
    publish(&address, "chat", numbers(2));
    let url = format!("ws://{address}/ws");
    let all = ["dial", &url, "--subscribe", "chat", "--since", "start"];
    let read = offhook(&[&all[..], &["--json", "-n", "5"]].concat()).run();
    let last = read.stdout.lines().last().expect("five");
    let last: Value = serde_json::from_str(last).expect("JSON");
    stop(running);
    fs::rename(data.path("data/log"), data.path("aside")).expect("moved");
    is_good(&data.log(&["restore", &copy]));
    let (running, address) = data.serve();
    publish(&address, "chat", ["after".to_owned()].into_iter());
    let url = format!("ws://{address}/ws");
    let since = last["position"].as_str().expect("a position");
    let read = offhook(&[
        "dial",
        &url,
        "--subscribe",
        "chat",
        "--since",
        since,
        "-n",
        "1",
    ])
    .run();
    assert_eq!(read.stdout, "after\n");
    assert!(
        read.stderr.contains("no longer part of the channel"),
        "{}",
        read.stderr
    );
    stop(running);
}

#[test]
fn channels_are_listed_with_their_messages_bytes_and_newest_position() {
    let data = Data::new();
    let (running, address) = data.serve();
    publish(&address, "long", numbers(30));
    publish(&address, "short", numbers(2));
    let listed = data.log(&["channels", "--json"]);
    is_good(&listed);
    let lines: Vec<Value> = listed
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(
        (&lines[0]["channel"], &lines[0]["messages"]),
        (&"long".into(), &30.into())
    );
    assert_eq!(
        (&lines[1]["channel"], &lines[1]["messages"]),
        (&"short".into(), &2.into())
    );
    assert!(lines[1]["head"].as_str().expect("text").ends_with(".2"));
    assert!(lines[0]["bytes"].as_u64() > lines[1]["bytes"].as_u64());
    let table = data.log(&["channels"]);
    assert!(table.stdout.contains("short"), "{}", table.stdout);
    stop(running);
}

#[test]
fn reading_and_checking_the_log_of_a_killed_server_does_not_change_it() {
    let data = Data::new();
    let (running, address) = data.serve();
    publish(&address, "chat", numbers(10));
    running.signal(rustix::process::Signal::KILL);
    assert_eq!(running.end().code, None);
    let before = files(Path::new(&data.path("data/log/store")));
    is_good(&data.log(&["check"]));
    assert_eq!(
        messages(&data.log(&["read", "chat", "--limit", "3"])).len(),
        3
    );
    assert_eq!(files(Path::new(&data.path("data/log/store"))), before);
}

/// Names, lengths and inode numbers of all files.
fn files(directory: &Path) -> Vec<(PathBuf, u64)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("a directory").flatten() {
        let metadata = entry.metadata().expect("it is there");
        if metadata.is_dir() {
            found.extend(files(&entry.path()));
        } else {
            found.push((entry.path(), metadata.len()));
        }
    }
    found.sort();
    found
}

#[test]
fn check_exits_with_1_for_a_damaged_log_and_the_rest_can_be_read() {
    let data = Data::new();
    let (running, address) = data.serve();
    // More than a memtable holds, so that there is a table to damage.
    let noise = |n: u32| format!("{n} {}", "x".repeat(30_000));
    publish(&address, "chat", (0..700).map(noise));
    stop(running);
    damage(Path::new(&data.path("data/log/store/keyspaces/1/tables")));
    let check = data.log(&["check", "--json"]);
    assert_eq!(check.code, Some(1), "{}", check.stdout);
    let report: Value = serde_json::from_str(&check.stdout).expect("JSON");
    assert_eq!(report["good"], false);
    assert_eq!(report["damaged"][0]["channel"], "chat");
    let good = report["messages"].as_u64().expect("a number");
    assert!((600..700).contains(&good), "{report}");
    let read = data.log(&["read", "chat"]);
    assert_eq!(read.code, Some(1));
    assert!(read.stderr.contains("are damaged"), "{}", read.stderr);
    assert!(read.stdout.contains(r#"{"damaged":["#));
    let lines = read
        .stdout
        .lines()
        .filter(|line| line.contains(r#""data""#));
    assert_eq!(lines.count() as u64, good);
}

#[test]
fn a_backup_with_missing_files_is_named_and_leaves_nothing_in_the_data_directory() {
    let data = Data::new();
    let (running, address) = data.serve();
    publish(&address, "chat", numbers(60));
    stop(running);
    let keyspaces = "store/keyspaces/1";
    for file in ["witness", "store/version", &format!("{keyspaces}/owner")] {
        let copy = data.path("monday");
        is_good(&data.log(&["backup", &copy]));
        fs::remove_file(Path::new(&copy).join(file)).expect("removed");
        let restored = data.path("restored");
        let ended = offhook(&["log", "restore", &copy, "--data", &restored]).run();
        assert_eq!(ended.code, Some(1), "{file}: {}", ended.stdout);
        let told = &ended.stderr;
        let name = Path::new(file).file_name().expect("a name");
        assert!(told.contains(&format!("{copy}:")), "{file}: {told}");
        assert!(told.contains(name.to_str().expect("UTF-8")), "{told}");
        assert!(!told.contains("snapshots"), "{file}: {told}");
        assert!(!Path::new(&restored).exists(), "{file}: {told}");
        fs::remove_dir_all(&copy).expect("removed");
    }
}

#[test]
fn a_damaged_backup_is_restored_only_if_the_damage_is_accepted() {
    let data = Data::new();
    let (running, address) = data.serve();
    let noise = |n: u32| format!("{n} {}", "x".repeat(30_000));
    publish(&address, "chat", (0..700).map(noise));
    stop(running);
    let copy = data.path("monday");
    is_good(&data.log(&["backup", &copy]));
    damage(&Path::new(&copy).join("store/keyspaces/1/tables"));
    let restored = data.path("restored");
    fs::create_dir(&restored).expect("created");
    // Left by an earlier restore that was killed.
    fs::create_dir_all(Path::new(&restored).join("log.restoring/store")).expect("created");
    let restore = ["log", "restore", &copy, "--data", &restored];
    let ended = offhook(&restore).run();
    assert_eq!(ended.code, Some(1), "{}", ended.stdout);
    let told = &ended.stderr;
    assert!(told.contains(&format!("{copy}: the backup is damaged")));
    assert!(told.contains("messages cannot be read"), "{told}");
    assert!(told.contains("--accept-damage"), "{told}");
    assert_eq!(fs::read_dir(&restored).expect("there").count(), 0);

    let ended = offhook(&[&restore[..], &["--accept-damage"]].concat()).run();
    is_good(&ended);
    assert!(ended.stdout.contains("messages cannot be read"));
    let names = fs::read_dir(&restored).expect("there").flatten();
    let names: Vec<_> = names.map(|entry| entry.file_name()).collect();
    assert_eq!(names, ["log"]);
    let check = offhook(&["log", "check", "--data", &restored]).run();
    assert!(check.stdout.contains("damaged: channel chat"));
}

/// Changes a byte of each file.
fn damage(tables: &Path) {
    let found = files(tables);
    assert!(!found.is_empty(), "no table was written");
    for (table, length) in found {
        let file = fs::OpenOptions::new().read(true).write(true).open(table);
        let file = file.expect("opened");
        let mut byte = [0];
        file.read_exact_at(&mut byte, length / 3).expect("read");
        file.write_all_at(&[byte[0] ^ 16], length / 3)
            .expect("written");
    }
}

#[test]
fn a_backup_into_the_log_itself_and_a_second_restore_at_once_are_refused() {
    let data = Data::new();
    let (running, address) = data.serve();
    publish(&address, "chat", numbers(3));
    let link = data.path("link");
    std::os::unix::fs::symlink(data.path("data/log"), &link).expect("linked");
    for inside in ["data/log", "data/log/store/monday", "data/../link/a/b"] {
        let ended = data.log(&["backup", &data.path(inside)]);
        assert_eq!(ended.code, Some(2), "{inside}: {}", ended.stdout);
        assert!(ended.stderr.contains("inside the log"), "{}", ended.stderr);
    }
    assert!(!Path::new(&data.path("data/log/store/monday")).exists());
    let copy = data.path("new/monday");
    is_good(&data.log(&["backup", &copy]));
    // The backup that is there is said to be nothing bad.
    let ended = data.log(&["backup", &copy]);
    assert_eq!(ended.code, Some(1), "{}", ended.stdout);
    let told = &ended.stderr;
    assert!(told.contains("name an empty or new one"), "{told}");
    assert!(!told.contains("not a complete backup"), "{told}");
    stop(running);

    let restored = data.path("restored");
    let unfinished = data.path("restored/log.restoring");
    fs::create_dir_all(&unfinished).expect("created");
    let other = fs::File::open(&unfinished).expect("opened");
    other.lock().expect("locked");
    let ended = offhook(&["log", "restore", &copy, "--data", &restored]).run();
    assert_eq!(ended.code, Some(1), "{}", ended.stdout);
    assert!(ended.stderr.contains("another process"), "{}", ended.stderr);
    assert!(Path::new(&unfinished).exists());
}

#[test]
fn a_directory_without_a_log_and_an_unknown_channel_are_reported() {
    let data = Data::new();
    let nothing = data.log(&["check"]);
    assert_eq!(nothing.code, Some(1));
    assert!(
        nothing.stderr.contains("there is no log here"),
        "{}",
        nothing.stderr
    );
    let (running, address) = data.serve();
    publish(&address, "chat", numbers(1));
    let unknown = data.log(&["read", "chatt"]);
    assert_eq!(unknown.code, Some(1));
    assert!(
        unknown.stderr.contains("no such channel"),
        "{}",
        unknown.stderr
    );
    let wrong = data.log(&["read", ""]);
    assert_eq!(wrong.code, Some(2), "{}", wrong.stderr);
    stop(running);
}
