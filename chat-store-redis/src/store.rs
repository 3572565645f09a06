//! The store: connects, enters the namespace, and hands out the ports.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use chat_core::ports::{EventBus, EventStore, StoreError, ViewStore};
use chat_core::{Epoch, PartitionId};
use redis::{Cmd, Value};
use uuid::Uuid;

use crate::appender::Appender;
use crate::bus::Bus;
use crate::config::{RedisConfig, Tls, Topology};
use crate::connection::{Connection, RunError};
use crate::durability::{self, ServerDurability, Servers};
use crate::error::{ConnectError, Step};
use crate::incarnation::{FORMAT, Incarnation, Reach, epoch, known_script};
use crate::keys::Keys;
use crate::replicas::Written;
use crate::reply::{array, number};
use crate::scripts::Scripts;
use crate::tls;

/// Events, views and signals in Redis. Cheap to clone; all clones share the connections.
#[derive(Debug, Clone)]
pub struct RedisStore {
    shared: Arc<Shared>,
}

/// What all ports of a store share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: RedisConfig,
    pub(crate) connection: Connection,
    pub(crate) keys: Keys,
    pub(crate) scripts: Scripts,
    pub(crate) incarnation: Incarnation,
    pub(crate) appender: Appender,
    pub(crate) bus: Bus,
    closed: AtomicBool,
}

impl RedisStore {
    /// Connects to the server or the cluster, and makes the namespace if it is not there.
    ///
    /// # Errors
    /// [`ConnectError::Evicts`] if the server removes keys when its memory is full,
    /// [`ConnectError::Durability`] if it does not keep what the configuration asks for,
    /// [`ConnectError::Partitions`] if the namespace has another number of partitions, and
    /// [`ConnectError::Store`]: [`StoreError::Unavailable`] if the server cannot be reached,
    /// [`StoreError::Invalid`] if it does not let this user in or the namespace has a format that no
    /// release had, [`StoreError::NewerSchema`] if a newer release made the namespace.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the namespace made or not made.
    pub async fn connect(config: RedisConfig) -> Result<Self, ConnectError> {
        if config.tls == Tls::On {
            tls::prepare()?;
        }
        let connection = Connection::open(&config).await?;
        durability::probe(&connection, &config).await?;
        let durability = Servers::look(&connection, &config).await?.weakest;
        durability.check(&config)?;
        let scripts = Scripts::new(&config.namespace, config.database);
        let (partitions, joined) = join(&connection, &scripts, &config).await?;
        if let Some(wanted) = config.partitions.filter(|wanted| wanted.get() != partitions) {
            return Err(ConnectError::Partitions { found: partitions, wanted: wanted.get() });
        }
        let keys = Keys::new(config.namespace.clone(), partitions, config.database);
        let incarnation = Incarnation::new(joined, partitions, durability);
        let appender = Appender::new(partitions);
        let bus = Bus::new(keys.clone());
        let closed = AtomicBool::new(false);
        let shared =
            Shared { config, connection, keys, scripts, incarnation, appender, bus, closed };
        shared.incarnation.enter(shared.reach(), 0).await?;
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The store as the port for events.
    #[must_use]
    pub fn events(&self) -> Arc<dyn EventStore> {
        Arc::new(self.clone())
    }

    /// The store as the port for views.
    #[must_use]
    pub fn views(&self) -> Arc<dyn ViewStore> {
        Arc::new(self.clone())
    }

    /// The store as the bus.
    #[must_use]
    pub fn bus(&self) -> Arc<dyn EventBus> {
        Arc::new(self.clone())
    }

    /// How the server keeps what it has, as it was when the store was opened, or when another server
    /// had taken its place. `Display` says in words what may be lost.
    #[must_use]
    pub fn durability(&self) -> ServerDurability {
        self.shared.incarnation.durability()
    }

    /// Gives the store a new incarnation. For an operator who has put back a backup: readers that
    /// hold positions of the time behind the backup are told to start again.
    ///
    /// # Errors
    /// As [`EventStore::append`].
    ///
    /// # Cancel safety
    /// Dropping the future leaves it done or not done.
    pub async fn renew_epoch(&self) -> Result<Epoch, StoreError> {
        self.shared.open()?;
        let (epoch, copied) = self.shared.incarnation.renew(self.shared.reach(), "", "").await?;
        copied.map(|()| epoch)
    }

    /// Refuses what comes from now on with [`StoreError::Closed`], and ends all subscriptions. What
    /// is under way is carried out; the connections end with the last clone of the store. May be called more than once.
    ///
    /// # Cancel safety
    /// Nothing is waited for but appends that are queued.
    pub async fn close(&self) {
        self.shared.closed.store(true, Ordering::Release);
        self.shared.bus.close();
        self.shared.appender.idle().await;
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

impl Shared {
    pub(crate) fn reach(&self) -> Reach<'_> {
        let Self { config, connection, keys, scripts, .. } = self;
        Reach { config, connection, keys, scripts }
    }

    /// Refuses if the store was closed.
    pub(crate) fn open(&self) -> Result<(), StoreError> {
        if self.closed.load(Ordering::Acquire) { Err(StoreError::Closed) } else { Ok(()) }
    }

    /// Runs a script by its digest.
    pub(crate) async fn run(&self, command: &Cmd, step: Step) -> Result<Value, StoreError> {
        Ok(self.call(command, step, None).await?.answer)
    }

    /// Runs a script that changes what a partition holds, and waits for replicas if they are
    /// wanted.
    pub(crate) async fn write(
        &self,
        command: &Cmd,
        partition: PartitionId,
    ) -> Result<Written, StoreError> {
        self.call(command, Step::Write, Some(partition)).await
    }

    /// A server that does not know a script was started since, or is another one: it is entered
    /// first.
    async fn call(
        &self,
        command: &Cmd,
        step: Step,
        written: Option<PartitionId>,
    ) -> Result<Written, StoreError> {
        for _ in 0..ENTRIES {
            let answer = match written {
                Some(partition) => self.connection.write(command, partition).await,
                None => {
                    let answer = self.connection.run(command, step).await;
                    answer.map(|answer| Written { answer, copied: Ok(()) })
                }
            };
            match answer {
                Ok(written) => return Ok(written),
                Err(RunError::Store(error)) => return Err(error),
                Err(RunError::UnknownScript) => {
                    let times = self.incarnation.entered().await;
                    self.incarnation.enter(self.reach(), times).await?;
                }
            }
        }
        let what = "the server forgets scripts as soon as they are loaded".to_owned();
        Err(StoreError::Unavailable { what, source: None })
    }
}

/// How often a server may be entered for one command.
const ENTRIES: usize = 8;

/// Makes the namespace if it is not there; its number of partitions, its epoch, and whether every
/// partition was compared before.
async fn join(
    connection: &Connection,
    scripts: &Scripts,
    config: &RedisConfig,
) -> Result<(u32, (Epoch, bool)), StoreError> {
    let default = match config.topology {
        Topology::Server => RedisConfig::SERVER_PARTITIONS,
        Topology::Cluster => RedisConfig::CLUSTER_PARTITIONS,
    };
    let wanted = config.partitions.map_or(default, std::num::NonZero::get);
    if wanted > RedisConfig::MAX_PARTITIONS {
        let what =
            format!("{wanted} partitions, at most {} are allowed", RedisConfig::MAX_PARTITIONS);
        return Err(StoreError::Invalid { what });
    }
    let mut command = scripts.join.bring(1);
    command
        .arg(Keys::namespace(&config.namespace))
        .arg(FORMAT)
        .arg(wanted)
        .arg(Uuid::new_v4().to_string());
    let written = known_script(connection.write(&command, PartitionId::default()).await)?;
    let mut answer = array(written.answer)?.into_iter();
    let format = number(answer.next())?;
    if format > FORMAT {
        return Err(StoreError::NewerSchema { found: format, supported: FORMAT });
    }
    if format < FORMAT {
        let what = format!("the namespace has format {format}, of which no release was made");
        return Err(StoreError::Invalid { what });
    }
    let partitions = number(answer.next())?;
    let corrupt = || StoreError::Corrupt {
        place: format!("namespace {}", config.namespace),
        what: format!("it has {partitions} partitions"),
    };
    let partitions = u32::try_from(partitions).map_err(|_| corrupt())?;
    if partitions == 0 || partitions > RedisConfig::MAX_PARTITIONS {
        return Err(corrupt());
    }
    let epoch = epoch(answer.next())?;
    let (made, compared) = (number(answer.next())? == 1, number(answer.next())? == 1);
    if made {
        written.copied?;
    }
    Ok((partitions, (epoch, compared)))
}
