//! The system's users that servers run as when this process is root's.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// A user of the system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) user: u32,
    pub(crate) group: u32,
}

impl Account {
    /// The first of `names` that the system knows, else `nobody`; none if this process isn't
    /// root's, which then starts servers as itself.
    pub(crate) fn instead_of_root(names: &[&str]) -> Result<Option<Self>> {
        if names.is_empty() || !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        let users = fs::read_to_string("/etc/passwd").context("read the system's users")?;
        let account = names.iter().chain(&["nobody"]).find_map(|name| find(&users, name));
        account.map(Some).context("this system has no user to start the server as but root")
    }
}

/// Whether every user may enter the folder `path`, by the modes of it and of all above it.
pub(crate) fn open_to_all(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.ancestors()
        .filter(|folder| !folder.as_os_str().is_empty())
        .all(|folder| folder.metadata().is_ok_and(|data| data.permissions().mode() & 0o001 != 0))
}

fn find(users: &str, name: &str) -> Option<Account> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        if fields.next()? != name {
            return None;
        }
        let user = fields.nth(1)?.parse().ok()?;
        Some(Account { user, group: fields.next()?.parse().ok()? })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_their_whole_name() {
        let users = "root:x:0:0::/:/bin/sh\nmysql2:x:7:8::/:\nmysql:x:102:105:a:/:/bin/false\n";
        assert_eq!(find(users, "mysql"), Some(Account { user: 102, group: 105 }));
        assert_eq!(find(users, "postgres"), None);
    }
}
