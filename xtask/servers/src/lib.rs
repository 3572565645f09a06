//! Private database servers for tests: on free loopback ports, with data folders of their own.
//!
//! ```no_run
//! # fn main() -> anyhow::Result<()> {
//! let mut server = test_servers::Postgres::start()?;
//! println!("connect to {}", server.url());
//! server.kill()?; // as when the power fails
//! server.restart()?; // every commit that was acknowledged is there again
//! # Ok(())
//! # }
//! ```
//!
//! Every call blocks, some for seconds: from async code, call them where blocking is allowed.
//!
//! # Guarantees
//!
//! 1. A server that was returned answers, and it is the one that was started: a port that another
//!    process took meanwhile is given up for another.
//! 2. Dropping a server ends all of its processes and removes its data.
//! 3. On Linux with util-linux a server also ends when this process ends without dropping it, by
//!    whatever way; its data then stays in the folder for temporary files.
//! 4. Nothing runs as root but Redis; PostgreSQL and MariaDB run as the system's user for them.
//! 5. All waiting is bounded, by two minutes for one step; an error shows the end of the server's log.
//!
//! # Programs
//!
//! A program is taken from the environment variable for it (`POSTGRES`, `MARIADBD`,
//! `MARIADB_INSTALL_DB`, `REDIS_SERVER`, `OPENSSL`: a path), else from `PATH` and the places where
//! Debian puts it. `initdb` is the one beside `postgres`.

mod account;
mod cluster;
mod home;
mod kept;
mod mariadb;
mod port;
mod postgres;
mod process;
pub mod program;
mod programs;
mod redis;
mod server;
mod slots;
mod tls;
mod wire;

pub use cluster::RedisCluster;
pub use kept::Kept;
pub use mariadb::MariaDb;
pub use postgres::Postgres;
pub use programs::places;
pub use redis::{Fsync, Redis};
pub use slots::SlotMove;
pub use tls::{Authority, Identity};
