//! The policy, as run.

use filter::{Admit, Amend, Body, Reply, View};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use pingora_http::{RequestHeader, ResponseHeader};

use crate::origins::Origins;

static REQUEST_PRIVATE_NETWORK: HeaderName = HeaderName::from_static("access-control-request-private-network");
static ALLOW_PRIVATE_NETWORK: HeaderName = HeaderName::from_static("access-control-allow-private-network");

/// What the answer to a preflight depends on.
static VARY: HeaderValue =
    HeaderValue::from_static("Origin, Access-Control-Request-Method, Access-Control-Request-Headers");
static VARY_PRIVATE: HeaderValue = HeaderValue::from_static(
    "Origin, Access-Control-Request-Method, Access-Control-Request-Headers, Access-Control-Request-Private-Network",
);

/// Which origins may call, and how: every value is made when the configuration is loaded.
#[derive(Debug, Clone)]
pub struct Cors {
    pub(crate) origins: Origins,
    pub(crate) methods: Allowed,
    pub(crate) headers: Allowed,
    pub(crate) expose: Option<HeaderValue>,
    pub(crate) credentials: bool,
    pub(crate) max_age: Option<HeaderValue>,
    pub(crate) private_network: bool,
}

/// What a preflight may ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Allowed {
    /// These.
    List(HeaderValue),
    /// Whatever it asks for.
    Asked,
}

/// Whether a request asks for permission to make another: OPTIONS with `Origin` and `Access-Control-Request-Method`.
pub fn is_preflight(head: &RequestHeader) -> bool {
    head.method == Method::OPTIONS
        && head.headers.contains_key(header::ORIGIN)
        && head.headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// The method that a preflight asks about. The route that answers it is the one which that method would take.
pub fn preflight_method(head: &RequestHeader) -> Option<Method> {
    if !is_preflight(head) {
        return None;
    }
    Method::from_bytes(head.headers.get(header::ACCESS_CONTROL_REQUEST_METHOD)?.as_bytes()).ok()
}

impl Admit for Cors {
    type Proof = ();

    fn admit(&self, request: &View<'_>) -> Result<(), Reply> {
        self.judge(request)
    }

    fn judge(&self, request: &View<'_>) -> Result<(), Reply> {
        if is_preflight(request.head) { Err(self.preflight(&request.head.headers)) } else { Ok(()) }
    }
}

impl Amend<ResponseHeader> for Cors {
    fn amend(&self, head: &mut ResponseHeader, request: &View<'_>) {
        if is_preflight(request.head) {
            return;
        }
        remove_origin_servers(head);
        if !self.origins.is_everyone() {
            vary_by_origin(head);
        }
        let Some(origin) = self.permitted(&request.head.headers) else { return };
        // Values were validated when they were made, so that an insertion cannot fail.
        let _ = head.insert_header("Access-Control-Allow-Origin", origin);
        if self.credentials {
            let _ = head.insert_header("Access-Control-Allow-Credentials", HeaderValue::from_static("true"));
        }
        if let Some(expose) = &self.expose {
            let _ = head.insert_header("Access-Control-Expose-Headers", expose.clone());
        }
    }
}

impl Cors {
    /// What `Access-Control-Allow-Origin` says to a request with these fields; `None` when its origin may not call.
    fn permitted(&self, fields: &HeaderMap) -> Option<HeaderValue> {
        if self.origins.is_everyone() {
            return Some(HeaderValue::from_static("*"));
        }
        let mut values = fields.get_all(header::ORIGIN).into_iter();
        let (Some(origin), None) = (values.next(), values.next()) else { return None };
        self.origins.contain(origin.as_bytes()).then(|| origin.clone())
    }

    /// The answer to a preflight.
    fn preflight(&self, fields: &HeaderMap) -> Reply {
        let vary = if self.private_network { &VARY_PRIVATE } else { &VARY };
        let reply = Reply::answer(StatusCode::NO_CONTENT, Body::Empty).with(header::VARY, vary.clone());
        let Some(origin) = self.permitted(fields) else { return reply };
        let mut reply = reply.with(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        if let Some(methods) = self.methods.answer(fields, header::ACCESS_CONTROL_REQUEST_METHOD) {
            reply = reply.with(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
        }
        if let Some(headers) = self.headers.answer(fields, header::ACCESS_CONTROL_REQUEST_HEADERS) {
            reply = reply.with(header::ACCESS_CONTROL_ALLOW_HEADERS, headers);
        }
        if self.credentials {
            reply = reply.with(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
        if let Some(max_age) = &self.max_age {
            reply = reply.with(header::ACCESS_CONTROL_MAX_AGE, max_age.clone());
        }
        if self.private_network && fields.get(&REQUEST_PRIVATE_NETWORK).is_some_and(|asked| asked == "true") {
            reply = reply.with(ALLOW_PRIVATE_NETWORK.clone(), HeaderValue::from_static("true"));
        }
        reply
    }
}

impl Allowed {
    /// What to permit, given what is asked for in the field `asked`.
    fn answer(&self, fields: &HeaderMap, asked: HeaderName) -> Option<HeaderValue> {
        match self {
            Allowed::List(list) => (!list.is_empty()).then(|| list.clone()),
            Allowed::Asked => fields.get(asked).filter(|asked| is_list(asked.as_bytes())).cloned(),
        }
    }
}

/// Whether a value is a list of tokens (RFC 9110 section 5.6.1) and can be sent back as it came.
fn is_list(value: &[u8]) -> bool {
    !value.is_empty() && value.iter().all(|byte| crate::compile::is_token_byte(*byte) || matches!(byte, b',' | b' '))
}

/// Removes the permissions that the origin server gave: there is one policy, and it stands here.
fn remove_origin_servers(head: &mut ResponseHeader) {
    while let Some(name) = head.headers.keys().find(|name| name.as_str().starts_with("access-control-")).cloned() {
        head.remove_header(&name);
    }
}

/// Says that the answer depends on the origin, unless it says so already.
fn vary_by_origin(head: &mut ResponseHeader) {
    let lines = head.headers.get_all(header::VARY).into_iter();
    let mut names = lines.flat_map(|line| line.as_bytes().split(|&byte| byte == b',')).map(<[u8]>::trim_ascii);
    if !names.any(|name| name == b"*" || name.eq_ignore_ascii_case(b"origin")) {
        let _ = head.append_header("Vary", HeaderValue::from_static("Origin"));
    }
}

#[cfg(test)]
mod tests;
