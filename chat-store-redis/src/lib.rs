//! Chat history, read models and signals in Redis Streams: one server or a cluster.
//!
//! Redis 7.0 or newer, and Valkey. One store is one namespace: every key begins with its name.
//! Streams are spread over partitions, and all keys of a partition carry one hash tag
//! (`chat:{chat:7}:…`), so that a cluster keeps them together:
//!
//! | key | holds |
//! |---|---|
//! | `chat:{chat}:namespace` | format, number of partitions, epoch |
//! | `chat:{chat:7}:state` | a hash: the end of the partition's log, the server that holds it |
//! | `chat:{chat:7}:log` | a stream: references to events, one entry for each batch |
//! | `chat:{chat:7}:s:STREAM` | a stream: the events, `version-0` is the entry's id |
//! | `chat:{chat:7}:heads` | a hash: stream to the version of its newest event |
//! | `chat:{chat:7}:i:STREAM` | a hash: event id to version, and the size of the largest event |
//! | `chat:{chat:7}:v:PROJECTION:SCOPE` | a hash: a view's values and checkpoint |
//! | `chat:{chat:7}:k:PROJECTION:SCOPE` | a sorted set: the same view's keys, for their order |
//! | `chat:{chat:7}:b:TOPIC` | no key: the channel of a topic of the bus (`2/chat:…` in database 2) |
//!
//! What an acknowledgement is worth depends on the server; see [`RedisDurability`] and, where
//! replicas take a master's place, [`RedisConfig::replicas`].
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use chat_store_redis::{RedisConfig, RedisStore};
//!
//! let store = RedisStore::connect(RedisConfig::from_url("redis://127.0.0.1")?).await?;
//! let (events, views, bus) = (store.events(), store.views(), store.bus()); // for the engine
//! # drop((events, views, bus));
//! store.close().await;
//! # Ok(())
//! # }
//! ```
//!
//! # Features
//!
//! | feature | adds |
//! |---|---|
//! | `tls` | `rediss:` addresses, with rustls and ring |

mod appender;
mod backend;
mod batch;
mod bus;
mod config;
mod connection;
mod durability;
mod envelope;
mod error;
mod events;
mod incarnation;
mod keys;
mod lane;
mod log;
mod replicas;
mod reply;
mod scripts;
mod store;
mod stream_page;
mod subscriber;
mod tls;
mod url;
mod view_writer;
mod views;
mod way;

pub use backend::backends;
pub use config::{RedisConfig, RedisDurability, ReplicaSync, Secret, Tls, Topology};
pub use durability::{ServerDurability, Sync};
pub use error::ConnectError;
pub use store::RedisStore;
pub use url::ConfigError;
