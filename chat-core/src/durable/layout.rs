//! Where a subscription keeps what it knows: the names of its views and their keys.
//!
//! | view (scope, projection) | holds |
//! |---|---|
//! | `subscription/<name>`, `catalog` | kind, source, start, generations |
//! | `subscription/<name>`, `members` | a key for each member, with the end of its time |
//! | `subscription/<name>/g<generation>/p<partition>`, `shard` | position, lease, parked events, scopes written |
//! | the projection's scope, `<name>-g<generation>-p<partition>` | what the projection wrote |

use super::name::{ShardId, SubscriptionName};
use crate::id::{EventId, InvalidId, ProjectionName, Scope, Topic, ViewKey};
use crate::ports::{KeyRange, StoreError, ViewId};

/// The key that a subscription keeps for itself in each view that it projects.
pub(super) const PROGRESS: &str = "~subscription";
/// The catalog's only key.
pub(super) const CATALOG: &str = "catalog";
/// A shard's position and lease.
pub(super) const STATE: &str = "state";
/// Stands in a shard while an operator's wish waits for the owner.
pub(super) const ASKED: &str = "asked";
const PARKED: &str = "parked/";
const SCOPES: &str = "scope/";

pub(super) fn catalog(name: &SubscriptionName) -> Result<ViewId, StoreError> {
    view(&format!("subscription/{name}"), CATALOG)
}

pub(super) fn members(name: &SubscriptionName) -> Result<ViewId, StoreError> {
    view(&format!("subscription/{name}"), "members")
}

pub(super) fn shard(name: &SubscriptionName, id: ShardId) -> Result<ViewId, StoreError> {
    let ShardId { generation, partition } = id;
    view(&format!("subscription/{name}/g{generation}/p{partition}"), "shard")
}

/// The view that a shard projects into, in this scope. A view of each partition, as positions of
/// different partitions do not compare.
pub(super) fn target(
    name: &SubscriptionName,
    id: ShardId,
    scope: Scope,
) -> Result<ViewId, StoreError> {
    let ShardId { generation, partition } = id;
    let projection = named(ProjectionName::new(format!("{name}-g{generation}-p{partition}")))?;
    Ok(ViewId { scope, projection })
}

/// Where members and operators wake each other.
pub(super) fn topic(name: &SubscriptionName) -> Result<Topic, StoreError> {
    named(Topic::new(format!("subscription/{name}")))
}

pub(super) fn key(text: &str) -> Result<ViewKey, StoreError> {
    named(ViewKey::new(text))
}

/// The least key behind this one.
pub(super) fn behind(last: &ViewKey) -> Result<ViewKey, StoreError> {
    key(&format!("{last} "))
}

/// Sorts by position.
pub(super) fn parked_key(
    position: u64,
    id: EventId,
    scope: Option<&Scope>,
) -> Result<ViewKey, StoreError> {
    key(&format!("{PARKED}{position:020}/{id}/{}", scope.map_or("", Scope::as_str)))
}

pub(super) fn parked_range() -> Result<KeyRange, StoreError> {
    prefix(PARKED)
}

pub(super) fn scope_key(scope: &Scope) -> Result<ViewKey, StoreError> {
    key(&format!("{SCOPES}{scope}"))
}

pub(super) fn scope_range() -> Result<KeyRange, StoreError> {
    prefix(SCOPES)
}

/// The scope that an index key names.
pub(super) fn scope_of(key: &ViewKey) -> Option<Scope> {
    Scope::new(key.as_str().strip_prefix(SCOPES)?).ok()
}

/// Every key that begins so; the prefix ends with `/`, and `0` is what follows it.
fn prefix(prefix: &str) -> Result<KeyRange, StoreError> {
    let end = format!("{}0", prefix.trim_end_matches('/'));
    Ok(KeyRange { start: Some(key(prefix)?), end: Some(key(&end)?) })
}

fn view(scope: &str, projection: &str) -> Result<ViewId, StoreError> {
    let projection = named(ProjectionName::new(projection))?;
    Ok(ViewId { scope: named(Scope::new(scope))?, projection })
}

/// The lengths fit by [`SubscriptionName::MAX_BYTES`]; anything else is an error of this module.
fn named<T>(made: Result<T, InvalidId>) -> Result<T, StoreError> {
    made.map_err(|error| StoreError::Bug { what: error.to_string() })
}
