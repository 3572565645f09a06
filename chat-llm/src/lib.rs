//! Language models for `chat-core`: the OpenAI chat completions API and the many servers that
//! speak it, streamed.
//!
//! ```
//! use chat_llm::{ConfigError, OpenAiBackend, OpenAiConfig};
//!
//! # fn main() -> Result<(), ConfigError> {
//! // From OPENAI_API_KEY, OPENAI_BASE_URL and OPENAI_MODEL: OpenAiConfig::from_env()?
//! let config = OpenAiConfig::new("llama-3.2").with_base_url("http://127.0.0.1:11434/v1");
//! let backend = OpenAiBackend::new(config)?;
//! # Ok(())
//! # }
//! ```

mod backend;
mod config;
mod discretion;
mod error;
mod http;
mod reader;
mod reply;
mod request;
mod retry;
mod sse;
mod wire;

pub use backend::OpenAiBackend;
pub use config::{
    ConfigError, DEFAULT_MODEL, DoneWithoutReason, OPENAI_URL, OpenAiConfig, OutputLimitField,
    ProxyChoice, Retries, Timeouts, UsageRequest,
};
