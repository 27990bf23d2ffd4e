//! Upstreams: named sets of backends, where they are, and how they are connected to.
//!
//! A [`Config`] is compiled into an [`Upstream`], which is immutable and belongs to one configuration. What is learnt
//! meanwhile, the addresses of host names, is kept in a [`State`] that outlives it. For each attempt of a request an
//! upstream is asked for a [`Pick`], which makes the peer that Pingora connects to; nobody waits for DNS there. When an
//! attempt fails, [`Reading`] says what Pingora's error means.
//!
//! ```
//! use document::{At, Report};
//! # use maitred_upstream as upstream;
//! use upstream::{Config, State, Timeouts};
//!
//! # let metrics = telemetry::Metrics::new(&telemetry::Build { version: "", revision: "", rustc: "", tls: "" });
//! let config = Config::from_url("http://10.0.1.11:8080");
//! let mut report = Report::new();
//! let users = upstream::compile(&config, "users", &At::root(), &State::default(), &metrics, &mut report).unwrap();
//!
//! let pick = users.pick(&[]).unwrap();
//! assert_eq!(&**pick.label(), "10.0.1.11:8080");
//! let peer = pick.peer(&Timeouts { connect: None, read: users.timeout(), upload: None });
//! assert_eq!(peer.to_string(), "addr: 10.0.1.11:8080, scheme: HTTP");
//! ```

mod announce;
mod backend;
mod compile;
mod config;
mod name;
mod peer;
mod reading;
mod resolve;
mod shun;
mod state;
mod target;
mod trust;
mod upstream;

pub use backend::{Backend, EndpointId, Pick, Timeouts};
pub use compile::compile;
pub use config::{Backend as BackendConfig, BackendTable, Balance, Config, Pool, ProxyProtocol, Tls};
pub use reading::{Fault, Reading, reason_of};
pub use resolve::{Answer, Resolve, System};
pub use state::State;
pub use target::Protocol;
pub use upstream::Upstream;
