//! What the request means: path, query, redirect, fixed response.
//!
//! [`Rewrite`] makes the target that the origin is asked for, [`HostPolicy`] the host; [`Redirect`] and [`Respond`]
//! answer in place of an origin. Whatever a client sends, a rewritten path stays below what its template says, a redirect
//! leads to the host that it names, and no value ends a header field.
//!
//! ```
//! use document::{At, Report};
//! use filter::{Captures, Client, View};
//! use maitred_rewrite::Rewrite;
//!
//! let captures = ["rest".into()];
//! let text = "/v1{rest}".to_string();
//! let scope = filter::template::Scope::all(&captures);
//! let rewrite = Rewrite::compile(Some(&text), None, scope, &At::root(), &mut Report::new()).unwrap().unwrap();
//!
//! let head = pingora_http::RequestHeader::build("GET", b"/users/7?x=1", None).unwrap();
//! let client = Client::local("http".into());
//! let mut captures = Captures::new();
//! captures.push(6, 8);
//! let view = View { generation: 1, identity: None, head: &head, client: &client, host: "a", path: "/users/7", query: Some("x=1"), captures: &captures };
//! let mut target = String::new();
//! rewrite.target(&view, &mut target);
//! assert_eq!(target, "/v1/7?x=1");
//! ```

mod config;
mod host;
mod path;
mod query;
mod redirect;
mod respond;
mod rewrite;
mod template;
#[cfg(test)]
mod testing;

pub use config::{QueryConfig, RedirectConfig, RespondConfig};
pub use host::HostPolicy;
pub use redirect::Redirect;
pub use respond::Respond;
pub use rewrite::Rewrite;
