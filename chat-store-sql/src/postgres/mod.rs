//! Chats in PostgreSQL.
