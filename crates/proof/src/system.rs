//! The disk and the clock of the server, which can be made to fail. This is done by a small library
//! that is compiled for the proof and loaded before the system's. Without a C compiler, or on a
//! system other than Linux, neither fails, and the report says so.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::Stdio,
};

use tokio::process::Command;

const SOURCE: &str = include_str!("faulty_system.c");

/// Where the fields of the control file are.
const CLOCK_SECONDS: u64 = 0;
const FAILING: u64 = 8;
const FAILED: u64 = 16;
const LENGTH: u64 = 24;

/// What makes the system below a server fail.
#[derive(Debug)]
pub(crate) struct FaultySystem {
    library: PathBuf,
    control: PathBuf,
    file: File,
}

impl FaultySystem {
    /// Compiles the library in this directory. None where that can't be done.
    pub(crate) async fn build(directory: &Path) -> io::Result<Option<Self>> {
        if !cfg!(target_os = "linux") {
            return Ok(None);
        }
        let source = directory.join("faulty_system.c");
        let library = directory.join("faulty_system.so");
        let control = directory.join("faults");
        fs::write(&source, SOURCE)?;
        let compiled = Command::new("cc")
            .args(["-shared", "-fPIC", "-w", "-o"])
            .arg(&library)
            .arg(&source)
            .arg("-ldl")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .await;
        if !compiled.is_ok_and(|status| status.success()) {
            return Ok(None);
        }
        let file = File::options()
            .create(true)
            .truncate(true)
            .read(true)
            .write(true)
            .open(&control)?;
        file.set_len(LENGTH)?;
        Ok(Some(Self {
            library,
            control,
            file,
        }))
    }

    /// Loads the library into a program about to be started. The environment variable is not one of
    /// the server's settings, which begin with `OFFHOOK_`.
    pub(crate) fn below(&self, program: &mut Command) {
        program
            .env("LD_PRELOAD", &self.library)
            .env("LOSS_PROOF_FAULTS", &self.control);
    }

    /// Moves the wall clock this many seconds ahead.
    pub(crate) fn set_clock(&self, ahead: i64) -> io::Result<()> {
        self.write(CLOCK_SECONDS, ahead)
    }

    /// Makes this many of the next fsyncs of a journal fail.
    pub(crate) fn fail_fsyncs(&self, count: i64) -> io::Result<()> {
        self.write(FAILING, count)
    }

    /// How many have failed.
    pub(crate) fn failed_fsyncs(&self) -> io::Result<u64> {
        let mut bytes = [0; 8];
        self.file.read_exact_at(&mut bytes, FAILED)?;
        Ok(u64::from_ne_bytes(bytes))
    }

    fn write(&self, at: u64, number: i64) -> io::Result<()> {
        self.file.write_all_at(&number.to_ne_bytes(), at)
    }
}
