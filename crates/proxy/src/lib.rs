//! The life of a request: arrive → admit → consult → dispatch → relay → refuse → finish.
//!
//! This crate decides *when*; the concerns decide *what*. `lib.rs` is the one place that knows the names of Pingora's
//! hooks, and only delegates; each step has a file. `consult` has none yet: it arrives with the cache.

mod admit;
mod arrive;
mod context;
mod dispatch;
mod engine;
mod finish;
mod front;
mod gateway;
mod judge;
mod local;
mod persist;
mod refuse;
mod relay;

pub use context::{Arrival, Attempt, Context};
pub use front::{Front, Options};
pub use gateway::Gateway;
pub use judge::{Answered, Asked, Forwarded, Judge, Outcome, Step, Verdict};
