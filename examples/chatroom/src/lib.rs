//! A chat room in the browser: `chat-core` embedded in one program, with its data in one database, which
//! several processes may share.
//!
//! The engine owns order, history, delivery, membership and unread counts. What is here is what a host
//! adds: who people are (`accounts`, `sessions`), which rooms are public (`directory`), how a
//! browser talks to it (`http`, `tab`), and the page itself (`web/`).

mod accounts;
mod assistant;
mod config;
mod database;
mod directory;
mod http;
mod journal;
mod passwords;
mod random;
mod room;
mod sessions;
mod site;
mod tab;
mod throttle;

pub use config::{Config, PublicUrl, Secret};
pub use room::{ChatRoom, StartError};
