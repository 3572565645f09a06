//! The models that need no network: one that plays scripts for tests, one that says it is offline.

mod offline;
mod script;
mod scripted;

pub use offline::OfflineLlm;
pub use script::LlmScript;
pub use scripted::{ScriptedLlm, ScriptsFull};
