//! Encrypted connections to a server that proves who it is.

use chat_core::ports::{Expected, StoreError};
use chat_core::testkit::fixture::{assert_holds, events, stream, write};
use chat_store_sql::mysql::{MysqlConfig, MysqlStore};
use test_servers::{Authority, MariaDb};

#[tokio::test]
async fn a_server_is_believed_by_its_certificate_and_name_only() {
    let authority = Authority::new().unwrap();
    let identity = authority.identity().unwrap();
    let starting = tokio::task::spawn_blocking(|| MariaDb::start_with_tls(identity));
    let server = starting.await.unwrap().unwrap();
    // A user whom the server takes over encrypted connections only.
    server.query("CREATE USER careful@'%' REQUIRE SSL").unwrap();
    server.query("GRANT ALL ON test.* TO careful@'%'").unwrap();
    let url = server.url().replace("root", "careful");
    let open = async |url: &str, mode: &str, authority: &Authority| {
        let url = format!("{url}?ssl-mode={mode}&ssl-ca={}", authority.certificate().display());
        MysqlStore::connect(MysqlConfig::from_url(&url).unwrap()).await
    };
    let (by_address, by_name) = (url.clone(), url.replace("127.0.0.1", "localhost"));

    let store = open(&by_address, "VERIFY_IDENTITY", &authority).await.unwrap();
    write(&store, &stream("chat"), Expected::NoStream, events([1])).await;
    assert_holds(&store, &stream("chat"), [1]).await;
    store.close().await;
    let plain = open(&by_address, "DISABLED", &authority).await;
    assert!(plain.is_err(), "{plain:?}");

    open(&by_name, "VERIFY_CA", &authority).await.unwrap().close().await;
    let strangers = [
        open(&by_name, "VERIFY_IDENTITY", &authority).await,
        open(&by_address, "VERIFY_IDENTITY", &Authority::new().unwrap()).await,
    ];
    for opened in strangers {
        let Err(StoreError::Unavailable { source: Some(source), .. }) = opened else {
            panic!("{opened:?}");
        };
        assert!(source.to_string().contains("certificate"), "{source}");
    }
}
