//! One route.

use document::{Duration, Toggle};
use route::Match;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;

/// A route: what it matches and what happens to the requests that it takes.
#[derive(Debug, Clone, Default)]
pub struct Route {
    /// Which requests it takes.
    pub matches: Match,
    /// What may enter.
    pub access: access::Config,
    /// What happens to them.
    pub policies: Policies,
}

/// What happens to the requests that a route takes.
///
/// ```toml
/// [routes.users]
/// path     = "/users/*"
/// upstream = "users"
/// timeout  = "5s"
/// ```
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[schemars(title = "route")]
pub struct Policies {
    /// Where the requests go: the name of an upstream, or in its place a URL such as `"http://localhost:3001"`, or a table
    /// with the keys of an upstream. A route has exactly one of `upstream`, `split`, `redirect` and `respond`.
    ///
    /// Example: `upstream = "users"`
    pub upstream: Option<UpstreamName>,
    /// Sends the client elsewhere: a location, or a table. A route has exactly one of `upstream`, `split`,
    /// `redirect` and `respond`.
    ///
    /// Example: `redirect = "https://new.example.com{path}"`
    pub redirect: Option<rewrite::RedirectConfig>,
    /// Answers by itself. A route has exactly one of `upstream`, `split`, `redirect` and `respond`.
    ///
    /// Example: `respond = { status = 410, body = "gone" }`
    pub respond: Option<rewrite::RespondConfig>,
    /// Who may call: the name of a policy of `[auth]`, a policy written in place, or a list of which any one is enough.
    /// `"anonymous"` in the list lets requests pass that show no credentials at all. `false`: anybody.
    ///
    /// Example: `auth = ["customers", "partners"]`
    pub auth: Option<Toggle<document::OneOrMany<auth::Written>>>,
    /// What the caller has to be, or else is refused with 403. `false`: nothing.
    ///
    /// Example: `require = { scope = "orders", role = ["admin", "editor"] }`
    pub require: Option<Toggle<auth::RequireConfig>>,
    /// Shares the requests among several upstreams in proportion to their weights: a canary, or blue and green. An upstream
    /// of weight 0 gets none but those that `force` sends there. A route has exactly one of `upstream`, `split`, `redirect` and
    /// `respond`.
    ///
    /// Example: `split = { products = 95, products-next = 5 }`
    pub split: Option<std::collections::BTreeMap<String, u32>>,
    /// Goes only to those backends of the `upstream` that have all of these `labels`. Where none of them can be used the client
    /// is answered 503 (`no_backend`). Default: to all.
    ///
    /// Example: `subset = { version = "2" }`
    pub subset: Option<std::collections::BTreeMap<String, String>>,
    /// Keeps a client at the same upstream of a `split`: `"cookie:visitor"`, a cookie that the client is given where it has
    /// none; `"header:X-User"`; `"user"`, who `auth` has found to call; or `"ip"`. When shares change, clients move only to the upstreams whose share has grown.
    /// Default: a lot is drawn for each request.
    ///
    /// Example: `sticky = "cookie:visitor"`
    pub sticky: Option<String>,
    /// Where a request may name the upstream of the `split` that takes it: `"header:X-Variant"` or `"cookie:variant"`.
    /// Default: nowhere.
    ///
    /// Example: `force = "header:X-Variant"`
    pub force: Option<String>,
    /// Sends copies of requests to another upstream, whose answers no client sees: the name or URL of an upstream, or a table.
    /// `false`: none.
    ///
    /// A copy is what the origin is sent, with `X-Shadow: 1`. It is sent beside the request and can neither delay nor fail it;
    /// what cannot be copied in time, in length or in number is left out and counted. Requests that the cache answers and
    /// WebSockets are not copied.
    ///
    /// Example: `mirror = { upstream = "orders-next", percent = 10 }`
    pub mirror: Option<Toggle<upstream::MirrorConfig>>,
    /// What to change in the request before the origin sees it. `false`: nothing.
    ///
    /// Example: `request = { rewrite = "/v1{rest}", set = { X-Client-IP = "{client_ip}" }, remove = ["Cookie"] }`
    pub request: Option<Toggle<Request>>,
    /// What to change in the answer before the client sees it. `false`: nothing.
    ///
    /// Example: `response = { remove = ["Server", "X-Powered-By"] }`
    pub response: Option<Toggle<transform::ResponseConfig>>,
    /// Which web pages of other origins may call (CORS). `false`: none.
    ///
    /// Example: `cors = { origins = ["https://app.example.com"], credentials = true }`
    pub cors: Option<Toggle<cors::Config>>,
    /// How often, or how many at once: the name of a limit of `[limits]`, a rate such as `"100/m per ip"`, a table, or a list
    /// of them, which all have to be kept: none counts a request that another refuses. `true`: 100 in 15 minutes for each
    /// client address. `false`: no limit.
    ///
    /// Example: `limit = ["100/m per ip", "10/s per route"]`
    pub limit: Option<Toggle<document::OneOrMany<limit::Written>>>,
    /// Headers that tell browsers to be careful: `true` for all, or a table. `false`: none.
    ///
    /// Example: `security_headers = true`
    pub security_headers: Option<Toggle<transform::SecurityConfig>>,
    /// Keeps answers and gives them to whoever asks again: `true`, a duration, or a table. `false`: nothing is kept.
    ///
    /// Example: `cache = "5m"`
    pub cache: Option<Toggle<cache::CacheConfig>>,
    /// Compresses answers for clients that ask for it: `true`, or a table. `false`: never.
    ///
    /// Example: `compress = true`
    pub compress: Option<Toggle<transform::CompressConfig>>,
    /// Unpacks what clients send packed (`Content-Encoding`) before the origin gets it: `true`, or a table. `false`: it is
    /// passed on as it comes.
    ///
    /// Example: `decompress = true`
    pub decompress: Option<Toggle<transform::DecompressConfig>>,
    /// How long the origin may take to begin its answer, retries included. `false`: as long as it likes. Default
    /// `"30s"`.
    ///
    /// Example: `timeout = "5s"`
    pub timeout: Option<Toggle<Duration>>,
    /// When and how often a request is tried again, in place of the upstream's `retries`: a number from 0 to 10, or a table
    /// with the same keys. `false` is 0.
    ///
    /// Example: `retries = { attempts = 3, on = ["connect", "503"] }`
    pub retries: Option<Toggle<upstream::RetriesConfig>>,
    /// When another backend is asked as well, in place of the upstream's `hedge`: how long to wait, such as `"p95"`, or a table
    /// with the same keys. `false`: never. Clients that are kept at a backend (`sticky`) are never sent to another.
    ///
    /// Example: `hedge = false`
    pub hedge: Option<Toggle<upstream::HedgeConfig>>,
    /// Connections that are upgraded, such as WebSocket, and streams.
    ///
    /// Example: `websocket = { idle = "1h" }`
    pub websocket: Option<WebSocket>,
}

/// What to change in the request before the origin sees it.
///
/// ```toml
/// [routes.orders.request]
/// rewrite = "/v1{path}"
/// set     = { X-Client-IP = "{client_ip}" }
/// remove  = ["Cookie"]
/// ```
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[schemars(title = "request")]
pub struct Request {
    /// The path that the origin is asked for, which begins with a slash. Placeholders are filled in: `{path}` is the
    /// normalised path that the client asked for, `{rest}` what the `*` of the route's path stands for with its leading
    /// slash, `{id}` a segment that the route's path names. Default: the normalised path as it is.
    ///
    /// Example: `rewrite = "/v1{rest}"`
    pub rewrite: Option<String>,
    /// Query parameters to change.
    ///
    /// Example: `query = { set = { v = "2" }, remove = ["debug"] }`
    pub query: Option<rewrite::QueryConfig>,
    /// The `Host` that the origin sees: `"keep"`, the client's; `"upstream"`, that of the backend's URL; or a host of
    /// its own. Default `"keep"`.
    ///
    /// Example: `host = "upstream"`
    pub host: Option<String>,
    /// Whether the origin is also sent `Forwarded` (RFC 7239), beside the `X-Forwarded-*` fields that it always gets.
    /// Default `false`.
    ///
    /// Example: `forwarded = true`
    pub forwarded: Option<bool>,
    /// Whether the trace of the request says which configuration it was served under: a member `maitred=g:42` of its
    /// `tracestate` (W3C Trace Context), with the number that `maitred history` gives, before what other systems have put
    /// there. Whoever records the trace at the origin can tell by it what changed. Default `false`.
    ///
    /// Example: `tracestate = true`
    pub tracestate: Option<bool>,
    /// Header fields to set: they take the place of every field of that name. A value whose placeholders come out empty
    /// removes the field.
    ///
    /// Example: `set = { X-Client-IP = "{client_ip}" }`
    pub set: Option<transform::Fields>,
    /// Header fields to add to those that are there.
    ///
    /// Example: `add = { X-Tag = ["a", "b"] }`
    pub add: Option<transform::Fields>,
    /// Names of header fields to remove. `*` at the end stands for anything.
    ///
    /// Example: `remove = ["Cookie", "X-Internal-*"]`
    pub remove: Option<document::OneOrMany<String>>,
}

/// Connections that are upgraded, and streams.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[schemars(title = "websocket")]
pub struct WebSocket {
    /// How long an upgraded connection, a stream of events or a gRPC stream may be silent. Default `"10m"`.
    ///
    /// Example: `idle = "1h"`
    pub idle: Option<Duration>,
}

/// The name of an upstream. A URL or a table in its place has become an upstream of its own before this is decoded.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct UpstreamName(pub String);

impl JsonSchema for UpstreamName {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "UpstreamName".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let table = generator.subschema_for::<upstream::Config>();
        json_schema!({ "anyOf": [{ "type": "string" }, table] })
    }
}

impl JsonSchema for Route {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Route".into()
    }

    /// One table of the keys of all parts.
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut whole = Policies::json_schema(generator);
        let mut properties = serde_json::Map::new();
        for part in [Match::json_schema(generator), access::Config::json_schema(generator), whole.clone()] {
            let keys = part.get("properties").and_then(serde_json::Value::as_object);
            properties.extend(keys.into_iter().flatten().map(|(key, value)| (key.clone(), value.clone())));
        }
        whole.insert("properties".into(), properties.into());
        let about = Match::json_schema(generator);
        let about = [&whole, &about]
            .map(|part| part.get("description").and_then(|text| text.as_str()).unwrap_or_default().to_owned());
        whole.insert("description".into(), about.join("\n\n").into());
        whole
    }
}

/// A route as written: its table, or in short the name or URL of its upstream.
pub(crate) struct Written;

impl JsonSchema for Written {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "WrittenRoute".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let table = generator.subschema_for::<Route>();
        json_schema!({ "anyOf": [table, { "type": "string" }] })
    }
}

/// A test as written: its table, or in short what is expected.
pub(crate) struct WrittenTest;

impl JsonSchema for WrittenTest {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "WrittenTest".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let table = generator.subschema_for::<trial::Config>();
        json_schema!({ "anyOf": [table, { "type": "string" }, { "type": "integer" }] })
    }
}
