//! Upstreams: named sets of backends, where they are, and how they are connected to.
//!
//! A [`Config`] is compiled into an [`Upstream`], which is immutable and belongs to one configuration. What is learnt
//! meanwhile, the addresses of host names and how each endpoint is doing, is kept in a [`State`] that outlives it. For each attempt of a request an
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

mod adaptive;
mod announce;
mod backend;
mod breaker;
mod clock;
mod compile;
mod condition;
mod config;
mod counted;
mod credentials;
mod dial;
mod discover;
mod durations;
mod endpoint;
mod generation;
mod hedge;
mod key;
mod latency;
mod learnt;
mod maker;
mod mirror;
mod name;
mod order;
mod outlier;
mod peer;
mod pool;
mod probe;
mod reading;
mod resolve;
mod retry;
mod rules;
mod set;
mod shun;
mod split;
mod standing;
mod state;
mod sticky;
mod subset;
mod sweep;
mod tally;
mod target;
mod token;
mod trust;
mod upstream;

pub use backend::{Backend, Timeouts};
pub use compile::{compile, hedge as compile_hedge, mirror as compile_mirror, retries as compile_retries};
pub use condition::{Condition, State as BackendState};
pub use config::{
    AdaptiveConcurrency, AdaptiveConcurrencyTable, Backend as BackendConfig, BackendTable, CircuitBreaker,
    Compare as CompareConfig, Config, Credentials as CredentialsConfig, HealthCheck, HealthCheckTable,
    Hedge as HedgeConfig, HedgeTable, Mirror as MirrorConfig, MirrorTable, Outlier, Pool, ProxyProtocol,
    Retries as RetriesConfig, RetriesTable, SameSite, Sticky as StickyConfig, StickyTable, SuccessRate, Tls,
};
pub use counted::{Connection, Counter, Use};
pub use credentials::Credentials;
pub use endpoint::{EndpointId, Pick};
pub use hedge::{Hedge, Hedged};
pub use key::{Key, hash_address};
pub use mirror::{Answer as MirrorAnswer, Compare, Mirror, Place};
pub use order::{Duty, Order};
pub use pool::{Missed, Wish};
pub use reading::{Fault, Reading, reason_of};
pub use resolve::{Answer, Resolve, Service, System};
pub use retry::{Conditions, Resend, Retries};
pub use split::{Chosen, Split, Written};
pub use state::State;
pub use sticky::{Home, Sticky};
pub use subset::SubsetId;
pub use target::Protocol;
pub use upstream::Upstream;
