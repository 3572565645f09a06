//! The whole room, from a configuration to the end: opens the data, starts the engine and the
//! server, and stops them in the opposite order.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use chat_core::connect::{OpenError, Opened};
use chat_core::memory::MemoryBus;
use chat_core::ports::EventBus;
use chat_core::{Clock, Engine, EngineConfig, IdSource, RandomIds, SystemClock};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::accounts::Accounts;
use crate::assistant::{self, Assistant};
use crate::config::Config;
use crate::database;
use crate::directory::Directory;
use crate::http;
use crate::journal::Journal;
use crate::passwords::Passwords;
use crate::sessions::Sessions;
use crate::site::{Parts, Site};

/// How long connections may take to end when the room stops.
const LAST_CALL: Duration = Duration::from_secs(5);

/// Why a room did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The database's URL is wrong, or the database cannot be opened.
    #[error("the data cannot be opened")]
    Database(#[from] OpenError),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: String,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The flags for the model do not fit together.
    #[error("the assistant's model cannot be used")]
    Model(#[from] chat_llm::ConfigError),
    /// The engine did not start.
    #[error("the chat engine did not start")]
    Engine(#[from] chat_core::ChatError),
    /// Something else went wrong.
    #[error("the room cannot be set up")]
    Other(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// A room that runs. Dropping it leaves its tasks to the runtime; [`shutdown`](Self::shutdown) ends
/// them in order.
#[derive(Debug)]
pub struct ChatRoom {
    address: SocketAddr,
    engine: Engine,
    assistant: Assistant,
    opened: Opened,
    server: JoinHandle<std::io::Result<()>>,
    close: watch::Sender<bool>,
    tabs: (mpsc::Sender<()>, mpsc::Receiver<()>),
}

impl ChatRoom {
    /// Opens the data and serves the room.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let model = assistant::backend(&config)?;
        // First of all, as it leaves nothing to be closed if another has the address.
        let listen = |source| StartError::Listen { address: config.listen.clone(), source };
        let listener = TcpListener::bind(&config.listen).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let backends = database::backends();
        let database = backends.parse(config.database.expose())?;
        let opened = backends.open_url(&database).await?;
        // Without a bus of its own the database still brings messages to other processes, by
        // polling; who types and who is there is then known in one process only.
        let bus: Arc<dyn EventBus> =
            opened.bus.clone().unwrap_or_else(|| Arc::new(MemoryBus::default()));
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let ids: Arc<dyn IdSource> = Arc::new(RandomIds);
        let builder = Engine::builder()
            .opened(&opened)
            .bus(Arc::clone(&bus))
            .clock(Arc::clone(&clock))
            .ids(Arc::clone(&ids))
            .config(engine_config());
        let engine = match builder.build().await {
            Ok(engine) => engine,
            Err(error) => {
                opened.close().await;
                return Err(error.into());
            }
        };
        let journal = Journal::new(Arc::clone(&opened.events), clock, ids);
        let (close, closing) = watch::channel(false);
        let tabs = mpsc::channel(1);
        let alive = tabs.0.downgrade();
        let site = match furnish(config, engine.clone(), journal, bus, closing, alive).await {
            Ok(site) => Arc::new(site),
            Err(error) => {
                engine.shutdown().await;
                opened.close().await;
                return Err(error);
            }
        };
        let assistant = site.assistant.clone();
        let server = tokio::spawn(serve(listener, site, close.subscribe()));
        let assistant = Assistant::start(engine.user(assistant), model);
        tracing::info!(%address, %database, "the room is open");
        Ok(Self { address, engine, assistant, opened, server, close, tabs })
    }

    /// Where a browser on this computer finds the room.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/", self.address())
    }

    /// The address as reached from this computer.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        let mut address = self.address;
        if address.ip().is_unspecified() {
            address.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
        }
        address
    }

    /// Stops: takes no more connections, says goodbye to every tab, carries out what was accepted,
    /// closes the data. What was acknowledged is stored.
    pub async fn shutdown(self) {
        let Self { engine, assistant, opened, server, close, tabs: (alive, mut ended), .. } = self;
        let _ = close.send(true);
        drop(alive);
        // The channel ends when the last tab has dropped its sender.
        if timeout(LAST_CALL, ended.recv()).await.is_err() {
            tracing::warn!("some tabs did not end in time");
        }
        assistant.stop().await;
        engine.shutdown().await;
        let abort = server.abort_handle();
        if timeout(LAST_CALL, server).await.is_err() {
            abort.abort();
        }
        opened.close().await;
    }
}

/// What is served, with its lobby.
async fn furnish(
    config: Config,
    engine: Engine,
    journal: Journal,
    bus: Arc<dyn EventBus>,
    closing: watch::Receiver<bool>,
    alive: mpsc::WeakSender<()>,
) -> Result<Site, StartError> {
    let passwords = Passwords::new().await.map_err(other)?;
    let parts = Parts {
        engine,
        accounts: Accounts::new(journal.clone(), passwords),
        sessions: Sessions::new(journal.clone(), Arc::clone(&bus)),
        directory: Directory::new(journal, Arc::clone(&bus)),
        bus,
        public_url: config.public_url,
        trust_proxy: config.trust_proxy,
        closing,
        alive,
    };
    let site = Site::new(parts).map_err(other)?;
    site.open_lobby().await.map_err(other)?;
    Ok(site)
}

/// A browser is one reader of few chats; it needs no large pages.
fn engine_config() -> EngineConfig {
    let mut config = EngineConfig::default();
    config.catch_up_page = 200;
    config.history_page = 200;
    config.pending_commands = 8_192;
    config
}

async fn serve(
    listener: TcpListener,
    site: Arc<Site>,
    mut closing: watch::Receiver<bool>,
) -> std::io::Result<()> {
    let app = http::router(site).into_make_service_with_connect_info::<SocketAddr>();
    let closed = async move {
        // An error means that the room itself is gone.
        let _ = closing.wait_for(|closing| *closing).await;
    };
    axum::serve(listener, app).with_graceful_shutdown(closed).await
}

fn other(error: impl std::error::Error + Send + Sync + 'static) -> StartError {
    StartError::Other(Box::new(error))
}
