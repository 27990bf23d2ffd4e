//! What is told: metrics, the access log, the record of a request.
//!
//! A request gathers a [`Record`] while it is served. At its end the record is closed and told twice: to the
//! [`RouteMeters`] of its route, whose handles were resolved when the configuration was compiled, and to the
//! [`AccessLog`], which formats one line on the worker and hands it to a writer thread through a bounded ring.
//! Neither waits for anything: what does not fit in the ring is dropped and counted.
//!
//! ```
//! use std::time::Instant;
//! # use maitred_telemetry as telemetry;
//! use telemetry::{Build, Metrics, Record};
//!
//! let metrics = Metrics::new(&Build { version: "1.0.0", revision: "abc", rustc: "1.90", tls: "rustls" });
//! let listener = metrics.listener("https");
//! let route = metrics.route("products");
//!
//! let in_flight = route.enter();
//! let mut record = Record::new(Instant::now());
//! record.status = 200;
//! record.close(Instant::now());
//! route.finish(&listener, Some(&http::Method::GET), &record);
//! drop(in_flight);
//!
//! assert!(metrics.encode().contains("maitred_http_requests_total{code=\"200\",listener=\"https\""));
//! ```

mod access_log;
pub mod audit;
mod auth;
mod compile;
mod config;
mod connections;
mod families;
mod listener;
mod metrics;
mod mirror;
mod page;
mod reading;
mod record;
mod route;
mod slots;
mod upstream;

pub use access_log::{AccessLog, Followers, Following, LoggedRequest, Policy, Wanted};
pub use audit::Audit;
pub use auth::AuthMeters;
pub use compile::{Settings, check_level, compile, writable};
pub use config::{Access, Format, Logging};
pub use connections::Connections;
pub use families::{Kind, ROWS, Row};
pub use listener::{Handshake, ListenerMeters, OpenConnection, Protocol};
pub use metrics::{Build, CacheReading, Metrics, Totals};
pub use mirror::MirrorMeters;
pub use page::{access_log_page, metrics_page, reasons_page};
pub use reading::{Latency, RouteReading, UpstreamReading};
pub use record::{Cached, Circuit, Record, Try};
pub use route::{InFlight, RouteMeters, UNMATCHED};
pub use upstream::{BackendMeters, DiscoveryMeters, Hedged, UpstreamMeters};
