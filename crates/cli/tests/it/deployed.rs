//! The files of `deploy/`: the program accepts them, and systemd finds no mistake in them.

use std::{collections::BTreeSet, fs, path::PathBuf, process::Command};

use crate::program::offhook;

fn deploy(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../deploy")
        .join(file)
}

fn read(file: &str) -> String {
    fs::read_to_string(deploy(file)).expect("it is there")
}

#[test]
fn the_program_accepts_the_configurations() {
    let path = deploy("offhook.toml").display().to_string();
    let ended = offhook(&["config", "--config", &path]).run();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    // The configuration for Kubernetes is part of another file.
    let manifest = read("kubernetes/offhook.yaml");
    let (_, text) = manifest.split_once("offhook.toml: |\n").expect("a file");
    let (text, _) = text.split_once("---").expect("its end");
    let lines: Vec<&str> = text
        .lines()
        .map(|line| line.trim_start_matches("    "))
        .collect();
    let ended = offhook(&["config"])
        .file("offhook.toml", lines.join("\n"))
        .run();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

#[test]
fn every_metric_of_the_alerts_exists() {
    let rules = read("prometheus/offhook.rules.yml");
    let metrics = include_str!("../../../../docs/metrics.md");
    let rows = metrics.lines().filter_map(|line| line.strip_prefix("| `"));
    let known: BTreeSet<&str> = rows.filter_map(|row| row.split('`').next()).collect();
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = rules.split(|c| !is_of_name(c));
    let used: BTreeSet<&str> = words
        .filter(|word| word.starts_with("offhook_") || word.starts_with("process_"))
        .map(|word| {
            let base = word
                .strip_suffix("_bucket")
                .or_else(|| word.strip_suffix("_total"));
            base.unwrap_or(word)
        })
        .collect();
    assert!(used.len() > 10, "{used:?}");
    let unknown: Vec<_> = used.difference(&known).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[test]
fn every_alert_is_explained_and_every_explained_alert_exists() {
    let rules = read("prometheus/offhook.rules.yml");
    let page = include_str!("../../../../docs/production.md");
    for alert in rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
    {
        assert!(page.contains(&format!("`{alert}`")), "{alert}");
    }
}

#[test]
fn systemd_accepts_the_service_and_rates_it_as_safe() {
    let unit = deploy("systemd/offhook.service");
    let directory = tempfile::tempdir().expect("a directory");
    // The program is not installed where the unit expects it.
    let text = read("systemd/offhook.service");
    let own = text.replace("/usr/local/bin/offhook", env!("CARGO_BIN_EXE_offhook"));
    assert_ne!(text, own, "{}", unit.display());
    let path = directory.path().join("offhook.service");
    fs::write(&path, own).expect("written");
    let socket = directory.path().join("offhook.socket");
    fs::write(&socket, read("systemd/offhook.socket")).expect("written");
    let analyze = |words: &[&str]| {
        let mut command = Command::new("systemd-analyze");
        command.args(words).arg(&path).output()
    };
    let socket = socket.display().to_string();
    let Ok(verified) = analyze(&["verify", &socket]) else {
        println!("systemd-analyze is not installed: the service was not checked");
        return;
    };
    let said = String::from_utf8_lossy(&verified.stderr);
    let about_ours: Vec<_> = said
        .lines()
        .filter(|line| line.contains("offhook.service") || line.contains("offhook.socket"))
        .collect();
    assert!(about_ours.is_empty(), "{said}");
    let rated = analyze(&["security", "--offline=yes", "--threshold=20"]).expect("installed");
    let said = String::from_utf8_lossy(&rated.stdout);
    // 2.0 of 10; 10 is a service without any restriction.
    assert!(
        rated.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&rated.stderr)
    );
}

/// Into a root of its own, where nothing is running.
#[test]
fn the_debian_package_is_installed_removed_and_purged() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name);
    let build = Command::new(deploy("debian/build"))
        .args(["--binary", env!("CARGO_BIN_EXE_offhook"), "--uncompressed"])
        .arg("--output")
        .arg(directory.path())
        .output();
    if Command::new("dpkg-deb").arg("--version").output().is_err() {
        println!("dpkg-deb is not installed: the package was not built");
        return;
    }
    let built = build.expect("a shell");
    let said = String::from_utf8_lossy(&built.stderr);
    assert!(built.status.success(), "{said}");
    let package = String::from_utf8_lossy(&built.stdout).trim().to_owned();
    for empty in ["root/var/lib/dpkg/info", "root/var/lib/dpkg/updates"] {
        fs::create_dir_all(path(empty)).expect("made");
    }
    fs::write(path("root/var/lib/dpkg/status"), "").expect("written");
    let dpkg = |words: &[&str]| {
        let root = format!("--root={}", path("root").display());
        // The root contains no C library and no shell.
        let flags = [
            "--force-not-root",
            "--force-depends",
            "--force-script-chrootless",
        ];
        let mut command = Command::new("dpkg");
        let command = command.arg(root).arg("--log=/dev/null").args(flags);
        let output = command.args(words).output().expect("it is installed");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words:?}: {said}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    dpkg(&["--install", &package]);
    assert_eq!(
        dpkg(&["--verify", "offhook"]),
        "",
        "every file is as in the package"
    );
    let configuration = path("root/etc/offhook/offhook.toml");
    let shown = configuration.display().to_string();
    let installed = path("root/usr/bin/offhook");
    let checked = Command::new(&installed)
        .args(["config", "--config", &shown])
        .output();
    let checked = checked.expect("it runs");
    assert!(
        checked.status.success(),
        "{}",
        String::from_utf8_lossy(&checked.stderr)
    );
    let unit = fs::read_to_string(path("root/usr/lib/systemd/system/offhook.service"));
    assert!(
        unit.expect("a unit")
            .contains("ExecStart=/usr/bin/offhook serve")
    );
    assert!(path("root/usr/share/man/man1/offhook-serve.1.gz").exists());
    dpkg(&["--remove", "offhook"]);
    assert!(
        !installed.exists() && configuration.exists(),
        "the configuration stays"
    );
    dpkg(&["--purge", "offhook"]);
    assert!(!configuration.exists());
}
