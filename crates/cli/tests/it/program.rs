//! Runs the program in a directory of its own.

use std::{
    io::{BufRead, BufReader, Read, Write as _},
    process::{Child, ChildStderr, ChildStdout, Command, Output, Stdio},
    thread,
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// The program, in a directory without a configuration, and with an environment without variables
/// of its own.
pub(crate) struct Program {
    pub(crate) directory: TempDir,
    command: Command,
}

/// What it printed, and how it ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// A running program; killed when the value is dropped.
pub(crate) struct Running {
    child: Child,
    pub(crate) stdout: BufReader<ChildStdout>,
    pub(crate) stderr: BufReader<ChildStderr>,
    _directory: TempDir,
}

/// A program in a terminal; killed when the value is dropped.
pub(crate) struct Terminal {
    child: Child,
    screen: std::fs::File,
    seen: String,
    _directory: TempDir,
}

impl Terminal {
    /// Types a line when the prompt is shown. What is typed earlier may be lost, as it may for
    /// people.
    pub(crate) fn enter(&mut self, line: &str) {
        self.see("> ");
        let typed = format!("{line}\r");
        self.screen.write_all(typed.as_bytes()).expect("it reads");
    }

    /// Reads what is shown until it contains this text; returns all that was shown since the last
    /// call.
    pub(crate) fn see(&mut self, text: &str) -> String {
        let mut bytes = [0; 4096];
        loop {
            if let Some(at) = self.seen.find(text) {
                let rest = self.seen.split_off(at + text.len());
                return std::mem::replace(&mut self.seen, rest);
            }
            let count = self.screen.read(&mut bytes).unwrap_or(0);
            assert!(count > 0, "{text:?} was never shown:\n{}", self.seen);
            self.seen
                .push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
    }

    /// Waits for its end.
    pub(crate) fn end(mut self) -> Option<i32> {
        let mut bytes = [0; 4096];
        // A terminal that no process has open any more cannot be read.
        while self.screen.read(&mut bytes).is_ok_and(|count| count > 0) {}
        self.child.wait().expect("it ends").code()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn offhook(arguments: &[&str]) -> Program {
    let directory = tempfile::tempdir().expect("a directory");
    let mut command = Command::new(env!("CARGO_BIN_EXE_offhook"));
    command.args(arguments).current_dir(directory.path());
    command.stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        let is_of_cargo_run = name == "CARGO_RUN_OFFHOOK";
        if is_of_cargo_run || name.to_string_lossy().starts_with("OFFHOOK_") {
            command.env_remove(name);
        }
    }
    // Tests should not use the machine's proxies; loopback needs none.
    for name in [
        "http_proxy",
        "https_proxy",
        "all_proxy",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
    ] {
        command.env_remove(name);
    }
    Program { directory, command }
}

impl Program {
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    pub(crate) fn file(self, name: &str, text: impl AsRef<[u8]>) -> Self {
        std::fs::write(self.directory.path().join(name), text).expect("written");
        self
    }

    pub(crate) fn args(mut self, arguments: &[&str]) -> Self {
        self.command.args(arguments);
        self
    }

    /// Starts it by a symbolic link with this name in its directory.
    pub(crate) fn by_link(mut self, name: &str) -> Self {
        let link = self.directory.path().join(name);
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_offhook"), &link).expect("linked");
        let mut command = Command::new(link);
        command.args(self.command.get_args());
        command.current_dir(self.directory.path());
        command.stdin(Stdio::null());
        for (name, value) in self.command.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        self.command = command;
        self
    }

    /// Passes it this socket in the way of systemd, under this name.
    pub(crate) fn with_socket(
        mut self,
        name: &str,
        socket: impl Into<std::os::fd::OwnedFd>,
    ) -> Self {
        let mut shell = Command::new("sh");
        // The socket becomes the descriptor 3, as systemd numbers the first one.
        let script = "LISTEN_PID=$$ exec \"$0\" \"$@\" 3<&0 </dev/null";
        shell.args(["-c", script, env!("CARGO_BIN_EXE_offhook")]);
        shell.args(self.command.get_args());
        shell.current_dir(self.directory.path());
        for (name, value) in self.command.get_envs() {
            match value {
                Some(value) => shell.env(name, value),
                None => shell.env_remove(name),
            };
        }
        shell.env("LISTEN_FDS", "1").env("LISTEN_FDNAMES", name);
        shell.stdin(Stdio::from(socket.into()));
        self.command = shell;
        self
    }

    /// Starts it in a terminal of its own.
    pub(crate) fn start_in_a_terminal(mut self) -> Terminal {
        use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
        let screen = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        let size = rustix::termios::Winsize {
            ws_row: 24,
            ws_col: 80,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        rustix::termios::tcsetwinsize(&screen, size).expect("a terminal");
        grantpt(&screen).expect("ours");
        unlockpt(&screen).expect("ours");
        let name = ptsname(&screen, Vec::new()).expect("a name");
        let name = name.into_string().expect("UTF-8");
        let side = || std::fs::File::options().read(true).write(true).open(&name);
        let side = || side().expect("it can be opened");
        let streams = self.command.stdin(side()).stdout(side()).stderr(side());
        let child = streams.env("TERM", "xterm").spawn().expect("it starts");
        // The command keeps its own copies open, and the terminal would never end.
        drop(self.command);
        Terminal {
            child,
            screen: screen.into(),
            seen: String::new(),
            _directory: self.directory,
        }
    }

    /// Runs it to its end.
    pub(crate) fn run(mut self) -> Ended {
        Ended::from(self.command.output().expect("it starts"))
    }

    /// Runs it to its end with this on stdin.
    pub(crate) fn run_with(mut self, input: impl AsRef<[u8]> + Send + 'static) -> Ended {
        let streams = self.command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = streams.stderr(Stdio::piped()).spawn().expect("it starts");
        let mut stdin = child.stdin.take().expect("piped");
        // On a thread, so that neither writing nor reading waits for the other. A program that has
        // ended reads no more.
        let writer = thread::spawn(move || stdin.write_all(input.as_ref()).unwrap_or_default());
        let output = child.wait_with_output().expect("it ends");
        writer.join().expect("written");
        Ended::from(output)
    }

    /// What it reads from stdin, up to the end.
    pub(crate) fn input(self, text: &str) -> Self {
        let mut program = self.file("input", text);
        let file = std::fs::File::open(program.directory.path().join("input"));
        program.command.stdin(file.expect("written"));
        program
    }

    pub(crate) fn start(mut self) -> Running {
        let streams = self.command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = streams.spawn().expect("it starts");
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let stderr = BufReader::new(child.stderr.take().expect("piped"));
        Running {
            child,
            stdout,
            stderr,
            _directory: self.directory,
        }
    }
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        Self {
            code: output.status.code(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }
}

impl Running {
    /// The next line of stdout that begins with this.
    pub(crate) fn line(&mut self, start: &str) -> String {
        line(&mut self.stdout, start)
    }

    /// The next line of stderr that begins with this.
    pub(crate) fn error_line(&mut self, start: &str) -> String {
        line(&mut self.stderr, start)
    }

    /// The next line of stderr that contains this, with all before it.
    pub(crate) fn error_line_with(&mut self, part: &str) -> String {
        let mut before = String::new();
        loop {
            let begin = before.len();
            let read = self.stderr.read_line(&mut before).expect("UTF-8");
            assert!(read > 0, "no line contains {part:?}:\n{before}");
            if before[begin..].contains(part) {
                return before;
            }
        }
    }

    /// Sends a signal again and again until it has ended.
    pub(crate) fn signal_until_the_end(&mut self, signal: Signal) {
        while self.child.try_wait().expect("a child").is_none() {
            self.signal(signal);
            thread::yield_now();
        }
    }

    /// Where it runs.
    pub(crate) fn directory(&self) -> &std::path::Path {
        self._directory.path()
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id()).expect("an id");
        kill_process(Pid::from_raw(id).expect("an id"), signal).expect("it runs");
    }

    /// Waits for its end.
    pub(crate) fn end(mut self) -> Ended {
        let (mut stdout, mut stderr) = (String::new(), String::new());
        self.stdout.read_to_string(&mut stdout).expect("UTF-8");
        self.stderr.read_to_string(&mut stderr).expect("UTF-8");
        let code = self.child.wait().expect("it ends").code();
        Ended {
            code,
            stdout,
            stderr,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn line(reader: &mut impl BufRead, start: &str) -> String {
    let mut before = String::new();
    for line in reader.lines() {
        let line = line.expect("UTF-8");
        if line.trim_start().starts_with(start) {
            return line.trim().to_owned();
        }
        before.push_str(&line);
        before.push('\n');
    }
    panic!("no line begins with {start:?}:\n{before}");
}
