//! Checks that every feature of a library crate compiles by itself, and none at all does too.
//!
//! Clippy rather than `cargo check`: it shares the dependencies that the lint step has built.

use anyhow::{Result, bail};

use crate::metadata::{Metadata, Package};
use crate::steps::Steps;

/// Crates that other people depend on. One that doesn't exist yet is left out.
pub(crate) const LIBRARIES: &[&str] =
    &["chat-core", "chat-store-sql", "chat-store-redis", "chat-llm"];

/// The features step.
///
/// # Errors
///
/// When a combination doesn't compile without a warning.
pub(crate) fn check(steps: &mut Steps) -> Result<String> {
    let runs = runs(&steps.metadata);
    if runs.is_empty() {
        bail!("none of {} is in the workspace", LIBRARIES.join(", "));
    }
    for (package, feature) in &runs {
        let mut words = vec!["clippy", "--locked", "--quiet", "-p", package];
        words.push("--no-default-features");
        if let Some(feature) = feature {
            words.extend(["--features", feature]);
        }
        words.extend(["--", "-D", "warnings"]);
        let mut command = steps.cargo(&words);
        steps.command(&mut command)?;
    }
    Ok(format!("{} combinations", runs.len()))
}

/// Package and feature of each run; no feature stands for none at all.
fn runs(metadata: &Metadata) -> Vec<(String, Option<String>)> {
    LIBRARIES
        .iter()
        .filter_map(|name| metadata.member(name))
        .flat_map(|package| {
            std::iter::once(None)
                .chain(alone(package).map(Some))
                .map(|feature| (package.name.clone(), feature))
        })
        .collect()
}

fn alone(package: &Package) -> impl Iterator<Item = String> {
    package.features.keys().filter(|feature| *feature != "default").cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_feature_runs_alone_and_none_too() {
        let metadata: Metadata = serde_json::from_value(serde_json::json!({
            "workspace_root": "/x",
            "workspace_members": ["a"],
            "packages": [{
                "id": "a", "name": "chat-core", "version": "0.1.0", "license": null,
                "source": null, "rust_version": null, "dependencies": [],
                "manifest_path": "/x/Cargo.toml",
                "features": { "default": [], "testkit": [], "extra": [] },
            }],
        }))
        .unwrap();
        let runs = runs(&metadata);
        let features: Vec<_> = runs.iter().map(|(_, feature)| feature.as_deref()).collect();
        assert_eq!(features, [None, Some("extra"), Some("testkit")]);
    }
}
