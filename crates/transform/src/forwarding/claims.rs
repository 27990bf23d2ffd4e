//! The fields by which a client could pass for somebody else, or for a request that it did not make.

use http::HeaderName;
use pingora_http::RequestHeader;

use crate::head::Head;

pub(super) static X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub(super) static X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
pub(super) static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
pub(super) static TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// What is removed from the requests of untrusted peers. A name that ends in `*` stands for all that begin so.
///
/// Origins and frameworks take them for the word of a proxy: the client's address, the scheme, host or target that was
/// asked for, or a client certificate that somebody verified.
pub const CLAIMS: &[&str] = &[
    // The proxies' own.
    "forwarded",
    "forwarded-*",
    "x-forwarded",
    "x-forwarded-*",
    "x-request-id",
    // The client's address.
    "cf-connecting-ip*",
    "cf-pseudo-ipv4",
    "client-ip",
    "fastly-client-ip",
    "fly-client-ip",
    "true-client-ip",
    "x-appengine-user-ip",
    "x-azure-clientip",
    "x-azure-socketip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-envoy-external-address",
    "x-original-forwarded-for",
    "x-original-remote-addr",
    "x-originating-ip",
    "x-real-ip",
    "x-real-port",
    "x-remote-addr",
    "x-remote-ip",
    // The scheme, host and target that were asked for.
    "front-end-https",
    "x-envoy-original-host",
    "x-envoy-original-path",
    "x-host",
    "x-http-host-override",
    "x-original-host",
    "x-original-method",
    "x-original-proto",
    "x-original-uri",
    "x-original-url",
    "x-proxyuser-ip",
    "x-rewrite-uri",
    "x-rewrite-url",
    "x-scheme",
    "x-url-scheme",
    // A verified client certificate (RFC 9440 section 2.4).
    "client-cert",
    "client-cert-chain",
    "ssl-client-*",
    "x-client-cert*",
    "x-ssl-client-*",
    // CGI turns it into the variable HTTP_PROXY, which HTTP clients obey (CVE-2016-5385).
    "proxy",
];

/// By these frameworks take a request for one of another method. Removed as well where a route is ruled by method, and with it
/// what is judged: others may be served by an origin that wants them.
pub const OVERRIDES: &[&str] = &["x-http-method", "x-http-method-override", "x-method-override"];

/// Whether `name`, in lower case, is one of the [`CLAIMS`].
///
/// Compared as CGI and its heirs see names: what is no letter or digit counts as a dash, so that `x_forwarded_for`
/// cannot slip through.
pub fn is_claim(name: &str) -> bool {
    // No claim begins otherwise; most names are done with here.
    let likely = matches!(
        name.as_bytes(),
        [b'x', ..]
            | [b'c', b'f' | b'l', ..]
            | [b'f', b'a' | b'l' | b'o' | b'r', ..]
            | [b'p', b'r', b'o', ..]
            | [b's', b's', ..]
            | [b't', b'r', b'u', ..]
    );
    if !likely {
        return false;
    }
    is_one_of(CLAIMS, name)
}

fn is_one_of(claims: &[&str], name: &str) -> bool {
    let name = name.as_bytes();
    claims.iter().any(|claim| match claim.as_bytes() {
        [prefix @ .., b'*'] => name.len() >= prefix.len() && alike(&name[..prefix.len()], prefix),
        claim => name.len() == claim.len() && alike(name, claim),
    })
}

/// Whether `name` is `claim` once everything but letters and digits counts as a dash.
fn alike(name: &[u8], claim: &[u8]) -> bool {
    name.iter().zip(claim).all(|(&byte, &wanted)| byte == wanted || (wanted == b'-' && !byte.is_ascii_alphanumeric()))
}

/// Removes the claims of an untrusted peer; of a trusted one only those in disguise, which no proxy writes, and the
/// client certificate, which is never passed on as it came (RFC 9440 section 2.4).
///
/// With `methods` also the [`OVERRIDES`].
pub(super) fn remove(head: &mut RequestHeader, trusted: bool, methods: bool) {
    let disguised = |name: &str| name.bytes().any(|byte| byte != b'-' && !byte.is_ascii_alphanumeric());
    let never = |name: &str| disguised(name) || matches!(name, "client-cert" | "client-cert-chain");
    let overrides = |name: &str| methods && name.starts_with('x') && is_one_of(OVERRIDES, name);
    let claims = |name: &str| is_claim(name) || overrides(name);
    head.take_where(|name| claims(name.as_str()) && (!trusted || never(name.as_str())));
}
