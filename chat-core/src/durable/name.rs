//! Names and numbers of durable subscriptions.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::{InvalidId, PartitionId, ProjectionName};

/// The name of a durable subscription: whoever starts one with the same name on the same views is
/// a member of it. Letters, digits, `-` and `_`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubscriptionName(ProjectionName);

impl SubscriptionName {
    /// Greatest length, in bytes: views are named by it and two numbers.
    pub const MAX_BYTES: usize = 40;

    /// Checks and wraps a name.
    ///
    /// # Errors
    /// [`InvalidId`] if it is empty, too long or holds a character that is not allowed.
    pub fn new(name: impl AsRef<str>) -> Result<Self, InvalidId> {
        let name = name.as_ref();
        if name.len() > Self::MAX_BYTES {
            let (kind, bytes, limit) = ("subscription name", name.len(), Self::MAX_BYTES);
            return Err(InvalidId::TooLong { kind, bytes, limit });
        }
        ProjectionName::new(name).map(Self)
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl fmt::Display for SubscriptionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One run of a projection from its start; a rebuild makes the next one.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default,
)]
#[serde(transparent)]
pub struct Generation(pub u32);

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What one member works on at a time: a partition, in one generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct ShardId {
    pub(super) generation: Generation,
    pub(super) partition: PartitionId,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leaves_room_for_the_numbers_of_its_views() {
        let longest = "x".repeat(SubscriptionName::MAX_BYTES);
        assert!(SubscriptionName::new(&longest).is_ok());
        assert!(ProjectionName::new(format!("{longest}-g{0}-p{0}", u32::MAX)).is_ok());
        assert!(SubscriptionName::new(format!("{longest}x")).is_err());
        assert!(SubscriptionName::new("a/b").is_err());
    }
}
