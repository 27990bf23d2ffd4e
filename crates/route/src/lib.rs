//! Which route a request takes: host, path, method, header, query, cookie.
//!
//! A path is [`normalise`]d once. [`Match`] is what a route asks for, as written; [`Table`] is all of them, compiled:
//! [`find`](Table::find) picks the most specific one in a single walk down a tree, and [`explain`](Table::explain) says
//! why, in words.
//!
//! ```
//! use document::{At, Report};
//! use filter::{Captures, Client, View};
//! use maitred_route::{Match, RouteId, Table, normalise};
//!
//! let users = Match::from_key("/users/*");
//! let user = Match::from_key("/users/{id}");
//! let at = At::root().key("routes");
//! let routes = [("users", &users, at.key("users")), ("user", &user, at.key("user"))];
//! let table = Table::compile(&routes, &[], &mut Report::new()).unwrap();
//!
//! let head = pingora_http::RequestHeader::build("GET", b"/users//7", None).unwrap();
//! let path = normalise(head.uri.path()).unwrap();
//! let client = Client::local("http".into());
//! let view = View { generation: 1, identity: None, head: &head, client: &client, host: "localhost", path: &path, query: None, captures: &Captures::new() };
//! let mut captures = Captures::new();
//! assert_eq!(table.find(&view, &mut captures), Some(RouteId(1)));
//! assert_eq!(captures.get(0, &path), "7");
//! ```

mod compile;
mod condition;
mod config;
mod conflict;
mod edges;
mod explain;
mod host;
mod methods;
mod node;
mod normal;
mod pattern;
mod plant;
mod rule;
mod spelling;
mod table;
mod tree;

pub use config::{Condition, Match, Scheme, capture_names};
pub use methods::Methods;
pub use normal::normalise;
pub use table::{Candidate, RouteId, Table};
