//! Opening a store by URL, for hosts that are configured by a flag or the environment. Knows which
//! scheme belongs to whom; what stands behind the scheme is read by the adapter alone.
//!
//! | scheme | store | brought by |
//! |---|---|---|
//! | `memory:` | in this process, gone with it; `?partitions=4` | this crate |
//! | `sqlite:` | a file | `chat-store-sql`, feature `sqlite` |
//! | `postgres:`, `postgresql:` | PostgreSQL | `chat-store-sql`, feature `postgres` |
//! | `mysql:`, `mariadb:` | MySQL, MariaDB | `chat-store-sql`, feature `mysql` |
//! | `redis:`, `redis+cluster:` | a Redis server, a Redis Cluster | `chat-store-redis` |
//! | `rediss:`, `rediss+cluster:` | the same with TLS | `chat-store-redis`, feature `tls` |
//!
//! A host lists what it was compiled with, and the rest is text:
//!
//! ```
//! use chat_core::Engine;
//! use chat_core::connect::Backends;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // With the adapters: Backends::memory().with(chat_store_sql::backends())
//! let opened = Backends::memory().open("memory:").await?;
//! let engine = Engine::builder().opened(&opened).build().await?;
//! engine.shutdown().await;
//! opened.close().await;
//! # Ok(()) }
//! ```

mod backend;
mod backends;
mod error;
mod memory;
mod opened;
mod url;

pub use backend::Backend;
pub use backends::Backends;
pub use error::{Home, OpenError, Schemes};
pub use opened::Opened;
pub use url::{InvalidUrl, StoreUrl};
