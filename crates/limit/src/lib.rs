//! How often and how many at once.
//!
//! A [`Limit`] counts requests by a key, such as the client's address, and refuses what is too much. A route's
//! [`Limits`] are asked at the earliest step where their key is known; those of one step are all asked before any is
//! charged, in one step that nothing can come between. What they have counted is kept in [`Counters`], which outlive the
//! configuration: a limit of the same name goes on where it was.
//!
//! ```
//! use std::sync::Arc;
//! use document::{At, Report};
//! use filter::{Admit, Captures, Client, Reason, View};
//! use maitred_limit as limit;
//! use pingora_http::RequestHeader;
//!
//! let state = limit::State::default();
//! let meters = |_: &str| {
//!     let held = prometheus::Counter::new("held", "seconds").unwrap();
//!     limit::Meters::of(|result| prometheus::IntCounter::new(result, result).unwrap(), held)
//! };
//! let ground = limit::Ground { state: &state, redis: limit::Redis::Absent, meters: &meters };
//! let written: limit::Written = serde_json::from_str(r#""2/m per ip""#)?;
//! let site = limit::Site { route: "users", upstreams: &[] };
//! let limits =
//!     limit::Limits::compile(&[written], site, &limit::Named::new(), &At::root(), ground, &mut Report::new()).unwrap();
//!
//! let (head, client) = (RequestHeader::build("GET", b"/", None)?, Client::local("public".into()));
//! let captures = Captures::new();
//! let view =
//!     View { generation: 1, head: &head, client: &client, identity: None, host: "", path: "/", query: None, captures: &captures };
//! assert!(limits.by_client.admit(&view).is_ok());
//! assert!(limits.by_client.admit(&view).is_ok());
//! assert_eq!(limits.by_client.admit(&view).unwrap_err().reason, Reason::Limited);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod amount;
mod ask;
mod ban;
mod bucket;
mod cell;
mod clock;
mod compile;
mod config;
mod counters;
mod desk;
mod elsewhere;
mod explain;
mod fields;
mod gate;
mod journal;
mod key;
mod lease;
mod ledger;
mod limit;
mod limited;
mod limits;
mod meters;
mod permits;
mod plan;
mod queue;
mod quota;
mod rule;
mod shard;
mod shared;
mod sketch;
mod throughput;
mod verdict;
mod waited;
mod window;

pub use compile::{Ground, Named, Redis, Site, distinct, named};
pub use config::{Align, Amount, Ban, Bandwidth, Config, Count, Headers, OnMissing, Over, Place, WhenDown, Written};
pub use counters::{Counters, KEYS, SPILLED, State};
pub use desk::Look;
pub use key::Key;
pub use limit::{Limit, Stage};
pub use limited::{Entry, Limited};
pub use limits::Limits;
pub use meters::Meters;
pub use permits::{Nearest, Permits};
pub use throughput::Way;
pub use waited::Waited;
