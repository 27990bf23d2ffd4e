//! What a route matches, as written.

use std::{collections::BTreeMap, fmt};

use document::OneOrMany;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};

use crate::pattern::Pattern;

/// Which requests a route takes. All conditions that are given must hold.
///
/// Among the routes that match a request the most specific one wins: host (exact, then the longest wildcard, then none),
/// path (exact, then template, then the longest prefix, then regex), method named, number of headers and cookies, number
/// of query parameters, listener or scheme named, and last the name in alphabetical order. A route whose method, header
/// or other condition does not hold makes way for the next. The order in the file never counts, and two routes that
/// nothing tells apart are an error.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct Match {
    /// The host asked for, without a port: an exact name, or `*.` and a domain for any number of labels before that
    /// domain (not the domain itself). One or a list. Every host when missing.
    ///
    /// Example: `host = ["example.com", "*.example.com"]`
    pub host: Option<OneOrMany<String>>,
    /// The path, which is normalised before it is matched: `/health` is exact; `{id}` in `/users/{id}` takes one
    /// segment; `/users/*` takes the path and everything below it; `~^/v[0-9]+/` is a regular expression, found
    /// anywhere unless anchored. Path parameters (`;v=1`) do not count. Everything (`/*`) when missing.
    ///
    /// Example: `path = "/users/{id}/orders"`
    pub path: Option<String>,
    /// The method, or a list of them; GET does not include HEAD. Every method when missing.
    ///
    /// Example: `method = ["GET", "HEAD"]`
    pub method: Option<OneOrMany<String>>,
    /// Request headers by name: a value, `"~"` and a regular expression, `true` for present or `false` for absent. Of a
    /// header that is repeated one value is enough.
    ///
    /// Example: `header = { X-API-Version = "v2", X-Debug = false }`
    pub header: Option<BTreeMap<String, Condition>>,
    /// Query parameters by name, compared decoded; otherwise as `header`.
    ///
    /// Example: `query = { beta = "1" }`
    pub query: Option<BTreeMap<String, Condition>>,
    /// Cookies by name; otherwise as `header`.
    ///
    /// Example: `cookie = { plan = "~^pro" }`
    pub cookie: Option<BTreeMap<String, Condition>>,
    /// The listener, or a list of them, that the request came in by. Every listener when missing.
    ///
    /// Example: `listener = "internal"`
    pub listener: Option<OneOrMany<String>>,
    /// The scheme that the client used, seen through trusted proxies. Both when missing.
    ///
    /// Example: `scheme = "https"`
    pub scheme: Option<Scheme>,
}

/// A condition on a header, query parameter or cookie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// It has this value, or with `~` in front matches this regular expression.
    Text(String),
    /// It is there, or is not.
    Present(bool),
}

/// The scheme of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scheme {
    /// Plaintext HTTP.
    Http,
    /// HTTP over TLS.
    Https,
}

impl From<Scheme> for filter::Scheme {
    fn from(scheme: Scheme) -> Self {
        match scheme {
            Scheme::Http => filter::Scheme::Http,
            Scheme::Https => filter::Scheme::Https,
        }
    }
}

impl Match {
    /// The match that a route's key stands for when it contains a `/`: a path, with a host before it where it does not
    /// begin with `/` or `~`.
    ///
    /// ```
    /// use maitred_route::Match;
    ///
    /// let route = Match::from_key("api.example.com/users/*");
    /// assert_eq!(route.path.as_deref(), Some("/users/*"));
    /// ```
    pub fn from_key(key: &str) -> Self {
        let start = if key.starts_with('~') { 0 } else { key.find('/').unwrap_or(0) };
        let (host, path) = key.split_at(start);
        let host = (!host.is_empty()).then(|| OneOrMany(vec![host.to_string()]));
        Self { host, path: Some(path.to_string()), ..Self::default() }
    }
}

/// The names of what the path of a match captures, in order, for templates that are compiled beside the route. Nothing
/// when the path cannot be read, which [`Table::compile`](crate::Table::compile) reports.
pub fn capture_names(written: &Match) -> Vec<Box<str>> {
    let pattern = written.path.as_deref().map_or_else(|| Ok(Pattern::everything()), Pattern::parse);
    pattern.map_or_else(|_| Vec::new(), |pattern| pattern.captures().to_vec())
}

impl<'de> Deserialize<'de> for Condition {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = Condition;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value, \"~regex\", true (present) or false (absent)")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Condition, E> {
                Ok(Condition::Text(text.to_string()))
            }

            fn visit_bool<E: de::Error>(self, present: bool) -> Result<Condition, E> {
                Ok(Condition::Present(present))
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for Condition {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Condition".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "boolean"] })
    }
}
