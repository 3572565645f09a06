//! Opening a store by URL.
#![expect(clippy::panic, reason = "tests fail by panicking")]

use std::error::Error as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use chat_core::connect::{Backend, Backends, InvalidUrl, OpenError, Opened, StoreUrl};
use chat_core::memory::{MemoryBus, MemoryEventStore, MemoryViewStore};
use chat_core::ports::StoreError;
use chat_core::{Engine, HistoryQuery, NewMessage, UserId};

/// A store of a host's own: `own:` opens, `own:down` is not there now.
#[derive(Debug, Default)]
struct Own {
    closed: Arc<AtomicBool>,
}

#[async_trait]
impl Backend for Own {
    fn schemes(&self) -> &'static [&'static str] {
        &["own", "owns"]
    }

    async fn open(&self, url: &StoreUrl) -> Result<Opened, OpenError> {
        if url.expose().ends_with("small") {
            return Err(OpenError::unfit(url, std::io::Error::other("it forgets things")));
        }
        if url.expose().ends_with("down") {
            let what = "connect".into();
            return Err(OpenError::store(url, StoreError::Unavailable { what, source: None }));
        }
        let closed = Arc::clone(&self.closed);
        let store = Arc::new(MemoryEventStore::with_partitions(3));
        let opened = Opened::new(store, Arc::new(MemoryViewStore::new()));
        Ok(opened.with_close(async move { closed.store(true, Ordering::SeqCst) }))
    }
}

fn backends() -> Backends {
    Backends::memory().with([Arc::new(Own::default()) as Arc<dyn Backend>])
}

async fn refused(url: &str) -> OpenError {
    match backends().open(url).await {
        Ok(_) => panic!("{url} was opened"),
        Err(error) => error,
    }
}

#[tokio::test]
async fn an_unknown_scheme_is_answered_with_those_there_are() {
    let error = refused("oracle://ann:hunter2@db/chat").await;
    let text = "there is no store with the scheme `oracle:`; this program has `memory:`, `own:`, \
                `owns:`";
    assert_eq!(error.to_string(), text);
    assert!(matches!(error, OpenError::UnknownScheme { .. }) && !error.is_retryable());
    assert!(!format!("{error:?}").contains("hunter2"));
}

#[tokio::test]
async fn a_scheme_that_is_not_compiled_in_names_its_crate_and_feature() {
    for (scheme, package, feature) in [
        ("sqlite", "chat-store-sql", Some("sqlite")),
        ("postgres", "chat-store-sql", Some("postgres")),
        ("postgresql", "chat-store-sql", Some("postgres")),
        ("mysql", "chat-store-sql", Some("mysql")),
        ("mariadb", "chat-store-sql", Some("mysql")),
        ("redis", "chat-store-redis", None),
        ("rediss", "chat-store-redis", Some("tls")),
        ("redis+cluster", "chat-store-redis", None),
        ("rediss+cluster", "chat-store-redis", Some("tls")),
    ] {
        let error = refused(&format!("{scheme}://ann:hunter2@db")).await;
        let text = error.to_string();
        assert!(!format!("{error:?} {text}").contains("hunter2"), "{text}");
        assert!(text.contains(package) && text.contains("`memory:`"), "{text}");
        let OpenError::NotCompiledIn { home, .. } = error else { panic!("{scheme}: {text}") };
        assert_eq!((home.package, home.feature), (package, feature));
    }
    let sqlite = "`sqlite:` needs the crate chat-store-sql with its feature `sqlite`, which this \
                  program was built without; it has `memory:`, `own:`, `owns:`";
    assert_eq!(refused("sqlite:chat.db").await.to_string(), sqlite);
}

#[tokio::test]
async fn a_text_that_is_no_url_is_refused_without_being_repeated() {
    let error = refused("hunter2").await;
    assert!(matches!(error, OpenError::Url(InvalidUrl::NoScheme)), "{error}");
    assert!(matches!(refused("own: x").await, OpenError::Url(InvalidUrl::Blank)));
}

#[tokio::test]
async fn a_wrong_url_says_what_is_wrong_and_hides_the_password() {
    for (url, shown, words) in [
        ("memory:chat", "memory:chat", "names no place"),
        ("memory:?partition=4", "memory:?partition=4", "`partition` is not known"),
        ("memory:?partitions=0", "memory:?partitions=0", "from 1 to"),
        ("memory:?partitions=x", "memory:?partitions=x", "from 1 to"),
        ("memory://ann:hunter2@", "memory://ann:***@", "names no place"),
    ] {
        let error = refused(url).await;
        assert_eq!(error.to_string(), format!("the store's URL {shown} is wrong"));
        let source = error.source().unwrap().to_string();
        assert!(source.contains(words), "{source}");
        assert!(!format!("{error:?} {source}").contains("hunter2"));
    }
}

#[tokio::test]
async fn a_server_that_is_not_fit_says_why() {
    let error = refused("own://ann:hunter2@host/small").await;
    assert_eq!(error.to_string(), "the store own://ann:***@host/small is not fit for this");
    assert_eq!(error.source().unwrap().to_string(), "it forgets things");
    assert!(!error.is_retryable());
}

#[tokio::test]
async fn a_store_that_is_not_there_now_may_be_tried_again() {
    let error = refused("own://ann:hunter2@host/down").await;
    assert_eq!(error.to_string(), "the store own://ann:***@host/down cannot be opened");
    assert!(error.is_retryable());
    assert!(!format!("{error:?}").contains("hunter2"));
}

#[tokio::test]
async fn memory_is_new_each_time_and_has_the_partitions_asked_for() {
    let opened = backends().open("Memory:?partitions=4&namespace=team").await.unwrap();
    assert_eq!(opened.events.info().await.unwrap().partitions, 4);
    assert!(opened.bus.is_some());
    let other = backends().open("memory:").await.unwrap();
    let epochs = (opened.events.info().await.unwrap().epoch, other.events.info().await.unwrap());
    assert_ne!(epochs.0, epochs.1.epoch);
    opened.close().await;
    other.close().await;
}

#[tokio::test]
async fn of_two_for_one_scheme_the_one_added_last_is_taken() {
    #[derive(Debug)]
    struct Broken;
    #[async_trait]
    impl Backend for Broken {
        fn schemes(&self) -> &'static [&'static str] {
            &["own"]
        }
        async fn open(&self, url: &StoreUrl) -> Result<Opened, OpenError> {
            Err(OpenError::store(url, StoreError::Closed))
        }
    }
    let backends = backends().with([Arc::new(Broken) as Arc<dyn Backend>]);
    assert_eq!(backends.schemes().to_string(), "`memory:`, `own:`, `owns:`");
    assert!(matches!(backends.open("own:").await, Err(OpenError::Store { .. })));
    assert!(backends.open("owns:").await.is_ok());
    assert_eq!(backends.parse("OWNS:x").unwrap().expose(), "owns:x");
    assert!(backends.parse("redis:x").is_err());
}

#[tokio::test]
async fn an_engine_runs_on_what_was_opened_and_closing_is_waited_for() {
    let own = Own::default();
    let closed = Arc::clone(&own.closed);
    let backends = Backends::memory().with([Arc::new(own) as Arc<dyn Backend>]);
    let opened = backends.open("own:").await.unwrap();
    // A store without a bus leaves the one that the host gave.
    let builder = Engine::builder().bus(Arc::new(MemoryBus::new())).opened(&opened);
    assert!(format!("{builder:?}").contains("MemoryBus"));
    let engine = builder.build().await.unwrap();
    let ann = engine.user(UserId::new("ann").unwrap());
    let chat = ann.chat(&ann.open_direct(&[]).await.unwrap().chat);
    chat.send(NewMessage::text("kept")).await.unwrap();
    let page = chat.history(HistoryQuery::Latest, 9).await.unwrap();
    assert_eq!(page.messages.len(), 1);
    engine.shutdown().await;
    assert!(!closed.load(Ordering::SeqCst));
    opened.close().await;
    assert!(closed.load(Ordering::SeqCst));
}
