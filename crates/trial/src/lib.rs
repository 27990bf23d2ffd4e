//! Tests written in the configuration: a request, and what has to become of it.
//!
//! [`Config`] is a test as written and [`compile`] makes a [`Trial`] of it. Who can judge a request without sending it
//! asks for each of its [`requests`](Trial::requests) what becomes of it, puts that into the words of [`Came`], and
//! [`Trial::weigh`] says which expectations do not hold.
//!
//! ```
//! # use maitred_trial as trial;
//! use document::{At, Report};
//! use http::HeaderMap;
//! use trial::{Came, Known, Outcome};
//!
//! let written: trial::Config = serde_json::from_str(r#"{ "request": "GET /orders/7", "expect": "orders" }"#).unwrap();
//! let known = Known { routes: &["orders"], upstreams: &[], listeners: &["http"] };
//! let at = At::root().key("tests").key("orders");
//! let trial = trial::compile("orders", &written, &at, &known, &mut Report::new()).unwrap();
//!
//! let nothing = HeaderMap::new();
//! let refused = Outcome::Answered { status: 404, reason: filter::Reason::NoRoute, fields: &nothing };
//! let misses = trial.weigh(&Came { route: None, outcome: refused });
//! assert_eq!(misses[0].remark, "no route takes it");
//! ```

mod compile;
mod config;
mod request;
mod text;
mod weigh;

pub use compile::{Known, Trial, compile};
pub use config::{Config, Expect, Field};
pub use request::{Mistake, Request};
pub use weigh::{Came, Miss, Outcome};
