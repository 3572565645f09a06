//! Chat history, read models and signals in Redis Streams: one server or a cluster.
