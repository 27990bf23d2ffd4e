//! Asking other services over HTTP, with bounds on everything: who publishes keys, who knows tokens, who decides.
//!
//! ```
//! # use maitred_fetch as fetch;
//! let url = fetch::Url::parse("https://login.example.com/keys").unwrap();
//! assert!(url.is_secure() && !url.is_local());
//! ```

mod client;
mod flights;
mod json;
mod names;
mod places;
mod trust;
mod url;

pub use client::{Answer, Ask, Client, Service};
pub use flights::Flights;
pub use json::object;
pub use trust::Trust;
pub use url::Url;

/// The value of `Authorization` that shows who a client of OAuth 2.0 is (RFC 6749 section 2.3.1).
pub fn basic(id: &str, secret: &str) -> Option<http::HeaderValue> {
    use base64::{Engine as _, engine::general_purpose::STANDARD};

    let form = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let text = format!("Basic {}", STANDARD.encode(format!("{}:{}", form(id), form(secret))));
    let mut value = http::HeaderValue::from_str(&text).ok()?;
    value.set_sensitive(true);
    Some(value)
}
