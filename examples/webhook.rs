//! A webhook: each message of a chat is posted to an address, also those that were sent while the
//! program was down, killed, or the receiver away.
//!
//! Run it with `cargo run -p examples --bin webhook -- sqlite:notes.db http://127.0.0.1:8080/hook`
//! (any other store's URL will do as well) and type lines; each is a message. The receiver gets each message at least once, in order, with the
//! event's id in the header `Idempotency-Key`: whoever remembers the keys has each exactly once.
#![expect(clippy::print_stdout, reason = "a program that shows what it does")]

use std::io::BufRead as _;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chat_core::durable::{
    Delivery, DurableConfig, DurableSubscription, EventHandler, HandlerError, SubscriptionName,
};
use chat_core::memory::MemoryBus;
use chat_core::ports::EventBus;
use chat_core::{Engine, NewMessage, UserId};
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode, Url};
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt as _;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(database), Some(url)) = (arguments.next(), arguments.next()) else {
        return Err(
            "give a store's URL, such as sqlite:notes.db, and the address to post to".into()
        );
    };
    let store = examples::open(&database).await?;
    let bus = store.bus.clone();
    let bus: Arc<dyn EventBus> = bus.unwrap_or_else(|| Arc::new(MemoryBus::new()));
    let engine = Engine::builder().opened(&store).bus(Arc::clone(&bus)).build().await?;

    // The subscription's place is kept beside the chats, under this name.
    let name = SubscriptionName::new("webhook")?;
    let mut config = DurableConfig::default();
    // A receiver that is away for some minutes is waited for; then its message is parked.
    config.max_attempts = 20;
    // A program that was killed holds its lease for so long.
    config.lease = Duration::from_secs(2);
    let (events, views) = (Arc::clone(&store.events), Arc::clone(&store.views));
    let webhook = DurableSubscription::builder(name, events, views)
        .bus(bus)
        .config(config)
        .handle(Arc::new(Webhook::new(&url)?))
        .await?;

    let me = engine.user(UserId::new("me")?);
    let notes = me.chat(&me.open_direct(&[]).await?.chat);
    let (lines, mut typed) = tokio::sync::mpsc::channel(1);
    // Reading a terminal blocks, so it has a thread of its own, which ends with the program.
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if lines.blocking_send(line).is_err() {
                break;
            }
        }
    });
    while let Some(line) = typed.recv().await {
        notes.send(NewMessage::text(&*line)).await?;
        println!("saved: {line}");
    }

    webhook.operator().caught_up().await?;
    let metrics = webhook.metrics();
    println!("posted {} events, {} parked", metrics.delivered, metrics.parked);
    webhook.shutdown().await;
    engine.shutdown().await;
    store.close().await;
    Ok(())
}

#[derive(Debug)]
struct Webhook {
    client: Client,
    url: Url,
}

#[async_trait]
impl EventHandler for Webhook {
    async fn handle(&self, delivery: &Delivery) -> Result<(), HandlerError> {
        let event = &delivery.event.event;
        if event.event_type.as_str() != "message_sent" {
            return Ok(());
        }
        let post = self
            .client
            .post(self.url.clone())
            .header("Content-Type", "application/json")
            .header("Idempotency-Key", delivery.idempotency_key().to_string())
            .body(event.payload.as_str().to_owned());
        // The reason is kept and shown, and an address may hold a secret.
        let answer = post.send().await.map_err(|error| HandlerError::retry(error.without_url()))?;
        match answer.status() {
            status if status.is_success() => Ok(()),
            status @ (StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS) => {
                Err(HandlerError::retry(status))
            }
            status if status.is_server_error() => Err(HandlerError::retry(status)),
            // Asking again would not help: the message is parked for an operator to look at.
            status => Err(HandlerError::permanent(status)),
        }
    }
}

impl Webhook {
    fn new(url: &str) -> Result<Self, Box<dyn std::error::Error>> {
        let url = Url::parse(url)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls =
            ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let tls = match url.scheme() {
            // Works on a machine without certificates, too.
            "http" => tls.with_root_certificates(RootCertStore::empty()),
            _ => tls.with_platform_verifier()?,
        };
        let client = Client::builder()
            .tls_backend_preconfigured(tls.with_no_client_auth())
            // A message is not carried to where nobody asked for it; the answer is no success.
            .redirect(Policy::none())
            .timeout(Duration::from_secs(20))
            .build()?;
        Ok(Self { client, url })
    }
}
