//! The SQLite adapter keeps its contracts, and keeps its word when a process dies, a disk is full
//! or a file is not what it should be.

mod contract;
mod support;
