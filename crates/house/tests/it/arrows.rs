//! Which crate may depend on which. Dependencies point one way:
//! `cli → server → {config, dialects, brokers, websocket} → engine / protocol`.

use super::expect_none;
use super::workspace::{Package, WORKSPACE, Workspace};

/// The allowed dependencies of a crate.
struct Rule {
    name: &'static str,
    /// The crates of this workspace it may depend on.
    may_know: &'static [&'static str],
    /// Bytes and time are arguments: no runtime, no socket, no clock, no randomness.
    is_sans_io: bool,
}

const RULES: &[Rule] = &[
    Rule {
        name: "offhook-protocol",
        may_know: &[],
        is_sans_io: true,
    },
    Rule {
        name: "offhook-engine",
        may_know: &[],
        is_sans_io: true,
    },
    // Without clock and socket, as its clippy.toml holds; its cryptography brings the randomness that
    // signatures need.
    Rule {
        name: "offhook-auth",
        may_know: &["offhook-engine"],
        is_sans_io: false,
    },
    Rule {
        name: "offhook-dialects",
        may_know: &["offhook-engine"],
        is_sans_io: true,
    },
    Rule {
        name: "offhook-http3",
        may_know: &[],
        is_sans_io: true,
    },
    Rule {
        name: "offhook-brokers",
        may_know: &["offhook-engine"],
        is_sans_io: false,
    },
    Rule {
        name: "offhook",
        may_know: &["offhook-protocol"],
        is_sans_io: false,
    },
    Rule {
        name: "offhook-client",
        may_know: &["offhook", "offhook-dialects"],
        is_sans_io: false,
    },
    Rule {
        name: "offhook-webtransport",
        may_know: &["offhook", "offhook-http3"],
        is_sans_io: false,
    },
    Rule {
        name: "offhook-proof",
        may_know: &[
            "offhook",
            "offhook-client",
            "offhook-dialects",
            "offhook-webtransport",
        ],
        is_sans_io: false,
    },
    // Settings consist of the types that they configure.
    Rule {
        name: "offhook-config",
        may_know: &[
            "offhook",
            "offhook-auth",
            "offhook-brokers",
            "offhook-engine",
        ],
        is_sans_io: false,
    },
    Rule {
        name: "offhook-server",
        may_know: &[
            "offhook",
            "offhook-auth",
            "offhook-brokers",
            "offhook-config",
            "offhook-dialects",
            "offhook-docs",
            "offhook-engine",
            "offhook-http3",
            "offhook-protocol",
        ],
        is_sans_io: false,
    },
    // Text and its rendering; nothing of the server.
    Rule {
        name: "offhook-docs",
        may_know: &[],
        is_sans_io: false,
    },
    Rule {
        name: "offhook-cli",
        may_know: &[
            "offhook",
            "offhook-auth",
            "offhook-brokers",
            "offhook-client",
            "offhook-dialects",
            "offhook-engine",
            "offhook-proof",
            "offhook-protocol",
            "offhook-server",
            "offhook-webtransport",
        ],
        is_sans_io: false,
    },
    // Only ever a dev-dependency of other crates, so it may depend on what it tests.
    Rule {
        name: TESTKIT,
        may_know: &["offhook-brokers", "offhook-engine", "offhook-protocol"],
        is_sans_io: false,
    },
    Rule {
        name: "offhook-house",
        may_know: &[],
        is_sans_io: false,
    },
];

const TESTKIT: &str = "offhook-testkit";

/// Dependencies allowed in tests only.
const TESTS_WITH: &[(&str, &str)] = &[
    ("offhook-client", "offhook-server"),
    // One session over every transport, against the real server.
    ("offhook-webtransport", "offhook-client"),
    ("offhook-webtransport", "offhook-server"),
    // The words of the server's own API.
    ("offhook-client", "offhook-engine"),
];

/// Crates that bring a runtime, a socket, a clock or randomness.
const NOT_SANS_IO: &[&str] = &[
    "async-io",
    "async-std",
    "chrono",
    "fastrand",
    "futures-executor",
    "getrandom",
    "hyper",
    "mio",
    "monoio",
    "polling",
    "quinn",
    "rand",
    "rand_core",
    "smol",
    "socket2",
    "time",
    "tokio",
];

#[test]
fn arrows_between_crates_point_the_way_the_design_says() {
    expect_none(&misdirected(&WORKSPACE));
}

#[test]
fn sans_io_crates_bring_no_runtime_no_socket_no_clock_and_no_randomness() {
    expect_none(&impure(&WORKSPACE));
}

#[test]
fn an_arrow_that_points_back_is_reported() {
    let engine = Package {
        is_member: true,
        ..package("offhook-engine", &[])
    };
    let protocol = Package {
        is_member: true,
        ..package("offhook-protocol", &["offhook-engine"])
    };
    let complaints = misdirected(&Workspace {
        packages: vec![engine, protocol],
    });
    assert_eq!(complaints.len(), 1, "{complaints:?}");
    assert!(complaints[0].starts_with("offhook-protocol depends on offhook-engine"));
}

#[test]
fn a_test_kit_that_would_be_shipped_is_reported() {
    let testkit = Package {
        is_member: true,
        ..package(TESTKIT, &[])
    };
    let protocol = Package {
        is_member: true,
        ..package("offhook-protocol", &[TESTKIT])
    };
    let mut workspace = Workspace {
        packages: vec![testkit, protocol],
    };
    assert_eq!(misdirected(&workspace).len(), 1);
    workspace.packages[1].dependencies[0].is_dev = true;
    expect_none(&misdirected(&workspace));
}

#[test]
fn a_crate_without_a_rule_is_reported_with_the_place_to_add_it() {
    let stranger = Package {
        is_member: true,
        ..package("offhook-stranger", &[])
    };
    let complaints = misdirected(&Workspace {
        packages: vec![stranger],
    });
    assert_eq!(complaints.len(), 1, "{complaints:?}");
    assert!(complaints[0].contains("RULES in crates/house/tests/it/arrows.rs"));
}

#[test]
fn a_runtime_two_steps_below_a_sans_io_crate_is_reported() {
    let engine = Package {
        is_member: true,
        ..package("offhook-engine", &["innocent"])
    };
    let packages = vec![
        engine,
        package("innocent", &["tokio"]),
        package("tokio", &[]),
    ];
    let complaints = impure(&Workspace { packages });
    assert_eq!(complaints.len(), 1, "{complaints:?}");
    assert!(complaints[0].starts_with("offhook-engine is sans-I/O but is built with tokio"));
}

fn misdirected(workspace: &Workspace) -> Vec<String> {
    let mut complaints = Vec::new();
    for package in workspace.members() {
        let Some(rule) = RULES.iter().find(|rule| rule.name == package.name) else {
            complaints.push(format!(
                "{} is new here: say what it may know in RULES in crates/house/tests/it/arrows.rs",
                package.name
            ));
            continue;
        };
        for dependency in &package.dependencies {
            let name = dependency.name.as_str();
            let is_inside = workspace.members().any(|member| member.name == name);
            let tests_with = TESTS_WITH.contains(&(&package.name, name));
            let is_for_tests = dependency.is_dev && (name == TESTKIT || tests_with);
            if is_inside && !is_for_tests && !rule.may_know.contains(&name) {
                complaints.push(format!(
                    "{} depends on {name}, but may know only {:?} (and {TESTKIT} in its tests); \
                     arrows point cli → server → {{dialects, brokers, websocket}} → engine / protocol",
                    package.name, rule.may_know
                ));
            }
        }
    }
    complaints
}

fn impure(workspace: &Workspace) -> Vec<String> {
    let is_sans_io = |package: &&Package| {
        RULES
            .iter()
            .any(|rule| rule.name == package.name && rule.is_sans_io)
    };
    let mut complaints = Vec::new();
    for package in workspace.members().filter(is_sans_io) {
        for built in workspace.built_with(package) {
            if NOT_SANS_IO.contains(&built.name.as_str()) {
                complaints.push(format!(
                    "{} is sans-I/O but is built with {}: take what it gives as an argument \
                     (`cargo tree -p {} -e normal -i {}` shows the way it came in)",
                    package.name, built.name, package.name, built.name
                ));
            }
        }
    }
    complaints
}

/// A package whose id is its name, with normal dependencies.
fn package(name: &str, dependencies: &[&str]) -> Package {
    let named = |name: &&str| super::workspace::Dependency {
        name: (*name).to_owned(),
        requirement: "1".to_owned(),
        is_dev: false,
        is_path: false,
    };
    Package {
        id: name.to_owned(),
        name: name.to_owned(),
        dependencies: dependencies.iter().map(named).collect(),
        links: dependencies.iter().map(|name| (*name).to_owned()).collect(),
        ..Package::default()
    }
}
