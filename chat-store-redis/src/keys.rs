//! The names of keys. Every key begins with the namespace and carries the hash tag of its
//! partition, so that what one script touches lies in one slot of a cluster.

use chat_core::ports::ViewId;
use chat_core::{Namespace, PartitionId, StreamId, Topic};

/// Makes the keys of one namespace.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    namespace: Namespace,
    partitions: u32,
    database: u16,
}

impl Keys {
    pub(crate) fn new(namespace: Namespace, partitions: u32, database: u16) -> Self {
        Self { namespace, partitions: partitions.max(1), database }
    }

    pub(crate) fn partitions(&self) -> u32 {
        self.partitions
    }

    /// Where the namespace as a whole is described.
    pub(crate) fn namespace(namespace: &Namespace) -> String {
        format!("{namespace}:{{{namespace}}}:namespace")
    }

    pub(crate) fn of_namespace(&self) -> String {
        Self::namespace(&self.namespace)
    }

    pub(crate) fn partition_of(&self, stream: &StreamId) -> PartitionId {
        self.partition(stream.partition_key())
    }

    /// Views lie in partitions by the same rule as streams: those of a scope that is named like a
    /// stream lie beside it.
    pub(crate) fn partition_of_view(&self, view: &ViewId) -> PartitionId {
        self.partition(partition_key(view.scope.as_str()))
    }

    pub(crate) fn partition_of_topic(&self, topic: &Topic) -> PartitionId {
        self.partition(partition_key(topic.as_str()))
    }

    /// The channel of a topic. Databases have keys of their own, but not channels.
    pub(crate) fn channel(&self, topic: &Topic) -> String {
        let channel = self.key(self.partition_of_topic(topic), &format!("b:{topic}"));
        match self.database {
            0 => channel,
            database => format!("{database}/{channel}"),
        }
    }

    fn partition(&self, key: &str) -> PartitionId {
        PartitionId(stable_hash(key) % self.partitions)
    }

    pub(crate) fn state(&self, partition: PartitionId) -> String {
        self.key(partition, "state")
    }

    pub(crate) fn log(&self, partition: PartitionId) -> String {
        self.key(partition, "log")
    }

    /// The heads of all streams of a partition.
    pub(crate) fn heads(&self, partition: PartitionId) -> String {
        self.key(partition, "heads")
    }

    /// The events of a stream.
    pub(crate) fn events(&self, stream: &StreamId) -> String {
        self.key(self.partition_of(stream), &format!("s:{stream}"))
    }

    /// The index of a stream: its ids, and how large its events are.
    pub(crate) fn index(&self, stream: &StreamId) -> String {
        self.key(self.partition_of(stream), &format!("i:{stream}"))
    }

    /// How much of the key of a stream's events stands before the stream's name.
    pub(crate) fn events_prefix(&self, partition: PartitionId) -> usize {
        self.key(partition, "s:").len()
    }

    /// The values of a view.
    pub(crate) fn values(&self, view: &ViewId) -> String {
        self.view(view, 'v')
    }

    /// The keys of a view, in their order.
    pub(crate) fn order(&self, view: &ViewId) -> String {
        self.view(view, 'k')
    }

    fn view(&self, view: &ViewId, kind: char) -> String {
        let rest = format!("{kind}:{}:{}", view.projection, view.scope);
        self.key(self.partition_of_view(view), &rest)
    }

    fn key(&self, partition: PartitionId, rest: &str) -> String {
        let namespace = &self.namespace;
        format!("{namespace}:{{{namespace}:{partition}}}:{rest}")
    }
}

/// The rule of [`StreamId::partition_key`] for any name.
fn partition_key(name: &str) -> &str {
    let tagged = name.split_once('{').and_then(|(_, rest)| rest.split_once('}'));
    match tagged {
        Some((key, _)) if !key.is_empty() => key,
        _ => name,
    }
}

/// FNV-1a: the same on every machine and in every release, as a partition must be.
fn stable_hash(text: &str) -> u32 {
    text.bytes().fold(0x811C_9DC5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;
    use chat_core::{ProjectionName, Scope};

    #[test]
    fn the_hash_is_fnv_1a() {
        assert_eq!(stable_hash(""), 0x811C_9DC5);
        assert_eq!(stable_hash("a"), 0xE40C_292C);
        assert_eq!(stable_hash("foobar"), 0xBF9C_F968);
    }

    #[test]
    fn keys_name_namespace_partition_and_stream() {
        let keys = Keys::new(Namespace::default(), 16, 0);
        let stream = StreamId::new("foobar").unwrap();
        assert_eq!(keys.partition_of(&stream), PartitionId(8));
        assert_eq!(keys.events(&stream), "chat:{chat:8}:s:foobar");
        assert_eq!(keys.index(&stream), "chat:{chat:8}:i:foobar");
        assert_eq!(keys.log(PartitionId(8)), "chat:{chat:8}:log");
        assert_eq!(keys.heads(PartitionId(8)), "chat:{chat:8}:heads");
        assert_eq!(keys.events_prefix(PartitionId(8)), "chat:{chat:8}:s:".len());
        assert_eq!(keys.of_namespace(), "chat:{chat}:namespace");
    }

    #[test]
    fn a_channel_names_a_database_that_is_not_the_first() {
        let topic = Topic::new("foobar").unwrap();
        let channel = |database| Keys::new(Namespace::default(), 16, database).channel(&topic);
        assert_eq!(
            [channel(0), channel(2)],
            ["chat:{chat:8}:b:foobar", "2/chat:{chat:8}:b:foobar"]
        );
    }

    #[test]
    fn a_braced_name_does_not_move_a_key_to_another_slot() {
        let keys = Keys::new(Namespace::default(), 16, 0);
        let tag = |key: &str| StreamId::new(key).unwrap().partition_key().to_owned();
        let stream = StreamId::new("reply/{foobar}/7").unwrap();
        assert_eq!(tag(&keys.events(&stream)), "chat:8");
        let scope = Scope::new("}{foobar}").unwrap();
        let view = ViewId { scope, projection: ProjectionName::new("p").unwrap() };
        assert_eq!(tag(&keys.values(&view)), "chat:8");
        assert_eq!(keys.order(&view), "chat:{chat:8}:k:p:}{foobar}");
    }
}
