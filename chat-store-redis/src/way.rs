//! The way to the server or to the cluster: one connection, made anew when it breaks.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chat_core::ports::StoreError;
use redis::aio::{ConnectionLike as _, MultiplexedConnection};
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{MultipleNodeRoutingInfo, RoutingInfo};
use redis::io::tcp::TcpSettings;
use redis::io::tcp::socket2::TcpKeepalive;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, RedisError, Value,
};

use crate::config::{RedisConfig, Tls, Topology};
use crate::error::{Step, store_error};
use crate::tls;

/// A connection to one server or to a cluster.
pub(crate) enum Way {
    Server(Box<Server>),
    Cluster(ClusterConnection),
}

impl std::fmt::Debug for Way {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Server(_) => "Server",
            Self::Cluster(_) => "Cluster",
        })
    }
}

impl Way {
    pub(crate) async fn open(config: &RedisConfig) -> Result<Self, StoreError> {
        let at_connect = |error| store_error(error, Step::Connect);
        let infos = infos(config).map_err(at_connect)?;
        match config.topology {
            Topology::Server => Ok(Self::Server(Box::new(Server::open(config, infos).await?))),
            Topology::Cluster => {
                let client = redis::cluster::ClusterClient::builder(infos);
                let client = tls::cluster(config, client)
                    .map_err(at_connect)?
                    .connection_timeout(config.connect_timeout)
                    .response_timeout(config.timeout)
                    .tcp_settings(tcp(config))
                    .overall_response_timeout(Some(config.timeout))
                    .retries(CLUSTER_RETRIES)
                    .min_retry_wait(10)
                    .max_retry_wait(500)
                    .build()
                    .map_err(at_connect)?;
                Ok(Self::Cluster(client.get_async_connection().await.map_err(at_connect)?))
            }
        }
    }

    /// Whether every key is on the same server.
    pub(crate) fn is_one_server(&self) -> bool {
        matches!(self, Self::Server(_))
    }

    pub(crate) async fn send(&self, command: &Cmd) -> Result<Value, SendError> {
        match self {
            Self::Server(server) => server.send(command).await,
            Self::Cluster(cluster) => {
                let mut cluster = cluster.clone();
                cluster.req_packed_command(command).await.map_err(SendError::Failed)
            }
        }
    }

    /// Sends commands to the server that holds their keys, with nothing between them.
    pub(crate) async fn send_all(
        &self,
        commands: &redis::Pipeline,
    ) -> Result<Vec<Value>, SendError> {
        let count = commands.cmd_iter().count();
        match self {
            Self::Server(server) => server.send_all(commands, count).await,
            Self::Cluster(cluster) => {
                let mut cluster = cluster.clone();
                let answers = cluster.req_packed_commands(commands, 0, count).await;
                answers.map_err(SendError::Failed)
            }
        }
    }

    /// Sends a command to every server that holds keys; an error of one of them is an error.
    /// The one server of a way has no address.
    pub(crate) async fn send_everywhere(
        &self,
        command: &Cmd,
    ) -> Result<Vec<(String, Value)>, SendError> {
        let answers = match self {
            Self::Server(server) => vec![(Value::Nil, server.send(command).await?)],
            Self::Cluster(cluster) => {
                let masters = RoutingInfo::MultiNode((MultipleNodeRoutingInfo::AllMasters, None));
                let answer = cluster.clone().route_command(command.clone(), masters).await;
                match answer.map_err(SendError::Failed)? {
                    // Without a policy, the answers come with the addresses of the nodes.
                    Value::Map(nodes) => nodes,
                    Value::Array(values) => {
                        values.into_iter().map(|value| (Value::Nil, value)).collect()
                    }
                    value => vec![(Value::Nil, value)],
                }
            }
        };
        let checked = answers.into_iter().map(|(address, answer)| {
            let address = match address {
                Value::BulkString(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
                Value::SimpleString(text) => text,
                _ => String::new(),
            };
            Ok((address, answer.extract_error()?))
        });
        checked.collect::<Result<_, _>>().map_err(SendError::Failed)
    }
}

/// Why a command was not answered.
pub(crate) enum SendError {
    /// There was no connection to send it on.
    NotSent(RedisError),
    /// It was sent, or may have been.
    Failed(RedisError),
}

/// One server, with a connection that is replaced when it breaks.
pub(crate) struct Server {
    client: Client,
    settings: AsyncConnectionConfig,
    current: Mutex<Current>,
    /// Held by whoever connects; the others wait for that connection.
    connecting: tokio::sync::Mutex<()>,
}

/// A connection and how many came before it.
#[derive(Clone, Default)]
struct Current {
    connection: Option<MultiplexedConnection>,
    number: u64,
}

impl Server {
    async fn open(
        config: &RedisConfig,
        mut infos: Vec<ConnectionInfo>,
    ) -> Result<Self, StoreError> {
        let at_connect = |error| store_error(error, Step::Connect);
        let no_host = || StoreError::Invalid { what: "the configuration names no host".into() };
        let info = infos.pop().ok_or_else(no_host)?;
        let client = tls::client(config, info).map_err(at_connect)?;
        let settings = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(config.connect_timeout))
            .set_response_timeout(Some(config.timeout))
            .set_pipeline_buffer_size(PIPELINE);
        let connecting = tokio::sync::Mutex::default();
        let server = Self { client, settings, current: Mutex::default(), connecting };
        server.connection().await.map_err(at_connect)?;
        Ok(server)
    }

    async fn send(&self, command: &Cmd) -> Result<Value, SendError> {
        let (mut connection, number) = self.connection().await.map_err(SendError::NotSent)?;
        let answer = connection.req_packed_command(command).await;
        let answer = answer.and_then(Value::extract_error);
        answer.map_err(|error| self.judged(error, number))
    }

    async fn send_all(
        &self,
        commands: &redis::Pipeline,
        count: usize,
    ) -> Result<Vec<Value>, SendError> {
        let (mut connection, number) = self.connection().await.map_err(SendError::NotSent)?;
        let answers = connection.req_packed_commands(commands, 0, count).await;
        let answers = answers.map_err(|error| self.judged(error, number))?;
        for answer in &answers {
            if let Value::ServerError(error) = answer {
                self.judged(error.clone().into(), number);
            }
        }
        Ok(answers)
    }

    /// Lets go of a connection that an error shows to be of no more use.
    fn judged(&self, error: RedisError, number: u64) -> SendError {
        // A server that turned into a replica stays where it is, but its address may lead to another
        // one now. A connection that does not answer may have nobody at its other end.
        if error.is_unrecoverable_error() || error.is_timeout() || error.code() == Some("READONLY")
        {
            self.discard(number);
        }
        SendError::Failed(error)
    }

    async fn connection(&self) -> Result<(MultiplexedConnection, u64), RedisError> {
        if let Some(found) = self.found() {
            return Ok(found);
        }
        let _turn = self.connecting.lock().await;
        if let Some(found) = self.found() {
            return Ok(found);
        }
        let made = self.client.get_multiplexed_async_connection_with_config(&self.settings).await?;
        let mut current = self.current();
        current.connection = Some(made.clone());
        current.number += 1;
        Ok((made, current.number))
    }

    fn found(&self) -> Option<(MultiplexedConnection, u64)> {
        let current = self.current();
        current.connection.clone().map(|connection| (connection, current.number))
    }

    /// Lets go of a connection, unless it was replaced already.
    fn discard(&self, number: u64) {
        let mut current = self.current();
        if current.number == number {
            current.connection = None;
        }
    }

    /// Each change is whole before anything can panic.
    fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the driver needs to know of each host.
pub(crate) fn infos(config: &RedisConfig) -> Result<Vec<ConnectionInfo>, RedisError> {
    let info = |(host, port): &(String, u16)| {
        let (host, port) = (host.clone(), *port);
        let address = match config.tls {
            Tls::Off => ConnectionAddr::Tcp(host, port),
            Tls::On => ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None },
        };
        let mut settings = redis::RedisConnectionInfo::default().set_db(config.database.into());
        if let Some(user) = &config.user {
            settings = settings.set_username(user);
        }
        if let Some(password) = &config.password {
            settings = settings.set_password(password.reveal());
        }
        let info = redis::IntoConnectionInfo::into_connection_info(address)?;
        Ok(info.set_redis_settings(settings).set_tcp_settings(tcp(config)))
    };
    config.hosts.iter().map(info).collect()
}

/// How the system notices that nobody is at the other end: what is sent is not confirmed for as long
/// as an answer may take, or, where nothing is sent, nothing comes back.
pub(crate) fn tcp(config: &RedisConfig) -> TcpSettings {
    let every = config.timeout.max(SECOND);
    let keepalive = TcpKeepalive::new().with_time(every).with_interval(every);
    let settings = TcpSettings::default().set_nodelay(true).set_keepalive(keepalive);
    #[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
    let settings = settings.set_user_timeout(every);
    settings
}

/// Systems count in seconds.
const SECOND: Duration = Duration::from_secs(1);
/// How often the driver tries again by itself in a cluster: it follows keys that moved.
const CLUSTER_RETRIES: u32 = 8;
/// Commands on their way to the connection before callers wait.
const PIPELINE: usize = 1_024;
