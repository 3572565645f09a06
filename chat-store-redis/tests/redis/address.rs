//! An address that is none of a server's own, as of a proxy.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use chat_store_redis::Topology;
use test_servers::Redis;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use crate::support::Place;

/// An address that leads to one server, and then to another.
pub(crate) struct Address {
    target: Arc<Mutex<String>>,
    /// Rung when nothing is passed on any more.
    silent: Arc<Notify>,
    own: SocketAddr,
}

impl Address {
    pub(crate) async fn of(server: &Redis) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own = listener.local_addr().unwrap();
        let target = Arc::new(Mutex::new(host(server)));
        let silent = Arc::new(Notify::new());
        let (shared, silenced) = (Arc::clone(&target), Arc::clone(&silent));
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let target = shared.lock().unwrap().clone();
                let silent = Arc::clone(&silenced).notified_owned();
                tokio::spawn(async move {
                    // A server that is gone ends the connection.
                    let Ok(mut server) = TcpStream::connect(target).await else { return };
                    tokio::select! {
                        _ended = tokio::io::copy_bidirectional(&mut client, &mut server) => return,
                        () = silent => {}
                    }
                    // Both ends stay open, and neither hears of the other.
                    std::future::pending::<()>().await;
                });
            }
        });
        Self { target, silent, own }
    }

    pub(crate) fn leads_to(&self, server: &Redis) {
        *self.target.lock().unwrap() = host(server);
    }

    /// Passes on nothing more of the connections that there are, without an end to them.
    pub(crate) fn falls_silent(&self) {
        self.silent.notify_waiters();
    }

    pub(crate) fn place(&self) -> Place {
        Place::at(&format!("redis://{}", self.own), Topology::Server)
    }
}

fn host(server: &Redis) -> String {
    server.url().trim_start_matches("redis://").to_owned()
}
