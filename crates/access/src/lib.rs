//! Which shapes and sizes of request may enter.
//!
//! [`Access`] judges the head (target, field block, announced length, expectations); its [`BodyLimit`] watches a body
//! whose length nobody announced.
//!
//! ```
//! use document::{At, Report, Size, Toggle};
//! use filter::{Admit, Captures, Client, Reason, View};
//! use maitred_access::{Access, Config};
//! use pingora_http::RequestHeader;
//!
//! let config = Config { max_body: Some(Toggle::On(Size::kib(1).into())), ..Config::default() };
//! let access = Access::compile(&config, &At::root(), &mut Report::new()).unwrap();
//!
//! let mut head = RequestHeader::build("POST", b"/", None)?;
//! head.insert_header("Content-Length", "1025")?;
//! let client = Client::local("public".into());
//! let captures = Captures::new();
//! let view = View { generation: 1, identity: None, head: &head, client: &client, host: "", path: "/", query: None, captures: &captures };
//! assert_eq!(access.admit(&view).unwrap_err().reason, Reason::BodyTooLarge);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod access;
mod addresses;
mod body;
mod compile;
mod config;
mod content;
mod geo;

pub use access::Access;
pub use addresses::Addresses;
pub use body::BodyLimit;
pub use config::{Config, ContentTypes, ContentTypesTable, Geo as GeoConfig, Ip, Section, SizeLimit, SizeLimitTable};
pub use geo::{Databases, Geo};
