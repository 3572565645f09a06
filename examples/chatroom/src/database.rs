//! The databases that this program was built with. One more is one line here, and its crate or
//! feature in `Cargo.toml`.

use chat_core::connect::Backends;

pub(crate) fn backends() -> Backends {
    Backends::memory().with(chat_store_sql::backends()).with(chat_store_redis::backends())
}
