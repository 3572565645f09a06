//! Checks which crate depends on which: the core on no driver, no adapter on another, no library
//! on an application, nor on the servers for tests but in its own tests.

use anyhow::{Context, Result, bail};

use crate::features::LIBRARIES;
use crate::metadata::{Dependency, Metadata, Package};
use crate::steps::Steps;
use crate::summary::say;

const CORE: &str = "chat-core";

/// What the tests of a library may use, and nothing else of it.
const FOR_TESTS: &str = "test-servers";

/// Drivers, servers and clients: crates that reach out of the process.
const DRIVERS: &[&str] = &[
    "aws-lc-rs",
    "axum",
    "deadpool",
    "diesel",
    "fred",
    "h2",
    "hyper",
    "hyper-util",
    "libsqlite3-sys",
    "mio",
    "mysql_async",
    "native-tls",
    "openssl",
    "postgres",
    "redis",
    "reqwest",
    "ring",
    "rusqlite",
    "rustls",
    "sea-orm",
    "signal-hook-registry",
    "socket2",
    "sqlx",
    "sqlx-core",
    "tokio-postgres",
    "tokio-tungstenite",
    "tonic",
    "tungstenite",
    "ureq",
];

/// Features of tokio that reach out of the process.
const REACHING: &[&str] = &["fs", "full", "io-std", "net", "process", "signal"];

/// The layers step.
///
/// # Errors
///
/// Lists every dependency that must not be.
pub(crate) fn check(steps: &mut Steps) -> Result<String> {
    let mut complaints = between(&steps.metadata);
    let mut detail = String::new();
    for features in ["--no-default-features", "--all-features"] {
        let mut command = steps.cargo(&["tree", "--locked", "-p", CORE, features]);
        command.args(["-e", "normal,no-proc-macro", "--prefix", "none", "--format", "{p}|{f}"]);
        let tree = steps.children.output(&mut command)?;
        let lines: std::collections::BTreeSet<_> = tree.lines().map(without_star).collect();
        complaints.extend(in_core(lines.iter().copied())?);
        if detail.is_empty() {
            detail =
                format!("{CORE} alone compiles {} other crates", lines.len().saturating_sub(1));
        }
    }
    for complaint in &complaints {
        say(complaint);
    }
    match complaints.len() {
        0 => Ok(detail),
        many => bail!("dependencies that must not be: {many}"),
    }
}

/// Dependencies between the packages of the workspace, of any kind, that must not be.
fn between(metadata: &Metadata) -> Vec<String> {
    let mut found = Vec::new();
    for package in metadata.members().filter(|package| is_library(&package.name)) {
        for dependency in &package.dependencies {
            let other = dependency.name.as_str();
            let inside = metadata.members().any(|member| member.name == other);
            if inside && other != CORE && other != package.name && !only_for_tests(dependency) {
                let why = why_not(package, other);
                found.push(format!("{} must not depend on {other}: {why}", package.name));
            }
        }
    }
    found
}

fn only_for_tests(dependency: &Dependency) -> bool {
    dependency.name == FOR_TESTS && dependency.kind.as_deref() == Some("dev")
}

fn why_not(package: &Package, other: &str) -> &'static str {
    match (package.name.as_str(), is_library(other)) {
        _ if other == FOR_TESTS => "only its tests may start servers",
        (CORE, _) => "the core knows none of the other crates",
        (_, true) => "an adapter knows only the core",
        (_, false) => "a library knows no application",
    }
}

fn is_library(name: &str) -> bool {
    LIBRARIES.contains(&name)
}

/// Reads lines such as `tokio v1.54.0|rt,sync,time`.
fn in_core<'a>(lines: impl Iterator<Item = &'a str>) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for line in lines {
        let (package, features) =
            line.split_once('|').with_context(|| format!("`cargo tree` printed `{line}`"))?;
        let name = package.split(' ').next().unwrap_or_default();
        if DRIVERS.contains(&name) {
            found.push(format!("{CORE} must not depend on {name}: the core does no I/O"));
        }
        if name == "tokio" {
            let reaching = features.split(',').filter(|feature| REACHING.contains(feature));
            found.extend(reaching.map(|feature| {
                format!("{CORE} must not use tokio's feature {feature}: the core does no I/O")
            }));
        }
    }
    Ok(found)
}

/// `cargo tree` marks a package that it printed before.
fn without_star(line: &str) -> &str {
    line.trim_end().trim_end_matches("(*)").trim_end()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn package(name: &str, dependencies: &[&str]) -> Value {
        let dependencies: Vec<_> = dependencies
            .iter()
            .map(|name| match name.strip_prefix("dev:") {
                Some(name) => json!({ "name": name, "kind": "dev" }),
                None => json!({ "name": name, "kind": null }),
            })
            .collect();
        json!({
            "id": name, "name": name, "version": "0.1.0", "license": null, "source": null,
            "rust_version": null, "dependencies": dependencies, "features": {},
            "manifest_path": "/x",
        })
    }

    fn workspace(packages: &[Value]) -> Metadata {
        let members: Vec<_> = packages.iter().map(|package| package["id"].clone()).collect();
        serde_json::from_value(json!({
            "workspace_root": "/x", "workspace_members": members, "packages": packages,
        }))
        .unwrap()
    }

    #[test]
    fn crates_may_know_the_core_and_applications_all() {
        let metadata = workspace(&[
            package("chat-core", &["tokio", "chat-core"]),
            package("chat-llm", &["chat-core", "reqwest"]),
            package("chat-store-sql", &["chat-core", "dev:test-servers"]),
            package("chatroom", &["chat-core", "chat-llm", "chat-store-sql", "test-servers"]),
            package("test-servers", &[]),
        ]);
        assert_eq!(between(&metadata), Vec::<String>::new());
    }

    #[test]
    fn sideways_and_upward_dependencies_are_refused() {
        let metadata = workspace(&[
            package("chat-core", &["chat-llm"]),
            package("chat-llm", &["chat-store-sql"]),
            package("chat-store-sql", &["chatroom", "test-servers"]),
            package("chat-store-redis", &["dev:chat-llm"]),
            package("chatroom", &[]),
            package("test-servers", &[]),
        ]);
        let found = between(&metadata);
        assert_eq!(found.len(), 5, "{found:?}");
        assert!(found.iter().any(|line| line.contains("only its tests may start servers")));
        assert!(found.iter().any(|line| line.contains("an adapter knows only the core")));
        assert!(found.iter().any(|line| line.contains("a library knows no application")));
    }

    #[test]
    fn drivers_in_the_core_are_refused() {
        let clean =
            ["chat-core v0.1.0 (/x)|default", "tokio v1.54.0|rt,sync,time", "serde v1.0.2|"];
        assert_eq!(in_core(clean.into_iter()).unwrap(), Vec::<String>::new());
        let dirty = ["mio v1.0.0|net", "tokio v1.54.0|net,rt", "rusqlite v0.41.0|"];
        assert_eq!(in_core(dirty.into_iter()).unwrap().len(), 3);
        assert!(in_core(["garbage"].into_iter()).is_err());
    }

    #[test]
    fn repeated_package_is_one() {
        assert_eq!(without_star("serde v1.0.2|std (*)"), "serde v1.0.2|std");
    }
}
