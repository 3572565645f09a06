//! Copying one store into another: everything arrives, whatever stops it, and nothing else does.
#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "tests fail by panicking")]

mod faults;
mod foreign;
mod histories;
mod support;
mod tampered;
