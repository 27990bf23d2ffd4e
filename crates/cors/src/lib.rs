//! Which origins may call, and the answer to their preflight.
//!
//! Browsers ask before a page of one origin may use another (CORS, part of the Fetch standard). [`Cors`] answers them
//! at the edge: as [`Admit`](filter::Admit) it answers the preflight, as [`Amend`](filter::Amend) it permits the actual
//! answers, errors included.
//!
//! ```
//! use document::{At, Report};
//! use filter::{Admit, Captures, Client, View};
//! use maitred_cors::{Cors, Config};
//! use pingora_http::RequestHeader;
//!
//! let config = Config {
//!     origins: Some(document::OneOrMany(vec!["https://app.example.com".into()])),
//!     ..Config::default()
//! };
//! let cors = Cors::compile(&config, &At::root().key("cors"), &mut Report::new()).unwrap();
//!
//! let mut head = RequestHeader::build("OPTIONS", b"/orders", None)?;
//! head.insert_header("Origin", "https://app.example.com")?;
//! head.insert_header("Access-Control-Request-Method", "POST")?;
//! let client = Client::local("public".into());
//! let captures = Captures::new();
//! let view = View { generation: 1, identity: None, head: &head, client: &client, host: "", path: "/orders", query: None, captures: &captures };
//! assert_eq!(cors.admit(&view).unwrap_err().status, 204);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod compile;
mod config;
mod cors;
mod origins;

pub use config::Config;
pub use cors::{Cors, is_preflight, preflight_method};
