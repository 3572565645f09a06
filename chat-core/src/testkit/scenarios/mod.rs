//! Chats put through what really happens, on any store: the rules alone, then whole engines.

mod pure;
mod reference;
mod steps;

pub use pure::PureChat;
pub use reference::Reference;
pub use steps::{PEOPLE, Random, Step, TEXTS, person, random_group};
