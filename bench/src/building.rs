//! Builds what is to be measured, and reports what had to be left out.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::servers::{self, Certificate, Server};

/// Directories.
pub(crate) struct Places {
    bench: PathBuf,
    target: PathBuf,
}

impl Places {
    /// Derived from the path of this program.
    pub(crate) fn find() -> Result<Self> {
        let program = env::current_exe()?;
        let target = program.ancestors().nth(2).context("no target directory")?;
        Ok(Self {
            bench: env!("CARGO_MANIFEST_DIR").into(),
            target: target.into(),
        })
    }

    /// A directory for logs and certificates.
    pub(crate) fn scratch(&self) -> Result<PathBuf> {
        let scratch = self.target.join("offhook-bench");
        fs::create_dir_all(&scratch)?;
        Ok(scratch)
    }

    /// The load generator.
    pub(crate) fn load(&self) -> PathBuf {
        self.programs().join("load")
    }

    /// The directory of the peers on Node.js.
    pub(crate) fn node(&self) -> PathBuf {
        self.bench.join("peers/node")
    }

    fn programs(&self) -> PathBuf {
        self.target.join("release")
    }
}

/// Everything that can be measured on this machine, ours first; and a line for each server that
/// cannot.
pub(crate) fn servers(places: &Places, build: bool) -> Result<(Vec<Server>, Vec<String>)> {
    let mut servers = Vec::new();
    let mut skipped = Vec::new();
    if build {
        cargo_build(places, &["load", "peers"])?;
    }
    let ours = offhook(places, build);
    if let Ok(ordinary) = &ours {
        servers.push(ordinary.clone());
    }
    let each = ours.map(|server| server.argument("--each").named("offhook-each"));
    keep(each, "offhook", &mut servers, &mut skipped);
    let programs = places.programs();
    servers.push(servers::yardstick(&programs));
    let uwebsockets = Server::uwebsockets(|name| env::var_os(name).map(PathBuf::from)).context(
        "set UWEBSOCKETS_ECHO to a program that takes a port (and UWEBSOCKETS_ECHO_TLS, \
         UWEBSOCKETS_ECHO_DEFLATE)",
    );
    keep(uwebsockets, "uwebsockets", &mut servers, &mut skipped);
    servers.extend(servers::rust_peers(
        &programs,
        &places.bench.join("Cargo.lock"),
    )?);
    keep(
        node_ws(places, build),
        "node-ws",
        &mut servers,
        &mut skipped,
    );
    Ok((servers, skipped))
}

fn keep(server: Result<Server>, name: &str, servers: &mut Vec<Server>, skipped: &mut Vec<String>) {
    match server {
        Ok(server) => servers.push(server),
        Err(reason) => skipped.push(format!("{name} is skipped: {reason:#}")),
    }
}

/// Builds packages of the benchmark's own workspace.
pub(crate) fn cargo_build(places: &Places, packages: &[&str]) -> Result<()> {
    let mut command = Command::new("cargo");
    command.args(["build", "--release", "--locked"]);
    for package in packages {
        command.args(["--package", package]);
    }
    let status = command
        .arg("--manifest-path")
        .arg(places.bench.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(&places.target)
        .status()
        .context("cargo")?;
    ensure!(status.success(), "{} do not build", packages.join(", "));
    Ok(())
}

/// Our echo server.
fn offhook(places: &Places, build: bool) -> Result<Server> {
    let program = ours(
        places,
        build,
        &["--package", "offhook", "--example", "echo_server"],
        "examples/echo_server",
    )?;
    Ok(Server::at_address("offhook", "", program))
}

/// The `offhook` command.
pub(crate) fn offhook_command(places: &Places, build: bool) -> Result<PathBuf> {
    ours(places, build, &["--package", "offhook-cli"], "offhook")
}

/// Builds a program of Offhook's own workspace.
fn ours(places: &Places, build: bool, what: &[&str], program: &str) -> Result<PathBuf> {
    let root = places.bench.parent().context("bench/ has no parent")?;
    let target = env::var_os("CARGO_TARGET_DIR").map_or(root.join("target"), PathBuf::from);
    if build {
        eprintln!("building {program}");
        let output = Command::new("cargo")
            .args(["build", "--release"])
            .args(what)
            .current_dir(root)
            .output()
            .context("cargo")?;
        let errors = String::from_utf8_lossy(&output.stderr);
        let first = || errors.lines().find(|line| line.starts_with("error"));
        ensure!(output.status.success(), "{}", first().unwrap_or("?"));
    }
    let program = target.join("release").join(program);
    ensure!(program.exists(), "{} is missing", program.display());
    Ok(program)
}

fn node_ws(places: &Places, build: bool) -> Result<Server> {
    let version = node_package(places, build, "ws")?;
    let server = Server::at_address("node-ws", &version, "node".into());
    Ok(server.argument(places.node().join("echo.js")))
}

/// The installed version of a package for the peers on Node.js.
pub(crate) fn node_package(places: &Places, build: bool, package: &str) -> Result<String> {
    let folder = places.node();
    let manifest = fs::read_to_string(folder.join("package.json"))?;
    let wanted = quoted_after(&manifest, &format!("\"{package}\": \""))
        .with_context(|| format!("package.json names no {package}"))?;
    let installed = folder.join(format!("node_modules/{package}/package.json"));
    let is_current = || {
        let there = fs::read_to_string(&installed).unwrap_or_default();
        quoted_after(&there, "\"version\": \"") == Some(wanted)
    };
    if build && !is_current() {
        npm_install(&folder)?;
    }
    ensure!(is_current(), "not installed; run bench/peers/install");
    Command::new("node")
        .arg("--version")
        .output()
        .context("node")?;
    Ok(wanted.into())
}

fn npm_install(folder: &Path) -> Result<()> {
    let output = Command::new("npm")
        .args(["ci", "--no-audit", "--no-fund"])
        .current_dir(folder)
        .output()
        .context("npm")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "npm ci: {}",
        errors.lines().last().unwrap_or("?")
    );
    Ok(())
}

fn quoted_after<'a>(text: &'a str, start: &str) -> Option<&'a str> {
    text.split_once(start)?.1.split('"').next()
}

/// A certificate for `localhost`, made anew for each run.
pub(crate) fn certificate(scratch: &Path) -> Result<Certificate> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into()])?;
    let files = Certificate {
        cert: scratch.join("cert.pem"),
        key: scratch.join("key.pem"),
    };
    fs::write(&files.cert, made.cert.pem())?;
    fs::write(&files.key, made.signing_key.serialize_pem())?;
    Ok(files)
}
