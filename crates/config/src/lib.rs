//! The whole document as written: loading, includes, defaults, shorthand routes.
//!
//! ```
//! # use maitred_config as config;
//! let text = r#"
//! listen = ":8080"
//!
//! [routes]
//! "/api/users/*"  = "http://localhost:3001"
//! "/api/orders/*" = { upstream = "http://localhost:3003", timeout = "5s" }
//! "#;
//! let loaded = config::load_text("maitred.toml", text, std::path::Path::new("."));
//! assert!(!loaded.report.has_errors(), "{}", loaded.render(false));
//! let config = loaded.config.unwrap();
//! assert!(config.upstreams.contains_key("localhost-3001"));
//! ```

pub mod admin;
mod assemble;
mod config;
mod difference;
mod effective;
mod find;
mod fmt;
mod include;
mod inherit;
mod load;
mod manual;
mod names;
mod print;
mod route;
mod spell;
mod words;

pub use admin::Config as Admin;
pub use config::{Config, Server, Threads};
pub use difference::{Change, NAMED, Named, difference};
pub use effective::{REDACTED, effective, plain, secrets, sources};
pub use find::{VARIABLE, find};
pub use fmt::fmt;
pub use load::{Loaded, load, load_kept, load_text, load_text_with};
pub use manual::{error_pages, reference, sample, schema};
pub use print::{to_toml, to_toml_value};
pub use route::{Policies, Request, Route, UpstreamName, WebSocket};
