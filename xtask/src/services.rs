//! The database servers that tests share: which there are, and how one of each is started.
//!
//! A test gets the address of a server from the variable named here. `held` starts them for the
//! steps of one run, `kept` for as long as a developer wants.

use std::fmt::Debug;
use std::net::{TcpStream, ToSocketAddrs};
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use test_servers::{Kept, MariaDb, Postgres, Redis, RedisCluster};

/// One shared server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Service {
    /// What people call it.
    pub(crate) name: &'static str,
    /// The folder that a kept one lies in.
    pub(crate) folder: &'static str,
    /// The variable that tells the tests its URL. Set by the user, no server is started.
    pub(crate) variable: &'static str,
    /// The variables that stand for the programs it takes.
    pub(crate) programs: &'static [&'static str],
    /// Starts one that ends with this process.
    pub(crate) start: fn() -> Result<Box<dyn Server>>,
    /// Starts one that can run on, in a new folder.
    pub(crate) start_kept: fn(&Path) -> Result<Box<dyn Server>>,
}

/// Add a row for another server.
pub(crate) const SERVICES: &[Service] = &[
    Service {
        name: "PostgreSQL",
        folder: "postgres",
        variable: "CHAT_TEST_POSTGRES",
        programs: &["POSTGRES"],
        start: || Ok(Box::new(Postgres::start()?)),
        start_kept: |folder| Ok(Box::new(Postgres::start_kept(folder)?)),
    },
    Service {
        name: "MariaDB",
        folder: "mariadb",
        variable: "CHAT_TEST_MYSQL",
        programs: &["MARIADBD", "MARIADB_INSTALL_DB"],
        start: || Ok(Box::new(MariaDb::start()?)),
        start_kept: |folder| Ok(Box::new(MariaDb::start_kept(folder)?)),
    },
    Service {
        name: "Redis",
        folder: "redis",
        variable: "CHAT_TEST_REDIS",
        programs: &["REDIS_SERVER"],
        start: || Ok(Box::new(Redis::start()?)),
        start_kept: |folder| Ok(Box::new(Redis::start_kept(folder)?)),
    },
    Service {
        name: "Redis Cluster",
        folder: "redis-cluster",
        variable: "CHAT_TEST_REDIS_CLUSTER",
        programs: &["REDIS_SERVER"],
        start: || Ok(Box::new(RedisCluster::start()?)),
        start_kept: |folder| Ok(Box::new(RedisCluster::start_kept(folder)?)),
    },
];

/// A server that was started. It ends when dropped.
pub(crate) trait Server: Debug + Send {
    fn url(&self) -> String;

    /// The processes that this one started for it.
    fn processes(&self) -> Vec<u32>;

    /// An error if it has ended by itself.
    fn check(&mut self) -> Result<()>;

    /// Lets it run on.
    fn keep(self: Box<Self>) -> Result<Vec<Kept>>;
}

macro_rules! server_of_one {
    ($($server:ty)+) => {$(
        impl Server for $server {
            fn url(&self) -> String {
                self.url()
            }

            fn processes(&self) -> Vec<u32> {
                self.process().into_iter().collect()
            }

            fn check(&mut self) -> Result<()> {
                self.check()
            }

            fn keep(self: Box<Self>) -> Result<Vec<Kept>> {
                Ok(vec![(*self).keep()?])
            }
        }
    )+};
}

server_of_one!(Postgres MariaDb Redis);

impl Server for RedisCluster {
    fn url(&self) -> String {
        self.url()
    }

    fn processes(&self) -> Vec<u32> {
        self.processes()
    }

    fn check(&mut self) -> Result<()> {
        self.check()
    }

    fn keep(self: Box<Self>) -> Result<Vec<Kept>> {
        (*self).keep()
    }
}

/// What the user has set `variable` to.
pub(crate) fn given(variable: &str) -> Option<String> {
    std::env::var(variable).ok().filter(|url| !url.is_empty())
}

/// Does the same for several services at once: each start is mostly waiting.
pub(crate) fn at_once<T: Send>(
    services: &[&'static Service],
    act: impl Fn(&Service) -> Result<T> + Sync,
) -> Vec<(&'static Service, Result<T>)> {
    let act = &act;
    thread::scope(|scope| {
        let started: Vec<_> =
            services.iter().map(|service| (*service, scope.spawn(move || act(service)))).collect();
        let joined = started.into_iter().map(|(service, thread)| {
            let broken = || Err(anyhow::anyhow!("starting {} broke off", service.name));
            (service, thread.join().unwrap_or_else(|_| broken()))
        });
        joined.collect()
    })
}

const PATIENCE: Duration = Duration::from_secs(10);

/// Makes sure that somebody listens at the user's URL: without it every test would fail, and
/// none would say why.
///
/// # Errors
///
/// When nobody does. A URL that names no host and port is taken to be right.
pub(crate) fn answers(service: &Service, url: &str) -> Result<()> {
    let Some(address) = address(url) else { return Ok(()) };
    let reached = address.to_socket_addrs().map(|mut found| {
        found.any(|address| TcpStream::connect_timeout(&address, PATIENCE).is_ok())
    });
    if !reached.with_context(|| format!("find {address}, which {} names", service.variable))? {
        let variable = service.variable;
        bail!(
            "{variable} is set, but nobody answers at {address}: `unset {variable}`, or start it"
        );
    }
    Ok(())
}

/// Host and port of a URL, without the name and the password that may stand before.
pub(crate) fn address(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let place = rest.split(['/', '?', '#']).next()?;
    let place = place.rsplit_once('@').map_or(place, |(_, place)| place);
    if place.is_empty() || place.contains('%') {
        return None;
    }
    // The colons of `[::1]` stand before its bracket.
    let has_port = place.rsplit_once(':').is_some_and(|(_, port)| !port.contains(']'));
    let port = match scheme {
        _ if has_port => return Some(place.to_owned()),
        "postgres" | "postgresql" => 5432,
        "mysql" | "mariadb" => 3306,
        _ => 6379,
    };
    Some(format!("{place}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn address_is_read_without_the_password() {
        let read = |url| address(url).unwrap();
        assert_eq!(read("postgres://me:p@ss@10.0.0.1:7/db?x=y:1"), "10.0.0.1:7");
        assert_eq!(read("mysql://root@localhost/test"), "localhost:3306");
        assert_eq!(read("postgres://localhost"), "localhost:5432");
        assert_eq!(read("redis://[::1]"), "[::1]:6379");
        assert_eq!(read("rediss://[::1]:7"), "[::1]:7");
        assert_eq!(address("postgres://%2Fsocket/db"), None);
        assert_eq!(address("nonsense"), None);
    }

    #[test]
    fn url_where_nobody_listens_is_refused() {
        let [service, ..] = SERVICES else { panic!("no services") };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("postgres://me:secret@{}/db", listener.local_addr().unwrap());
        answers(service, &url).unwrap();
        // Nobody can listen on port 0.
        let url = "postgres://me:secret@127.0.0.1:0/db";
        let error = answers(service, url).unwrap_err().to_string();
        assert!(error.contains("unset CHAT_TEST_POSTGRES"), "{error}");
        assert!(!error.contains("secret"), "{error}");
    }

    #[test]
    fn services_are_told_apart() {
        let [postgres, maria, ..] = SERVICES else { panic!("too few services") };
        let done = at_once(&[postgres, maria], |service| match service.name {
            "MariaDB" => bail!("no"),
            name => Ok(name),
        });
        let [(_, Ok("PostgreSQL")), (_, Err(_))] = done.as_slice() else { panic!("{done:?}") };
    }
}
