//! Header edits, as written.

use std::collections::BTreeMap;

use document::OneOrMany;
use schemars::JsonSchema;
use serde::Deserialize;

/// Header names with the values to set or add: one value, or a list for a field that is sent several times.
///
/// Values are templates: `{id}`, `{rest}` and `{1}` are what the route's path captured; `{scheme}`, `{host}`, `{port}`,
/// `{method}`, `{path}`, `{query}`, `{client_ip}`, `{request_id}`, `{generation}` (the number of the
/// configuration in force), `{header.NAME}`, `{cookie.NAME}` and `{query.NAME}`
/// are of the request as the client sent it. `{{` and `}}` are literal braces.
pub type Fields = BTreeMap<String, OneOrMany<String>>;

/// What to change in the header of every answer of the route, those of maitred itself included.
///
/// Done in the order `remove`, `set`, `add`. `Content-Length`, `Transfer-Encoding`, `Connection` and their kin frame
/// the message and cannot be edited; `Date` is maitred's own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[schemars(title = "response")]
pub struct ResponseConfig {
    /// Fields to set: they take the place of every field of that name. A value whose placeholders come out empty
    /// removes the field, so that the origin's can never pass for ours.
    ///
    /// Default: none. Example: `set = { Cache-Control = "no-store", X-Request-Id = "{request_id}" }`.
    pub set: Option<Fields>,

    /// Fields to add to those that are there. A value whose placeholders come out empty adds nothing.
    ///
    /// Default: none. Example: `add = { Link = ["</app.css>; rel=preload", "</app.js>; rel=preload"] }`.
    pub add: Option<Fields>,

    /// Names of fields to remove. `*` at the end stands for anything: `X-Internal-*`.
    ///
    /// Default: none. Example: `remove = ["Server", "X-Powered-By"]`.
    pub remove: Option<OneOrMany<String>>,
}
