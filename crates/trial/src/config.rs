//! A test as written in the configuration.

use std::{collections::BTreeMap, fmt};

use document::OneOrMany;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};

/// A test: a request that is judged without being sent, and what has to become of it. Tests run in `maitred check`, at
/// the start and before every reload; one that fails refuses the configuration.
///
/// In short the key is the request, and the value the route that has to take it or the status that has to be answered:
/// `"GET /orders/7" = "orders"`, `"POST https://api.example.com/admin" = 404`.
///
/// ```toml
/// [tests.orders]
/// request = "GET https://api.example.com/orders/7"
/// expect  = { route = "orders", path = "/v1/orders/7" }
/// ```
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[schemars(title = "test")]
pub struct Config {
    /// A method and a URL, or a list of them, each of which is tried. The method is GET when missing. A path alone is
    /// asked of the host of the route that is expected, or else of `localhost`. Required.
    ///
    /// Example: `request = ["GET https://api.example.com/orders/7", "DELETE /orders/7"]`
    pub request: Option<OneOrMany<String>>,
    /// Header fields of the request: a value, or a list of them.
    ///
    /// Example: `headers = { X-API-Version = "2", Origin = "https://app.example.com" }`
    pub headers: Option<BTreeMap<String, OneOrMany<String>>>,
    /// The address that the request comes from. One of the listener's `trusted_proxies` is believed what `headers` say
    /// in `X-Forwarded-For` and its kin. Default `"127.0.0.1"`.
    ///
    /// Example: `from = "203.0.113.7"`
    pub from: Option<String>,
    /// Who calls: the user that a policy of the route's `auth` would vouch for, as its file of keys or users has it.
    /// Nothing is shown for it. Default: whoever `headers` show.
    ///
    /// Example: `as = "acme"`
    pub r#as: Option<String>,
    /// The listener that the request comes in by. Default: one that the expected route takes requests from, of the
    /// URL's scheme and port where it has them; among several the first by name.
    ///
    /// Example: `listener = "https"`
    pub listener: Option<String>,
    /// What has to become of the request: the name of a route, a status, or a table, of which everything that is
    /// written must hold. Required.
    ///
    /// Example: `expect = { route = "orders", upstream = "orders", path = "/v1/orders/7" }`
    pub expect: Option<Expect>,
}

/// What has to become of a request. Everything that is written must hold.
///
/// ```toml
/// [tests.old-orders.expect]
/// route    = "old-orders"
/// status   = 308
/// location = "https://api.example.com/orders/7"
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Expect {
    pub(crate) route: Option<String>,
    pub(crate) status: Option<u16>,
    pub(crate) reason: Option<String>,
    pub(crate) location: Option<String>,
    pub(crate) upstream: Option<String>,
    pub(crate) path: Option<String>,
    pub(crate) query: Option<String>,
    pub(crate) host: Option<String>,
    pub(crate) request: Option<BTreeMap<String, Field>>,
    pub(crate) response: Option<BTreeMap<String, Field>>,
}

/// What has to become of a request. Everything that is written must hold.
///
/// ```toml
/// [tests.old-orders.expect]
/// route    = "old-orders"
/// status   = 308
/// location = "https://api.example.com/orders/7"
/// ```
#[derive(Deserialize, JsonSchema)]
#[schemars(title = "expect")]
pub(crate) struct ExpectTable {
    /// The route that takes the request.
    ///
    /// Example: `route = "orders"`
    route: Option<String>,
    /// The status that maitred answers by itself: a redirect, a fixed answer or a refusal. A request that is sent to an
    /// upstream has none, since nothing is sent.
    ///
    /// Example: `status = 308`
    status: Option<u16>,
    /// Why maitred refuses: a word of the table of reasons.
    ///
    /// Example: `reason = "body_too_large"`
    reason: Option<String>,
    /// The `Location` of the answer, or `"~"` and a regular expression.
    ///
    /// Example: `location = "https://new.example.com/orders/7"`
    location: Option<String>,
    /// The upstream that is asked: its name, or the URL of one of its backends.
    ///
    /// Example: `upstream = "orders"`
    upstream: Option<String>,
    /// The path that the origin is asked for, rewritten, or `"~"` and a regular expression.
    ///
    /// Example: `path = "/v1/orders/7"`
    path: Option<String>,
    /// The query that the origin is asked for, without its `?`, or `"~"` and a regular expression; `""` for none.
    ///
    /// Example: `query = "source=public"`
    query: Option<String>,
    /// The `Host` that the origin sees, or `"~"` and a regular expression.
    ///
    /// Example: `host = "orders.internal"`
    host: Option<String>,
    /// Header fields of the request that the origin sees, by name: a value, `"~"` and a regular expression, `true` for
    /// present or `false` for absent.
    ///
    /// Example: `request = { X-Client-IP = "203.0.113.7", Cookie = false }`
    request: Option<BTreeMap<String, Field>>,
    /// Header fields of the answer that the client sees, by name; otherwise as `request`. Of an upstream's answer those
    /// that maitred adds, whatever the upstream says.
    ///
    /// Example: `response = { Access-Control-Allow-Origin = "https://app.example.com" }`
    response: Option<BTreeMap<String, Field>>,
}

impl From<ExpectTable> for Expect {
    fn from(table: ExpectTable) -> Self {
        let ExpectTable { route, status, reason, location, upstream, path, query, host, request, response } = table;
        Self { route, status, reason, location, upstream, path, query, host, request, response }
    }
}

impl Expect {
    fn from_text(route: &str) -> Result<Self, String> {
        Ok(Self { route: Some(route.into()), ..Self::default() })
    }

    fn from_number(status: i64) -> Result<Self, String> {
        let status = u16::try_from(status).map_err(|_| format!("expected a status such as 404, found {status}"))?;
        Ok(Self { status: Some(status), ..Self::default() })
    }
}

document::shorthand!(
    Expect,
    ExpectTable,
    "the name of a route, a status or a table",
    str = Expect::from_text,
    int = Expect::from_number
);

/// What is expected of a header field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Field {
    /// It has this value, or with `~` in front matches this regular expression.
    Text(String),
    /// It is there, or is not.
    Present(bool),
}

impl<'de> Deserialize<'de> for Field {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = Field;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value, \"~regex\", true (present) or false (absent)")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Field, E> {
                Ok(Field::Text(text.into()))
            }

            fn visit_bool<E: de::Error>(self, present: bool) -> Result<Field, E> {
                Ok(Field::Present(present))
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for Field {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ExpectedField".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "boolean"] })
    }
}
