//! Who is calling, and what they may do.
//!
//! A route asks one or more policies ([`Policy`]) who calls; each looks for its credential in the request, verifies it,
//! and vouches for an [`Identity`](filter::Identity). What the caller may do is said by [`Require`]. A route without
//! either has [`Auth::Anonymous`], which is a value and not an absence.

mod api_key;
mod asking;
mod auth;
mod basic;
mod certificate;
mod claims;
mod compile;
mod condition;
mod config;
mod external;
mod fetched;
mod grumble;
mod introspection;
mod jwt;
pub mod keys;
mod keyset;
mod oidc;
mod place;
mod policy;
mod require;
mod verdicts;

pub use auth::{Auth, Outcome, Verdict};
pub use basic::password_hash;
pub use compile::{Source, compile, pages, policy};
pub use config::{Config, Kind, Require as RequireConfig, Written};
pub use fetched::State;
pub use policy::Policy;
pub use require::Require;

/// The policy that every configuration has: whoever shows no credential at all may pass, and nobody knows who it is.
pub const ANONYMOUS: &str = "anonymous";
