//! The connection to Redis, for what several processes keep together.
//!
//! A [`Store`] is there whether Redis is or not: it connects in the background, and a call while Redis is away fails at
//! once with [`Down`]. A call that is not answered in time fails too, so that no request waits longer than
//! [`Settings::timeout`] because of it. Whoever calls says what happens then.

mod compile;
mod config;
mod connect;
mod keep;
mod store;
mod values;

pub use compile::{Settings, compile};
pub use config::Config;
pub use store::{Down, Failed, Health, Kept, Script, Store};
pub use values::{ORDER, Ordered};
