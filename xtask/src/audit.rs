//! Checks the dependencies: licences, where they come from, crates that are not wanted, and the
//! same crate in several versions.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail};
use spdx::{Expression, ParseMode};

use crate::metadata::{Metadata, Package};
use crate::steps::Steps;
use crate::summary::say;

/// Permissive licences: they ask for a notice at most. An expression passes if a choice of these
/// satisfies it.
const ALLOWED: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Crates that must not come in, by whatever way, and what to take instead.
const BANNED: &[(&str, &str)] = &[
    ("ansi_term", "anstyle"),
    ("async-std", "tokio"),
    ("atty", "std::io::IsTerminal"),
    ("dotenv", "the environment itself"),
    ("failure", "thiserror"),
    ("native-tls", "rustls"),
    ("openssl", "rustls"),
    ("openssl-sys", "rustls"),
    ("serde_yaml", "JSON"),
    ("time", "jiff or std::time"),
];

/// The default registry, as `cargo metadata` names it.
const REGISTRY: &str = concat!("registry+https://github.com/rust-lang/crates", ".io-index");

/// The audit step.
///
/// # Errors
///
/// Lists every package that fails a rule. Duplicates are only reported.
pub(crate) fn check(steps: &mut Steps) -> Result<String> {
    let metadata = &steps.metadata;
    let complaints: Vec<_> = metadata.packages.iter().flat_map(complaints).collect();
    for complaint in &complaints {
        say(complaint);
    }
    let duplicates = duplicates(metadata);
    for (name, versions) in &duplicates {
        say(&format!(
            "reported only: {name} comes in {} versions: {versions}",
            versions.matches(' ').count() + 1
        ));
    }
    match complaints.len() {
        0 => Ok(format!(
            "{} packages; {} in several versions",
            metadata.packages.len(),
            duplicates.len()
        )),
        many => bail!("complaints about dependencies: {many}"),
    }
}

/// Asks the advisory database, by cargo-deny.
///
/// # Errors
///
/// When cargo-deny is missing, the database can't be reached, or an advisory applies.
pub(crate) fn advisories(steps: &mut Steps) -> Result<String> {
    let mut probe = steps.cargo(&["deny", "--version"]);
    if steps.children.output(probe.stderr(std::process::Stdio::null())).is_err() {
        bail!("cargo-deny is missing: `cargo install --locked cargo-deny`");
    }
    let mut command = steps.cargo(&["deny", "--all-features", "check", "advisories"]);
    steps.command(&mut command)?;
    Ok("no advisory applies".to_owned())
}

fn complaints(package: &Package) -> Vec<String> {
    let mut found = Vec::new();
    let label = format!("{} {}", package.name, package.version);
    if let Err(why) = licence(package.license.as_deref()) {
        found.push(format!("{label}: {why}"));
    }
    if package.source.as_deref().is_some_and(|source| source != REGISTRY) {
        let source = package.source.as_deref().unwrap_or_default();
        found.push(format!("{label}: comes from {source}, not from the default registry"));
    }
    if let Some((_, instead)) = BANNED.iter().find(|(name, _)| *name == package.name) {
        found.push(format!("{label}: banned, take {instead}"));
    }
    found
}

/// Accepts an expression that the allowed licences satisfy.
fn licence(expression: Option<&str>) -> Result<()> {
    let Some(expression) = expression else { bail!("states no licence") };
    let parsed = match Expression::parse_mode(expression, ParseMode::LAX) {
        Ok(parsed) => parsed,
        Err(error) => bail!("licence `{expression}` cannot be read: {}", error.reason),
    };
    if !parsed.evaluate(|asked| ALLOWED.contains(&asked.to_string().as_str())) {
        bail!("licence `{expression}` is not on the list of permissive ones");
    }
    Ok(())
}

/// Crates of which the build holds more than one incompatible version.
fn duplicates(metadata: &Metadata) -> BTreeMap<&str, String> {
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for package in &metadata.packages {
        versions.entry(&package.name).or_default().insert(&package.version);
    }
    versions
        .into_iter()
        .filter(|(_, versions)| versions.len() > 1)
        .map(|(name, versions)| (name, versions.into_iter().collect::<Vec<_>>().join(" ")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn package(name: &str, version: &str, license: Option<&str>, source: Option<&str>) -> Package {
        serde_json::from_value(json!({
            "id": name, "name": name, "version": version, "license": license, "source": source,
            "rust_version": null, "dependencies": [], "features": {},
            "manifest_path": "/x",
        }))
        .unwrap()
    }

    #[test]
    fn permissive_expressions_pass() {
        for expression in [
            "MIT",
            "MIT OR Apache-2.0",
            "MIT/Apache-2.0",
            "Apache-2.0 WITH LLVM-exception OR Apache-2.0 OR MIT",
            "(MIT OR Apache-2.0) AND Unicode-3.0",
            "GPL-3.0-only OR MIT",
            "ISC AND (Apache-2.0 OR ISC)",
        ] {
            assert!(licence(Some(expression)).is_ok(), "{expression}");
        }
    }

    #[test]
    fn other_expressions_are_refused() {
        for expression in
            ["GPL-3.0-only", "MIT AND GPL-3.0-only", "MPL-2.0", "LicenseRef-mine", "nonsense", ""]
        {
            assert!(licence(Some(expression)).is_err(), "{expression}");
        }
        assert!(licence(None).is_err());
        // An exception that isn't on the list isn't covered by its licence without one.
        assert!(licence(Some("Apache-2.0 WITH Bison-exception-2.2")).is_err());
    }

    #[test]
    fn every_allowed_licence_is_one_that_exists() {
        for name in ALLOWED {
            assert!(licence(Some(name)).is_ok(), "{name}");
        }
    }

    #[test]
    fn sources_and_bans_are_checked() {
        let mit = Some("MIT");
        assert!(complaints(&package("serde", "1.0.0", mit, Some(REGISTRY))).is_empty());
        assert!(complaints(&package("chat-core", "0.1.0", mit, None)).is_empty());
        let foreign = package("serde", "1.0.0", mit, Some("git+https://example.org/serde"));
        assert_eq!(complaints(&foreign).len(), 1);
        let banned = package("openssl", "0.10.0", mit, Some(REGISTRY));
        assert!(complaints(&banned).iter().any(|line| line.contains("take rustls")));
    }

    #[test]
    fn doubled_crates_are_found() {
        let packages = [
            package("a", "1.0.0", None, None),
            package("a", "2.0.0", None, None),
            package("b", "1.0.0", None, None),
        ];
        let metadata = Metadata {
            packages: packages.to_vec(),
            workspace_members: Vec::new(),
            workspace_root: "/x".into(),
        };
        let found = duplicates(&metadata);
        assert_eq!(found.into_iter().collect::<Vec<_>>(), [("a", "1.0.0 2.0.0".to_owned())]);
    }
}
