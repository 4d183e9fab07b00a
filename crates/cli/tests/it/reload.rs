//! Reading the configuration again while the server runs, by SIGHUP and by `offhook reload`.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::PathBuf,
};

use rustix::process::Signal;

use crate::{
    program::{Running, offhook},
    serve::{open_connection, serving},
};

/// A running server, its address, and its configuration file.
fn with_file(text: &str) -> (Running, String, PathBuf) {
    let program = offhook(&["serve"]).file("offhook.toml", text);
    let file = program.directory.path().join("offhook.toml");
    let (running, address) = serving(program);
    (running, address, file)
}

/// The status of a handshake from a page.
fn from_page(address: &str, origin: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("it listens");
    let request = format!(
        "GET /ws HTTP/1.1\r\nHost: {address}\r\nOrigin: {origin}\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Protocol: offhook.v1.json\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).expect("it answers");
    String::from_utf8_lossy(&answer[9..]).into_owned()
}

const PAGE: &str = "https://app.example";

#[test]
fn sighup_applies_a_changed_file_and_every_changed_setting_is_logged() {
    let before = "listen = \"0\"\nin_memory = true\n";
    let (mut running, address, file) = with_file(before);
    let open = open_connection(&address);
    assert_eq!(from_page(&address, PAGE), "403");
    let after = format!("{before}origins = [\"{PAGE}\"]\ntalk = false\n[log]\nlevel = \"debug\"\n");
    fs::write(&file, after).expect("written");
    running.signal(Signal::HUP);
    let told = running.error_line_with("the configuration was read again");
    assert!(told.contains("setting=\"origins\""), "{told}");
    assert!(told.contains("https://app.example"), "{told}");
    assert!(
        told.contains("setting=\"talk\"") && told.contains("next start"),
        "{told}"
    );
    assert_eq!(from_page(&address, PAGE), "101");
    // The new level applies immediately: this line has the level `debug`.
    drop(TcpStream::connect(&address).expect("it listens"));
    running.error_line_with("DEBUG");
    drop(open);
}

#[test]
fn a_mistake_in_the_file_changes_nothing_and_is_named_with_its_line() {
    let before = "listen = \"0\"\nin_memory = true\n";
    let (mut running, address, file) = with_file(before);
    let after = format!("{before}origins = [\"{PAGE}\"]\n[limits]\ndata_bytes = \"lots\"\n");
    fs::write(&file, after).expect("written");
    running.signal(Signal::HUP);
    let told = running.error_line_with("was not applied");
    assert!(
        told.contains("offhook.toml:5:14") && told.contains("limits.data_bytes"),
        "{told}"
    );
    assert_eq!(from_page(&address, PAGE), "403");
    // The configuration is valid, but names a file that does not exist.
    let after = format!("{before}origins = [\"{PAGE}\"]\n[api]\nkey_files = \"nowhere\"\n");
    fs::write(&file, after).expect("written");
    running.signal(Signal::HUP);
    let told = running.error_line_with("was not applied");
    assert!(told.contains("nowhere"), "{told}");
    assert_eq!(from_page(&address, PAGE), "403");
    // Nothing has changed, and the next configuration is applied.
    fs::write(&file, format!("{before}origins = [\"{PAGE}\"]\n")).expect("written");
    running.signal(Signal::HUP);
    running.error_line_with("the configuration was read again");
    assert_eq!(from_page(&address, PAGE), "101");
}

#[test]
fn offhook_reload_finds_the_server_and_checks_the_file_first() {
    let before = "listen = \"0\"\ndata = \"offhook-data\"\n";
    let (mut running, address, file) = with_file(before);
    let config = file.display().to_string();
    let reload = |arguments: &[&str]| {
        offhook(&["reload", "--config", &config])
            .args(arguments)
            .run()
    };
    fs::write(&file, format!("{before}origins = 7\n")).expect("written");
    let ended = reload(&[]);
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.contains("origins"), "{}", ended.stderr);
    fs::write(&file, format!("{before}origins = [\"{PAGE}\"]\n")).expect("written");
    let ended = reload(&[]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let id = running.id().to_string();
    assert!(ended.stdout.contains(&id), "{}", ended.stdout);
    let told = running.error_line_with("the configuration was read again");
    assert!(!told.contains("not applied"), "{told}");
    assert_eq!(from_page(&address, PAGE), "101");
    // By its process id.
    assert_eq!(reload(&["--pid", &id]).code, Some(0));
    running.error_line_with("the configuration was read again");
    running.signal(Signal::TERM);
    assert_eq!(running.end().code, Some(0));
}

#[test]
fn offhook_reload_signals_no_process_if_no_server_runs() {
    let program = offhook(&["reload"]);
    // Left by a process that was killed, with the id of another process.
    let data = program.directory.path().join("offhook-data");
    fs::create_dir(&data).expect("created");
    let own = std::process::id().to_string();
    fs::write(data.join("offhook.pid"), own).expect("written");
    let ended = program.run();
    assert_eq!(ended.code, Some(1), "{}", ended.stdout);
    assert!(
        ended.stderr.contains("no running server uses"),
        "{}",
        ended.stderr
    );
}

#[test]
fn the_server_is_found_by_its_lock_and_not_by_the_id_in_the_file() {
    let text = "listen = \"0\"\ndata = \"offhook-data\"\n";
    let (mut running, _, file) = with_file(text);
    let config = file.display().to_string();
    let pid = file.with_file_name("offhook-data/offhook.pid");
    assert_eq!(
        fs::read_to_string(&pid).expect("there"),
        format!("{}\n", running.id())
    );
    // In a container, the server's id is that of another process outside of it. SIGHUP would end
    // this one.
    fs::write(&pid, format!("{}\n", std::process::id())).expect("written");
    let ended = offhook(&["reload", "--config", &config]).run();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stdout.contains(&running.id().to_string()));
    running.error_line_with("the configuration was read again");
    running.signal(Signal::TERM);
    assert_eq!(running.end().code, Some(0));
    assert!(!pid.exists(), "it is removed at the end");
}

#[test]
fn a_file_locked_by_another_program_s_flock_is_not_taken_for_a_server_s() {
    let program = offhook(&["reload"]);
    let data = program.directory.path().join("offhook-data");
    fs::create_dir(&data).expect("created");
    let pid = data.join("offhook.pid");
    fs::write(&pid, format!("{}\n", std::process::id())).expect("written");
    let file = fs::File::open(&pid).expect("opened");
    file.lock().expect("locked");
    let ended = program.run();
    assert_eq!(ended.code, Some(1), "{}", ended.stdout);
    assert!(ended.stderr.contains("no running server uses"));
}
