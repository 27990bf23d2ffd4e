//! The life of a request: arrive → admit → consult → dispatch → relay → refuse → finish.
//!
//! This crate decides *when*; the concerns decide *what*. `lib.rs` is the one place that knows the names of Pingora's
//! hooks, and only delegates; each step has a file.

mod admit;
mod arrive;
mod ask;
mod consult;
mod context;
mod dispatch;
mod engine;
mod fetch;
mod finish;
mod foresee;
mod front;
mod gateway;
mod hedge;
mod interims;
mod invalidate;
mod judge;
mod keyed;
mod line;
mod local;
mod mirror;
mod persist;
mod raced;
mod refuse;
mod relay;
mod throttle;
mod warm;

pub use context::{Arrival, Attempt, Context};
pub use foresee::Foreseen;
pub use front::{Front, Options};
pub use gateway::Gateway;
pub use judge::{Answered, Asked, Forwarded, Judge, Outcome, Step, Verdict};
pub use warm::{Warmed, Warmer};
