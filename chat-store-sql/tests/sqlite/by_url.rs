//! Opening a file by URL.

use std::error::Error as _;

use chat_core::connect::{Backends, OpenError};
use chat_core::ports::Expected;
use chat_core::testkit::fixture::{assert_holds, events, stream, write};

use crate::support::Place;

#[tokio::test]
async fn a_file_opens_by_url_with_its_parameters_and_closes_in_order() {
    let place = Place::new();
    let backends = Backends::memory().with(chat_store_sql::backends());
    let url = format!("sqlite:{}", place.path().display());
    let name = stream("chat");
    let opened = backends.open(&url).await.unwrap();
    write(&*opened.events, &name, Expected::NoStream, events([1])).await;
    assert!(opened.bus.is_some());
    opened.close().await;
    // Closed in order, SQLite has put its log into the file.
    assert!(!place.path().with_extension("db-wal").exists());

    let other = backends.open(&format!("{url}?namespace=other")).await.unwrap();
    assert_holds(&*other.events, &name, []).await;
    other.close().await;
    let again = backends.open(&url.replacen("sqlite", "SQLITE", 1)).await.unwrap();
    assert_holds(&*again.events, &name, [1]).await;
    again.close().await;
}

#[tokio::test]
async fn a_wrong_url_or_file_is_told_apart() {
    let place = Place::new();
    let backends = Backends::memory().with(chat_store_sql::backends());
    let refused = async |url: &str| match backends.open(url).await {
        Ok(_) => panic!("{url} was opened"),
        Err(error) => error,
    };
    let wrong = refused("sqlite:x.db?speed=high").await;
    assert!(matches!(wrong, OpenError::Config { .. }), "{wrong}");
    assert_eq!(wrong.source().unwrap().to_string(), "the parameter `speed` is not known");
    std::fs::write(place.path(), "this is no database, this is text\n".repeat(100)).unwrap();
    let broken = refused(&format!("sqlite:{}", place.path().display())).await;
    assert!(matches!(broken, OpenError::Store { .. }) && !broken.is_retryable(), "{broken}");
}
