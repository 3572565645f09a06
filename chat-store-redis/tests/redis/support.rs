//! A namespace that no other test uses, on the shared server or cluster.

use std::num::NonZero;
use std::time::Duration;

use chat_core::Namespace;
use chat_core::ports::{Append, Appended, EventStoreExt as _};
use chat_store_redis::{RedisConfig, RedisStore, Topology};
use tokio::time::Instant;
use uuid::Uuid;

/// Where a test works.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) config: RedisConfig,
}

impl Place {
    /// On the shared server.
    pub(crate) fn on_one_server() -> Self {
        Self::at(&variable("CHAT_TEST_REDIS"), Topology::Server).with_partitions(4)
    }

    /// On the shared cluster.
    pub(crate) fn on_a_cluster() -> Self {
        Self::at(&variable("CHAT_TEST_REDIS_CLUSTER"), Topology::Cluster)
    }

    pub(crate) fn at(url: &str, topology: Topology) -> Self {
        let mut config = RedisConfig::from_url(url).unwrap();
        config.topology = topology;
        Self { config: config.with_namespace(fresh_namespace()) }
    }

    /// The same with so many partitions.
    pub(crate) fn with_partitions(mut self, partitions: u32) -> Self {
        self.config.partitions = Some(NonZero::new(partitions).unwrap());
        self
    }

    pub(crate) async fn open(&self) -> RedisStore {
        RedisStore::connect(self.config.clone()).await.unwrap()
    }

    /// Another namespace that goes with this place: the same for the same name.
    pub(crate) fn beside(&self, namespace: &Namespace) -> Self {
        let own = self.config.namespace.as_str();
        let name = namespace.as_str();
        // Namespaces have 24 characters at most.
        let name: String = own.chars().take(12).chain(name.chars().take(8)).collect();
        let ends = (namespace.as_str().len() % 100, name.len());
        let name = format!("{name}_{}", ends.0);
        Self { config: self.config.clone().with_namespace(Namespace::new(name).unwrap()) }
    }
}

/// Appends, and repeats that until the outcome is known, as long as a server may be gone.
pub(crate) async fn settled(store: &RedisStore, append: Append) -> Appended {
    let until = Instant::now() + SOON;
    loop {
        match store.append_one(append.clone()).await {
            Ok(appended) => return appended,
            Err(error) => {
                assert!(error.is_retryable() && Instant::now() < until, "{error:?}");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }
}

/// More than anything takes, however slow the machine is.
pub(crate) const SOON: Duration = Duration::from_secs(120);

/// A namespace that nobody has used.
pub(crate) fn fresh_namespace() -> Namespace {
    let unique = Uuid::new_v4().simple().to_string();
    Namespace::new(format!("t{}", &unique[..20])).unwrap()
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!(
            "{name} is not set; run `cargo xtask services up` and set what it prints, or run \
             `cargo xtask test`"
        )
    })
}
