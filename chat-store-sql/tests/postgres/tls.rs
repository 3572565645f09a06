//! Encrypted connections to a server that proves who it is.

use chat_core::ports::{Expected, StoreError};
use chat_core::testkit::fixture::{assert_holds, events, stream, write};
use chat_store_sql::postgres::{PostgresConfig, PostgresStore};
use test_servers::{Authority, Postgres};

#[tokio::test]
async fn a_server_is_believed_by_its_certificate_and_name_only() {
    let authority = Authority::new().unwrap();
    let identity = authority.identity().unwrap();
    let starting = tokio::task::spawn_blocking(|| Postgres::start_with_tls(identity));
    let server = starting.await.unwrap().unwrap();
    let open = async |url: &str, mode: &str, authority: &Authority| {
        let url = format!("{url}?sslmode={mode}&sslrootcert={}", authority.certificate().display());
        PostgresStore::connect(PostgresConfig::from_url(&url).unwrap()).await
    };
    let (by_address, by_name) = (server.url(), server.url().replace("127.0.0.1", "localhost"));

    let store = open(&by_address, "verify-full", &authority).await.unwrap();
    write(&store, &stream("chat"), Expected::NoStream, events([1])).await;
    assert_holds(&store, &stream("chat"), [1]).await;
    let plain = "SELECT ssl, count(*) > 0 FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
                 WHERE usename = 'postgres' AND pid <> pg_backend_pid() GROUP BY ssl";
    assert_eq!(server.query(plain).unwrap(), "t|t", "every connection of the store is encrypted");
    store.close().await;

    open(&by_name, "verify-ca", &authority).await.unwrap().close().await;
    let strangers = [
        open(&by_name, "verify-full", &authority).await,
        open(&by_address, "verify-full", &Authority::new().unwrap()).await,
    ];
    for opened in strangers {
        let Err(StoreError::Unavailable { source: Some(source), .. }) = opened else {
            panic!("{opened:?}");
        };
        assert!(source.to_string().contains("certificate"), "{source}");
    }
}
