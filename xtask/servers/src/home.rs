//! The folder of one server: its data and its log.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::account::{Account, open_to_all};

/// How much of a log an error shows at most.
const TAIL: u64 = 4096;

/// A folder that only its server may enter.
#[derive(Debug)]
pub(crate) struct Home {
    path: PathBuf,
    account: Option<Account>,
    fate: Fate,
}

/// What becomes of the folder when its [`Home`] is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Removed,
    Kept,
}

impl Home {
    /// A fresh folder for temporary files, which is removed when dropped.
    pub(crate) fn temporary(account: Option<Account>) -> Result<Self> {
        let places = [std::env::temp_dir(), "/tmp".into(), "/var/tmp".into()];
        let place = places.iter().find(|place| account.is_none() || open_to_all(place));
        let place = place.context("no folder for temporary files is open to every user")?;
        let folder = tempfile::Builder::new().prefix("test-server-").tempdir_in(place);
        let folder = folder.with_context(|| format!("make a folder in {}", place.display()))?;
        Self::of(folder.keep(), account)
    }

    /// The new folder `path`, which is removed when dropped until [`Home::keep`] is called. One
    /// in another place if the server's user couldn't enter it there.
    pub(crate) fn at(path: &Path, account: Option<Account>) -> Result<Self> {
        let parent = path.parent().context("the server's folder lies nowhere")?;
        fs::create_dir_all(parent).with_context(|| format!("make {}", parent.display()))?;
        let parent = parent.canonicalize().context("find the server's folder")?;
        if account.is_some() && !open_to_all(&parent) {
            return Self::temporary(account);
        }
        let name = path.file_name().context("the server's folder has no name")?;
        let path = parent.join(name);
        fs::create_dir(&path).with_context(|| format!("make {}", path.display()))?;
        Self::of(path, account)
    }

    fn of(path: PathBuf, account: Option<Account>) -> Result<Self> {
        let mut home = Self { path, account, fate: Fate::Removed };
        // The server will name its folders without symbolic links.
        home.path = home.path.canonicalize().context("find the server's folder")?;
        home.own(&home.path)?;
        let closed = fs::set_permissions(&home.path, Permissions::from_mode(0o700));
        closed.with_context(|| format!("close {} to others", home.path.display()))?;
        Ok(home)
    }

    /// From now on the folder stays when this is dropped.
    pub(crate) fn keep(&mut self) {
        self.fate = Fate::Kept;
    }

    /// Whether the folder goes when this is dropped.
    pub(crate) fn is_removed(&self) -> bool {
        self.fate == Fate::Removed
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The user that the server runs as, unless it is this process's.
    pub(crate) fn account(&self) -> Option<Account> {
        self.account
    }

    /// The data folder in it. The server itself, or the program that sets it up, makes it.
    pub(crate) fn data(&self) -> PathBuf {
        self.path.join("data")
    }

    /// Makes a file in the folder that the server may read, and nobody else.
    pub(crate) fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.path.join(name);
        let written = fs::write(&path, text)
            .and_then(|()| fs::set_permissions(&path, Permissions::from_mode(0o600)));
        written.with_context(|| format!("write {}", path.display()))?;
        self.own(&path)?;
        Ok(path)
    }

    fn own(&self, path: &Path) -> Result<()> {
        let Some(Account { user, group }) = self.account else { return Ok(()) };
        chown(path, Some(user), Some(group))
            .with_context(|| format!("give {} to user {user}", path.display()))
    }

    /// The log, to append to.
    pub(crate) fn log(&self) -> Result<File> {
        let path = self.path.join("log");
        let log = OpenOptions::new().create(true).append(true).open(&path);
        log.with_context(|| format!("open {}", path.display()))
    }

    /// How long the log is.
    pub(crate) fn log_length(&self) -> u64 {
        self.path.join("log").metadata().map(|data| data.len()).unwrap_or_default()
    }

    /// The end of what the log got after its first `from` bytes.
    pub(crate) fn log_since(&self, from: u64) -> String {
        let read = || -> std::io::Result<Vec<u8>> {
            let mut log = File::open(self.path.join("log"))?;
            let length = log.metadata()?.len();
            log.seek(SeekFrom::Start(from.max(length.saturating_sub(TAIL))))?;
            let mut bytes = Vec::new();
            log.take(TAIL).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        match read() {
            Ok(bytes) if bytes.is_empty() => "(the log is empty)".to_owned(),
            Ok(bytes) => String::from_utf8_lossy(&bytes).trim_end().to_owned(),
            Err(error) => format!("(the log cannot be read: {error})"),
        }
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if self.is_removed() {
            // Nobody is left to tell.
            let _ = remove(&self.path);
        }
    }
}

/// Removes a server's folder and all in it; none is fine too.
pub(crate) fn remove(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            bail!("remove {}: {error}", path.display())
        }
        _ => Ok(()),
    }
}
