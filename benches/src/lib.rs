//! Measures the engine and its stores, each figure beside what the same backend can do at best, in
//! the same run. `cargo run --release -p benches` prints the report and writes it as Markdown.
//!
//! A question is one file in `questions`; it runs one workload over every store under test, and
//! those stand as data in `stores`. Nothing here asserts a time: goals are reported.

mod child;
mod cli;
mod contest;
mod load;
mod machine;
mod measure;
mod plan;
mod questions;
mod quiet;
pub mod report;
mod roles;
mod stores;
mod world;

pub use cli::Args;
pub use questions::run;
pub use roles::play;
pub use stores::From;
