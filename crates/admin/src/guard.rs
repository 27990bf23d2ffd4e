//! Who may ask what: the checks before an answer.

use std::{hint::black_box, net::IpAddr};

use document::Secret;
use http::{HeaderMap, HeaderValue, StatusCode, header};

use crate::{answer::Answer, bind::Reach};

/// Whether somebody who came by a socket with this `reach` may ask anything; `probe` says whether it is a health probe.
pub(crate) fn admit(headers: &HeaderMap, probe: bool, reach: &Reach) -> Result<(), Answer> {
    match reach {
        Reach::File => Ok(()),
        Reach::Loopback(_) => own_host(headers),
        // Probes carry no secrets, and their answers hold none.
        Reach::Network(_) if probe => Ok(()),
        Reach::Network(token) => bearer(headers, token),
    }
}

/// Whether somebody who may ask may also change something.
pub(crate) fn admit_change(headers: &HeaderMap, reach: &Reach) -> Result<(), Answer> {
    same_site(headers)?;
    match reach {
        // Whoever may open the socket, and on the network whoever knows the token, was let in already.
        Reach::File | Reach::Network(_) => Ok(()),
        Reach::Loopback(Some(token)) => bearer(headers, token),
        Reach::Loopback(None) => {
            let detail = "nothing can be changed over TCP without a token: set `admin.token`, or use the unix socket";
            Err(Answer::problem(StatusCode::FORBIDDEN, detail).outcome("denied"))
        }
    }
}

/// Refuses a name that is not this machine's: a page of a site whose name was made to resolve to 127.0.0.1 has that
/// name in Host.
fn own_host(headers: &HeaderMap) -> Result<(), Answer> {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("");
    if is_own(host) {
        return Ok(());
    }
    let detail = "the Host field must be an IP address or localhost";
    Err(Answer::problem(StatusCode::MISDIRECTED_REQUEST, detail))
}

fn is_own(host: &str) -> bool {
    if let Some(inner) = host.strip_prefix('[') {
        return inner.split_once(']').is_some_and(|(address, _)| address.parse::<IpAddr>().is_ok());
    }
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

/// Refuses a write that a page of another site makes in the user's browser.
pub(crate) fn same_site(headers: &HeaderMap) -> Result<(), Answer> {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("").trim());
    let site = text("sec-fetch-site").is_none_or(|site| matches!(site, "same-origin" | "none"));
    let origin = match (text("origin"), text("host")) {
        (None, _) => true,
        (Some(origin), Some(host)) => origin.split_once("://").is_some_and(|(_, own)| own.eq_ignore_ascii_case(host)),
        (Some(_), None) => false,
    };
    if site && origin {
        return Ok(());
    }
    Err(Answer::problem(StatusCode::FORBIDDEN, "a page of another site may not write here").outcome("denied"))
}

/// Refuses a request without the token (RFC 6750 section 2.1).
fn bearer(headers: &HeaderMap, token: &Secret) -> Result<(), Answer> {
    let value = headers.get(header::AUTHORIZATION).map(|value| value.as_bytes()).unwrap_or_default();
    let (scheme, sent) = value.split_at_checked(7).unwrap_or_default();
    if scheme.eq_ignore_ascii_case(b"bearer ") && is_same(sent.trim_ascii(), token.expose().as_bytes()) {
        return Ok(());
    }
    let detail = "this needs `Authorization: Bearer` with the token";
    let answer = Answer::problem(StatusCode::UNAUTHORIZED, detail);
    Err(answer.with(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"maitred\"")).outcome("denied"))
}

/// Compares in a time that depends on the lengths only, so that a token cannot be found byte by byte.
fn is_same(sent: &[u8], token: &[u8]) -> bool {
    let differences = sent.iter().zip(token).fold(0, |differences, (a, b)| black_box(differences | (a ^ b)));
    sent.len() == token.len() && black_box(differences) == 0
}

#[cfg(test)]
mod tests;
