//! Where a client stands, as an opaque text that it hands back: bound to the viewer, the chat and
//! the store's incarnation, and authenticated (HMAC-SHA-256, RFC 2104).

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use uuid::Uuid;

use super::error::ChatError;
use crate::id::{ChatId, Epoch, UserId, Version};

/// Where a client stands in a chat. A client keeps it as text and does not look inside.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SyncToken(String);

impl fmt::Display for SyncToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for SyncToken {
    type Err = ChatError;

    /// Takes the text of a token. Whether it is one shows when it is used.
    fn from_str(text: &str) -> Result<Self, ChatError> {
        // The longest chat and user ids give a token well below this.
        if text.is_empty() || text.len() > 1_024 {
            return Err(ChatError::InvalidToken);
        }
        Ok(Self(text.to_owned()))
    }
}

const FORM: u8 = 1;
const MAC_BYTES: usize = 32;
const HEAD_BYTES: usize = 1 + 16 + 8;

impl SyncToken {
    pub(super) fn seal(
        key: &[u8; 32],
        viewer: &UserId,
        chat: &ChatId,
        epoch: Epoch,
        version: Version,
    ) -> Self {
        let mut bytes = Vec::with_capacity(HEAD_BYTES + MAC_BYTES);
        bytes.push(FORM);
        bytes.extend_from_slice(epoch.0.as_bytes());
        bytes.extend_from_slice(&version.0.to_be_bytes());
        if let Some(mac) = mac(key, &bytes, viewer, chat) {
            bytes.extend_from_slice(&mac.finalize().into_bytes());
        }
        Self(BASE64.encode(bytes))
    }

    /// What the token says, if it was made for this viewer and chat.
    pub(super) fn open(
        &self,
        key: &[u8; 32],
        viewer: &UserId,
        chat: &ChatId,
    ) -> Result<(Epoch, Version), ChatError> {
        let open = || {
            let bytes = BASE64.decode(&self.0).ok()?;
            let (head, tag) = bytes.split_at_checked(HEAD_BYTES)?;
            mac(key, head, viewer, chat)?.verify_slice(tag).ok()?;
            let (form, rest) = head.split_at_checked(1)?;
            let (epoch, version) = rest.split_at_checked(16)?;
            let version = Version(u64::from_be_bytes(version.try_into().ok()?));
            (form == [FORM]).then_some((Epoch(Uuid::from_slice(epoch).ok()?), version))
        };
        open().ok_or(ChatError::InvalidToken)
    }
}

/// The viewer and the chat are not in the token, only in what is authenticated: the caller says
/// whom it is for.
fn mac(key: &[u8; 32], head: &[u8], viewer: &UserId, chat: &ChatId) -> Option<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
    for part in [head, viewer.as_str().as_bytes(), chat.as_str().as_bytes()] {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part);
    }
    Some(mac)
}
