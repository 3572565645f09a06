//! What the programs share: which store they use, named by a URL.

use std::error::Error;
use std::fmt;

use chat_core::connect::{Backends, Opened};

/// Every store that the examples were built with. One more is one line here, and its crate or
/// feature in `Cargo.toml`.
pub fn backends() -> Backends {
    Backends::memory().with(chat_store_sql::backends()).with(chat_store_redis::backends())
}

/// The store's URL: the program's first argument, else `CHAT_DATABASE`, else the default.
#[must_use]
pub fn url(default: &str) -> String {
    let asked = std::env::args().nth(1).or_else(|| std::env::var("CHAT_DATABASE").ok());
    asked.filter(|url| !url.is_empty()).unwrap_or_else(|| default.to_owned())
}

/// Opens the store at a URL.
///
/// # Errors
/// What is wrong with the URL or the store, in words.
pub async fn open(url: &str) -> Result<Opened, InWords> {
    backends().open(url).await.map_err(|error| InWords::of(&error))
}

/// An error for `main` to give back: its `Debug`, which is what people see then, is plain words.
pub struct InWords(String);

impl InWords {
    /// What an error says, and its causes.
    #[must_use]
    pub fn of(error: &dyn Error) -> Self {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        Self(text)
    }
}

impl fmt::Debug for InWords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for InWords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for InWords {}
