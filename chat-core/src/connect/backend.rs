//! What an adapter gives so that it can be opened by URL.

use std::fmt::Debug;

use async_trait::async_trait;

use super::error::OpenError;
use super::opened::Opened;
use super::url::StoreUrl;

/// A kind of store, known by the schemes of its URLs.
///
/// Every choice that a host may make is a parameter of the URL, so there are no options beside it;
/// a program adds its own with [`StoreUrl::with_parameter`].
#[async_trait]
pub trait Backend: Debug + Send + Sync + 'static {
    /// The schemes, in small letters and without the colon. The same for the life of the program.
    fn schemes(&self) -> &'static [&'static str];

    /// Opens the store; its tables, if it has any, are there and up to date afterwards.
    ///
    /// # Errors
    /// [`OpenError::Config`] if the URL is wrong, a parameter that is not known included;
    /// [`OpenError::Unfit`] if the server's settings are in the way; [`OpenError::Store`] if the store
    /// cannot be opened for another reason.
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing open.
    async fn open(&self, url: &StoreUrl) -> Result<Opened, OpenError>;
}
