//! Checks that the Rust toolchain is new enough and has what the other steps call.

use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::metadata::Metadata;
use crate::steps::Steps;

/// Cargo subcommands that a toolchain may lack, with the component that brings each.
const COMPONENTS: &[(&str, &str)] = &[("fmt", "rustfmt"), ("clippy", "clippy")];

/// The toolchain step.
///
/// # Errors
///
/// Says what is too old or missing, and how to mend it.
pub(crate) fn check(steps: &mut Steps) -> Result<String> {
    let printed = steps.children.output(Command::new("rustc").arg("--version"))?;
    let printed = printed.trim();
    let needed = required(&steps.metadata)?;
    let found = version(printed.split(' ').nth(1).unwrap_or_default())
        .with_context(|| format!("`rustc --version` printed `{printed}`"))?;
    if found < needed {
        let (major, minor) = needed;
        bail!("{printed} is too old; this needs {major}.{minor}: `rustup update`");
    }
    for (subcommand, component) in COMPONENTS {
        let mut command = steps.cargo(&[subcommand, "--version"]);
        if let Err(error) = steps.children.output(command.stderr(std::process::Stdio::null())) {
            bail!("{component} is missing: `rustup component add {component}` ({error:#})");
        }
    }
    Ok(printed.to_owned())
}

/// The newest `rust-version` that a package of the workspace asks for.
fn required(metadata: &Metadata) -> Result<(u32, u32)> {
    let mut newest = None;
    for package in metadata.members() {
        let Some(text) = &package.rust_version else {
            bail!("{} states no rust-version: `rust-version.workspace = true`", package.name);
        };
        let stated = version(text)
            .with_context(|| format!("{}: rust-version `{text}` is no version", package.name))?;
        newest = newest.max(Some(stated));
    }
    newest.context("the workspace has no package")
}

/// Major and minor of `1.95`, `1.95.0` or `1.96.0-nightly`.
fn version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_by_number() {
        assert_eq!(version("1.95"), Some((1, 95)));
        assert_eq!(version("1.96.0-nightly"), Some((1, 96)));
        assert!(version("1.100.0") > version("1.95.0"));
        assert!(version("1.9.0") < version("1.95"));
        assert_eq!(version("rustc"), None);
        assert_eq!(version(""), None);
    }
}
