//! The part of `cargo metadata` that the checks read.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::child::Children;

/// The workspace and all that it depends on, with every feature, on every platform.
#[derive(Debug, Deserialize)]
pub(crate) struct Metadata {
    pub(crate) packages: Vec<Package>,
    pub(crate) workspace_members: Vec<String>,
    pub(crate) workspace_root: PathBuf,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Package {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) license: Option<String>,
    /// Where it comes from; a package of the workspace has none.
    pub(crate) source: Option<String>,
    pub(crate) rust_version: Option<String>,
    pub(crate) dependencies: Vec<Dependency>,
    pub(crate) features: BTreeMap<String, Vec<String>>,
    pub(crate) manifest_path: PathBuf,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    /// `dev` or `build`; a normal one has none.
    pub(crate) kind: Option<String>,
}

impl Metadata {
    /// Asks cargo; refuses a `Cargo.lock` that doesn't fit the manifests.
    ///
    /// # Errors
    ///
    /// When cargo fails or answers something unexpected.
    pub(crate) fn load(children: &Children) -> Result<Self> {
        let words = ["metadata", "--format-version", "1", "--all-features", "--locked"];
        let text = children.output(Command::new(cargo()).args(words))?;
        serde_json::from_str(&text).context("read the answer of `cargo metadata`")
    }

    /// The packages of the workspace.
    pub(crate) fn members(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter().filter(|package| self.workspace_members.contains(&package.id))
    }

    pub(crate) fn member(&self, name: &str) -> Option<&Package> {
        self.members().find(|package| package.name == name)
    }
}

/// The cargo that runs this program.
pub(crate) fn cargo() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}
