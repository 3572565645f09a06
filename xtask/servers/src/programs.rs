//! Finds the servers' programs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// A program that is needed to start a server, or to certify one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Program {
    /// The environment variable that holds its path.
    variable: &'static str,
    /// The names to search for, the best first.
    names: &'static [&'static str],
    /// The Debian package that brings it.
    package: &'static str,
}

pub(crate) const POSTGRES: Program =
    Program { variable: "POSTGRES", names: &["postgres"], package: "postgresql" };
pub(crate) const MARIADBD: Program =
    Program { variable: "MARIADBD", names: &["mariadbd", "mysqld"], package: "mariadb-server" };
pub(crate) const MARIADB_INSTALL_DB: Program = Program {
    variable: "MARIADB_INSTALL_DB",
    names: &["mariadb-install-db", "mysql_install_db"],
    package: "mariadb-server",
};
pub(crate) const OPENSSL: Program =
    Program { variable: "OPENSSL", names: &["openssl"], package: "openssl" };
pub(crate) const REDIS_SERVER: Program = Program {
    variable: "REDIS_SERVER",
    names: &["redis-server", "valkey-server"],
    package: "redis-server",
};

impl Program {
    /// Where it is.
    pub(crate) fn path(&self) -> Result<PathBuf> {
        let Self { variable, names, package } = self;
        if let Some(path) = std::env::var_os(variable).filter(|path| !path.is_empty()) {
            let path = PathBuf::from(path);
            if !runnable(&path) {
                bail!("{variable}={} is no program that can be run", path.display());
            }
            return Ok(path);
        }
        find(names).with_context(|| {
            format!(
                "{} is missing: install it with `apt-get install {package}`, or set {variable} to \
                 its path",
                names.first().unwrap_or(&"a program")
            )
        })
    }
}

/// The first program with one of `names` in one of [`places`].
pub(crate) fn find(names: &[&str]) -> Option<PathBuf> {
    let folders = places();
    names
        .iter()
        .find_map(|name| folders.iter().map(|folder| folder.join(name)).find(|path| runnable(path)))
}

/// Where programs are searched for: the folders of `PATH`, then those where Debian puts servers,
/// `/usr/sbin` and the newest `/usr/lib/postgresql/*/bin` among them.
#[must_use]
pub fn places() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<_> = std::env::split_paths(&path).collect();
    folders.extend(["/usr/sbin", "/usr/bin", "/sbin", "/bin"].map(PathBuf::from));
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut versions: Vec<_> = versions
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path())))
        .collect();
    versions.sort_by_key(|(version, _): &(u32, _)| std::cmp::Reverse(*version));
    folders.extend(versions.into_iter().map(|(_, path)| path.join("bin")));
    folders
}

fn runnable(path: &Path) -> bool {
    path.metadata().is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_program_says_how_to_get_it() {
        let program = Program {
            variable: "NO_SUCH_SERVER",
            names: &["no-such-server"],
            package: "no-such-package",
        };
        let error = program.path().unwrap_err().to_string();
        assert!(error.contains("apt-get install no-such-package"), "{error}");
        assert!(error.contains("NO_SUCH_SERVER"), "{error}");
    }

    #[test]
    fn program_on_the_path_is_found() {
        assert!(find(&["no-such-server", "sh"]).is_some());
    }
}
