//! What may be kept and for how long: a shared cache as RFC 9111 describes it, in memory, on
//! disk and in Redis.
//!
//! * [`Policy`] is what a route keeps, compiled from [`CacheConfig`]; [`Key`] is what an answer is kept under.
//! * [`Stored`] is an answer, and [`Content`] its content, which may still be growing while others read it.
//! * [`judge`](reuse::judge) says whether what is kept will do, and [`select`](select::select) what of it a request gets.
//! * [`Zone`] holds all kept answers, and the [`Flight`]s of those that are being fetched; a [`Course`] is the way of one there.
//!
//! Everything but the zone is pure, takes the time as an argument, and cites its section of the RFC:
//!
//! ```
//! use maitred_cache::{Asked, Delta, Said};
//!
//! let mut fields = http::HeaderMap::new();
//! fields.insert("cache-control", "max-age=60, stale-if-error=\"300\"".parse().unwrap());
//! let (said, _) = Said::of(&fields, &[]);
//! assert_eq!(said.max_age, Delta::Seconds(60));
//! assert_eq!(said.stale_if_error, Delta::Seconds(300));
//! assert_eq!(Asked::of(&fields).max_age, Some(60));
//! ```

mod apart;
mod compile;
mod config;
mod content;
mod course;
mod directives;
mod disk;
pub mod encoding;
mod flight;
mod freshness;
mod key;
mod ledger;
mod policy;
mod purge;
pub mod reuse;
mod room;
pub mod select;
mod shared;
mod status;
mod stored;
mod storing;
mod structured;
#[cfg(test)]
mod testing;
mod wire;
mod zone;

use std::sync::{Mutex, MutexGuard, PoisonError};

pub use compile::{DiskSettings, Settings};
pub use config::{CacheConfig, CacheTable, DiskConfig, ZoneConfig};
pub use content::{Coding, Content, Reader};
pub use course::Course;
pub use directives::{Asked, Delta, Reach, Said};
pub use flight::{Boarded, Closing, Flight, Landed, Ticket};
pub use freshness::{Freshness, Millis, Times, now};
pub use key::Key;
pub use policy::{Policy, groups};
pub use purge::{Address, Selector};
pub use reuse::Reuse;
pub use room::Place;
pub use select::Selected;
pub use status::{Forward, Status, Tier};
pub use stored::{Fetched, Stored, Withheld};
pub use storing::{Asking, Unkept, is_about_the_request};
pub use zone::{Reading, Zone};

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while one is held.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
