//! A namespace that nobody else uses, and short ways to open stores in it.

use std::collections::HashMap;
use std::num::NonZero;
use std::sync::Mutex;

use chat_core::Namespace;
use chat_store_sql::postgres::{PostgresConfig, PostgresStore};
use uuid::Uuid;

/// The server that the tests share.
pub(crate) fn url() -> String {
    std::env::var("CHAT_TEST_POSTGRES").unwrap_or_else(|_| {
        panic!(
            "CHAT_TEST_POSTGRES is not set; run `cargo xtask services up` and set what it prints, \
             or run `cargo xtask test`"
        )
    })
}

/// A namespace in a database.
#[derive(Debug)]
pub(crate) struct Place {
    url: String,
    namespace: Namespace,
    others: Mutex<HashMap<Namespace, Namespace>>,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self::at(url())
    }

    pub(crate) fn at(url: String) -> Self {
        Self { url, namespace: unused_namespace(), others: Mutex::default() }
    }

    /// Few connections: the tests share a server.
    pub(crate) fn config(&self) -> PostgresConfig {
        PostgresConfig::from_url(&self.url)
            .unwrap()
            .with_namespace(self.namespace.clone())
            .with_max_connections(NonZero::new(2).unwrap())
    }

    pub(crate) async fn open(&self) -> PostgresStore {
        PostgresStore::connect(self.config()).await.unwrap()
    }

    /// A store of a namespace that is called thus in the test.
    pub(crate) async fn open_named(&self, name: &Namespace) -> PostgresStore {
        let namespace = {
            let mut others = self.others.lock().unwrap();
            others.entry(name.clone()).or_insert_with(unused_namespace).clone()
        };
        PostgresStore::connect(self.config().with_namespace(namespace)).await.unwrap()
    }
}

fn unused_namespace() -> Namespace {
    let id = Uuid::new_v4().simple().to_string();
    Namespace::new(format!("t{}", &id[..20])).unwrap()
}
