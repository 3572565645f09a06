//! Where one measurement makes its database: empty at first, used by nobody else, removed after it.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use super::servers::{Reach, Servers};
use super::{Kind, NAMESPACE, mariadb, postgres, redis};

/// A place for one database.
#[derive(Debug)]
pub(crate) struct Ground {
    pub(crate) kind: Kind,
    /// Opens the store.
    pub(crate) url: String,
    /// Reaches the server, for the plainest program; of SQLite the path of the file.
    pub(super) place: String,
    pub(super) namespace: String,
    /// Whether the whole server is ours.
    pub(super) private: bool,
    /// Goes with this.
    _directory: Option<TempDir>,
}

impl Ground {
    pub(super) async fn new(
        kind: Kind,
        parameters: &str,
        data: &Path,
        servers: &Servers,
    ) -> Result<Self> {
        let name = fresh_name();
        let parts = match kind {
            Kind::Memory => return Ok(Self::memory()),
            Kind::Sqlite => return Self::file(parameters, data),
            Kind::Postgres => {
                let Reach { url, private } = servers.reach(kind)?;
                (with_parameters(&url, &[&format!("namespace={name}"), parameters]), url, private)
            }
            Kind::MariaDb | Kind::LazyMariaDb => {
                let Reach { url, private } = servers.reach(kind)?;
                let (server, _) = url.rsplit_once('/').context("a URL without a database")?;
                mariadb::create(&url, &name).await?;
                let url = format!("{server}/{name}");
                (with_parameters(&url, &[parameters]), url, private)
            }
            Kind::Redis | Kind::LazyRedis | Kind::RedisCluster => {
                let Reach { url, private } = servers.reach(kind)?;
                let own = match kind {
                    Kind::RedisCluster => url.replacen("redis:", "redis+cluster:", 1),
                    _ => url.clone(),
                };
                (with_parameters(&own, &[&format!("namespace={name}"), parameters]), url, private)
            }
        };
        let (url, place, private) = parts;
        let namespace = if matches!(kind, Kind::MariaDb | Kind::LazyMariaDb) {
            NAMESPACE.to_owned()
        } else {
            name
        };
        Ok(Self { kind, url, place, namespace, private, _directory: None })
    }

    fn memory() -> Self {
        let (url, place) = ("memory:".to_owned(), String::new());
        let namespace = NAMESPACE.to_owned();
        Self { kind: Kind::Memory, url, place, namespace, private: true, _directory: None }
    }

    fn file(parameters: &str, data: &Path) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("chat-bench-").tempdir_in(data);
        let directory =
            directory.with_context(|| format!("make a directory in {}", data.display()))?;
        let path = directory.path().join("chat.db");
        let place = path.to_str().context("a path that is not UTF-8")?.to_owned();
        let url = with_parameters(&format!("sqlite:{}", percent_encoded(&place)), &[parameters]);
        let namespace = NAMESPACE.to_owned();
        let _directory = Some(directory);
        Ok(Self { kind: Kind::Sqlite, url, place, namespace, private: true, _directory })
    }

    /// Takes the data away, so that the next measurement finds an empty server. On a server that
    /// is not ours, what Redis holds stays: it cannot be told apart there in one step.
    pub(crate) async fn remove(&self) -> Result<()> {
        match self.kind {
            Kind::Memory | Kind::Sqlite => Ok(()),
            Kind::Postgres => postgres::remove(self).await,
            Kind::MariaDb | Kind::LazyMariaDb => mariadb::remove(self).await,
            Kind::Redis | Kind::LazyRedis | Kind::RedisCluster => redis::remove(self).await,
        }
        .context("take the data of a measurement away")
    }
}

/// A name that no other measurement has, of this program or another that runs.
fn fresh_name() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("bench_{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

fn with_parameters(url: &str, parameters: &[&str]) -> String {
    let mut url = url.to_owned();
    for parameter in parameters.iter().filter(|parameter| !parameter.is_empty()) {
        url.push(if url.contains('?') { '&' } else { '?' });
        url.push_str(parameter);
    }
    url
}

fn percent_encoded(path: &str) -> String {
    path.replace('%', "%25").replace('?', "%3F").replace('#', "%23").replace(' ', "%20")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_added_behind_those_that_are_there() {
        assert_eq!(with_parameters("redis://h", &["a=1", "", "b=2"]), "redis://h?a=1&b=2");
        assert_eq!(with_parameters("redis://h?x=0", &["a=1"]), "redis://h?x=0&a=1");
    }

    #[test]
    fn two_names_differ() {
        assert_ne!(fresh_name(), fresh_name());
    }
}
