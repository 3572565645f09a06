//! The task that owns the connection for subscriptions.

use std::collections::HashSet;
use std::sync::{Arc, Weak};
use std::time::Duration;

use chat_core::Topic;
use chat_core::ports::StoreError;
use redis::aio::{ConnectionLike as _, MultiplexedConnection};
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{MultipleNodeRoutingInfo, RoutingInfo};
use redis::{AsyncConnectionConfig, ProtocolVersion, PushInfo, RedisError, Value};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::bus::{Request, Topics};
use crate::config::{RedisConfig, Topology};
use crate::error::{Step, store_error};
use crate::tls;
use crate::way::{infos, tcp};

/// Subscribes and unsubscribes until the store is gone.
pub(crate) async fn run(
    config: RedisConfig,
    topics: Arc<Topics>,
    mut requests: mpsc::Receiver<Request>,
) {
    let every = config.timeout;
    let mut subscriber = Subscriber { config, topics, line: None, held: HashSet::new() };
    let mut wait = FIRST_WAIT;
    let mut looked = Instant::now();
    loop {
        // While a connection is to be made again, the wait for it ends by time.
        let again = subscriber.line.is_none() && !subscriber.topics.listened().is_empty();
        tokio::select! {
            request = requests.recv() => match request {
                Some(request) => subscriber.serve(request).await,
                None => return,
            },
            () = subscriber.topics.changed.notified() => {}
            () = tokio::time::sleep(wait), if again => {}
            () = tokio::time::sleep_until(looked + every), if subscriber.line.is_some() => {
                subscriber.look().await;
                looked = Instant::now();
            }
        }
        if subscriber.topics.take_lost() {
            (subscriber.line, wait) = (None, FIRST_WAIT);
        }
        let restored = subscriber.restore().await;
        wait = if restored.is_ok() { FIRST_WAIT } else { (wait * 2).min(LONGEST_WAIT) };
        subscriber.leave().await;
    }
}

struct Subscriber {
    config: RedisConfig,
    topics: Arc<Topics>,
    line: Option<Line>,
    /// What the connection is subscribed to.
    held: HashSet<Topic>,
}

#[derive(Clone)]
enum Line {
    Server(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Subscriber {
    async fn serve(&mut self, request: Request) {
        let result = match self.restore().await {
            Ok(()) => self.hold(&request.topic).await,
            Err(error) => Err(error),
        };
        let at_connect = |error| store_error(error, Step::Connect);
        let answer: Result<(), StoreError> = result.map_err(at_connect);
        // A subscriber who is gone needs no answer.
        let _gone = request.done.send(answer);
    }

    /// Makes the connection if there is none, and subscribes anew to all that is listened to.
    async fn restore(&mut self) -> Result<(), RedisError> {
        if self.line.is_some() {
            return Ok(());
        }
        let wanted = self.topics.listened();
        if wanted.is_empty() {
            self.held.clear();
            return Ok(());
        }
        self.line = Some(connect(&self.config, Arc::downgrade(&self.topics)).await?);
        let before = std::mem::take(&mut self.held);
        for topic in &wanted {
            if let Err(error) = self.hold(topic).await {
                // All of it is done again.
                self.held = before;
                return Err(error);
            }
        }
        if !before.is_empty() {
            self.topics.tell_missed();
        }
        Ok(())
    }

    async fn hold(&mut self, topic: &Topic) -> Result<(), RedisError> {
        if self.held.contains(topic) {
            return Ok(());
        }
        let Some(mut line) = self.line.clone() else { return Ok(()) };
        let channel = self.topics.channel(topic);
        let subscribed = match &mut line {
            Line::Server(server) => server.subscribe(channel).await,
            Line::Cluster(cluster) => cluster.ssubscribe(channel).await,
        };
        match &subscribed {
            Ok(()) => {
                self.held.insert(topic.clone());
            }
            Err(_) => self.line = None,
        }
        subscribed
    }

    /// Lets go of a connection whose other end does not answer. One that only listens would not
    /// notice.
    async fn look(&mut self) {
        let ping = redis::cmd("PING");
        let answer = match &mut self.line {
            None => return,
            Some(Line::Server(server)) => server.req_packed_command(&ping).await,
            Some(Line::Cluster(cluster)) => {
                let masters = RoutingInfo::MultiNode((MultipleNodeRoutingInfo::AllMasters, None));
                cluster.route_command(ping, masters).await
            }
        };
        if answer.and_then(Value::extract_error).is_err() {
            self.line = None;
        }
    }

    /// Unsubscribes from what nobody listens to any more.
    async fn leave(&mut self) {
        for topic in self.topics.take_left() {
            if !self.held.remove(&topic) {
                continue;
            }
            let channel = self.topics.channel(&topic);
            let left = match &mut self.line {
                Some(Line::Server(server)) => server.unsubscribe(channel).await,
                Some(Line::Cluster(cluster)) => cluster.sunsubscribe(channel).await,
                None => Ok(()),
            };
            if left.is_err() {
                self.line = None;
            }
        }
    }
}

async fn connect(config: &RedisConfig, topics: Weak<Topics>) -> Result<Line, RedisError> {
    let push = move |info: PushInfo| match topics.upgrade() {
        Some(topics) => {
            topics.push(&info);
            Ok(())
        }
        None => Err(()),
    };
    let infos = infos(config)?;
    match config.topology {
        Topology::Server => {
            let nobody = || RedisError::from((redis::ErrorKind::InvalidClientConfig, "no host"));
            let info = infos.into_iter().next().ok_or_else(nobody)?;
            let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
            let client = tls::client(config, info.set_redis_settings(settings))?;
            let settings = AsyncConnectionConfig::new()
                .set_connection_timeout(Some(config.connect_timeout))
                .set_response_timeout(Some(config.timeout))
                .set_push_sender(push);
            let line = client.get_multiplexed_async_connection_with_config(&settings).await?;
            Ok(Line::Server(line))
        }
        Topology::Cluster => {
            let client = redis::cluster::ClusterClient::builder(infos);
            let client = tls::cluster(config, client)?
                .connection_timeout(config.connect_timeout)
                .response_timeout(config.timeout)
                .tcp_settings(tcp(config))
                .use_protocol(ProtocolVersion::RESP3)
                .push_sender(push)
                .build()?;
            Ok(Line::Cluster(client.get_async_connection().await?))
        }
    }
}

const FIRST_WAIT: Duration = Duration::from_millis(20);
const LONGEST_WAIT: Duration = Duration::from_secs(2);
