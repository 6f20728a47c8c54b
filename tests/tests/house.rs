//! The house's own rules: who may import whom, what the pure rooms never touch, which files stand at the top.

#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// All Rust files below a folder.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// A file's text without its comments and without its own unit tests.
fn code(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap();
    let text = text.split("#[cfg(test)]").next().unwrap_or_default();
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// What a pure room must not even name.
const IMPURE: [&str; 16] = [
    "std::time",
    "std::fs",
    "std::net",
    "std::io",
    "std::env",
    "std::thread",
    "std::process",
    "std::sync",
    "tokio",
    "async ",
    ".await",
    "jiff",
    "getrandom",
    "rustix",
    "sled",
    "tracing",
];

#[test]
fn the_pure_rooms_touch_no_clock_file_socket_or_async() {
    let root = root();
    let mut rooms = sources(&root.join("rules/src"));
    rooms.push(root.join("gateway/src/core.rs"));
    rooms.extend(sources(&root.join("gateway/src/core")));
    for codec in [
        "osdp/frame.rs",
        "osdp/capture.rs",
        "osdp/command.rs",
        "osdp/secure_channel.rs",
        "osdp/reply.rs",
        "osdp/panel.rs",
        "ascii/form.rs",
        "ascii/twn4.rs",
        "mqtt/topic.rs",
        "mqtt/payload.rs",
        "mqtt/gate/guard.rs",
        "journal/format.rs",
    ] {
        rooms.push(root.join("gateway/src").join(codec));
    }
    rooms.extend(
        root.join("gateway/src/osdp/panel")
            .is_dir()
            .then(|| sources(&root.join("gateway/src/osdp/panel")))
            .into_iter()
            .flatten(),
    );
    assert!(rooms.len() > 15, "the rooms have moved: {rooms:?}");
    for path in rooms {
        let code = code(&path);
        for word in IMPURE {
            assert!(!code.contains(word), "{} names '{word}'", path.strip_prefix(&root).unwrap().display());
        }
    }
}

#[test]
fn gateway_and_hub_never_import_each_other_and_the_simulator_never_imports_the_rules() {
    let root = root();
    let forbidden = [
        ("gateway", vec!["rollcall_hub", "reader_sim"]),
        ("hub", vec!["rollcall_gateway", "reader_sim"]),
        ("rules", vec!["rollcall_hub", "rollcall_gateway", "reader_sim"]),
        (
            "reader-sim",
            vec![
                "rollcall_rules",
                "rollcall_gateway::osdp",
                "rollcall_gateway::mqtt",
                "rollcall_gateway::core",
            ],
        ),
    ];
    for (room, names) in forbidden {
        for path in sources(&root.join(room).join("src")) {
            let code = code(&path);
            for name in &names {
                assert!(!code.contains(name), "{} names {name}", path.strip_prefix(&root).unwrap().display());
            }
        }
        let manifest = std::fs::read_to_string(root.join(room).join("Cargo.toml")).unwrap();
        for name in names.iter().filter(|name| !name.contains("::")) {
            let package = name.replace('_', "-");
            assert!(!manifest.contains(&format!("\n{package}")), "{room}/Cargo.toml names {package}");
        }
    }
}

#[test]
fn sql_stays_below_the_stores_door_and_out_of_the_graphql_room() {
    for path in sources(&root().join("hub/src/graphql")) {
        let code = code(&path);
        for word in ["sqlx", "INSERT INTO", "UPDATE ", "DELETE FROM"] {
            assert!(!code.contains(word), "{} holds '{word}'", path.display());
        }
    }
}

/// Each look at a `watch` is a lock, held to the end of its statement: a second one in the same waits for whoever wants to write in
/// between, who waits for the first (tokio's documentation of `watch::Receiver::borrow`).
#[test]
fn no_statement_looks_twice_at_what_somebody_watches() {
    for room in ["gateway/src", "hub/src", "reader-sim/src", "tests/src"] {
        for path in sources(&root().join(room)) {
            for statement in code(&path).split([';', '{', '}']) {
                let looks = statement.matches(".borrow()").count();
                assert!(looks < 2, "{}: {statement}", path.display());
            }
        }
    }
}

#[test]
fn main_files_are_read_in_ten_seconds() {
    for program in ["gateway", "hub", "reader-sim"] {
        let lines =
            std::fs::read_to_string(root().join(program).join("src/main.rs")).unwrap().lines().count();
        assert!(lines <= 60, "{program}/src/main.rs has {lines} lines");
    }
}

#[test]
fn the_visible_top_level_is_the_agreed_one() {
    let wanted: BTreeSet<&str> = [
        "Cargo.lock",
        "Cargo.toml",
        "README.md",
        "deploy",
        "gateway",
        "hub",
        "reader-sim",
        "rules",
        "rust-toolchain.toml",
        "schema.graphql",
        "tests",
    ]
    .into();
    let found: BTreeSet<String> = std::fs::read_dir(root())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.starts_with('.') && name != "target" && name != "rollcall-data")
        .collect();
    assert_eq!(found.iter().map(String::as_str).collect::<BTreeSet<_>>(), wanted);
}

#[test]
fn the_example_configurations_can_be_used() {
    let deploy = root().join("deploy");
    let config = rollcall_gateway::config::Config::load(&deploy.join("gateway.toml")).unwrap();
    assert_eq!(config.buses[0].readers.len(), 2);
    // What stands there as a comment can be used too: one line after the other, whatever looks like one of TOML.
    let text = std::fs::read_to_string(deploy.join("gateway.toml")).unwrap();
    let toml = |line: &str| {
        let word = line.trim_start().split(['=', ' ']).next().unwrap_or_default().to_owned();
        line.trim_start().starts_with('[')
            || (line.contains(" = ")
                && word.chars().all(|letter| letter.is_ascii_lowercase() || letter == '_'))
    };
    let shown = |line: &str| line.strip_prefix("# ").filter(|line| toml(line)).map(str::to_owned);
    let commented = text.lines().filter(|line| shown(line).is_some()).count();
    let text: Vec<String> = text.lines().map(|line| shown(line).unwrap_or_else(|| line.to_owned())).collect();
    assert!(commented > 20, "only {commented} lines of examples in comments");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gateway.toml");
    std::fs::write(&path, text.join("\n")).unwrap();
    let all = rollcall_gateway::config::Config::load(&path).unwrap();
    assert!(all.ascii.len() >= 3 && all.buses[0].capture.is_some());
    for line in
        std::fs::read_to_string(deploy.join("hub.env")).unwrap().lines().filter(|line| !line.starts_with('#'))
    {
        match line.split_once('=').unwrap() {
            ("ROLLCALL_LISTEN", value) => assert!(value.parse::<std::net::SocketAddr>().is_ok()),
            ("ROLLCALL_DATABASE", value) => assert!(rollcall_hub::config::database(value).is_ok()),
            ("ROLLCALL_TIME_ZONE", value) => assert!(rollcall_hub::config::zone(value).is_ok()),
            (name, _) => panic!("hub.env holds {name}, which nothing reads"),
        }
    }
    for unit in ["rollcall-gateway.service", "rollcall-hub.service"] {
        let text = std::fs::read_to_string(deploy.join(unit)).unwrap();
        let words =
            |line: &str| -> Vec<String> { line.split_whitespace().skip(1).map(str::to_owned).collect() };
        let start = text.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
        let known = ["run", "serve", "--config", "/etc/rollcall/gateway.toml"];
        assert!(words(start).iter().all(|word| known.contains(&word.as_str())), "{unit}: {start}");
    }
}
