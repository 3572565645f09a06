//! Wrappers around a port that are that port themselves: group commit, retries, faults.
//!
//! The order matters. [`GroupCommit`] stands outermost and [`Retrying`] below it, so that a batch
//! is retried as a whole and callers queue meanwhile; [`Faulty`] stands where the faults of the
//! real thing would come from, next to the adapter.

pub(crate) mod dice;
mod faulty;
mod faulty_bus;
mod faulty_store;
mod group_commit;
mod lane;
mod retrying;

pub use faulty::{FaultCounts, FaultPlan, Faults, Faulty};
pub use group_commit::GroupCommit;
pub use retrying::{RetryPolicy, Retrying};
