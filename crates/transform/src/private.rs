//! Answers that are for one client alone, whatever their origin says of them.

use http::{HeaderName, HeaderValue, header};
use pingora_http::ResponseHeader;

use crate::head::Head;

/// Keeps shared caches between us and the client from keeping an answer that holds something of this client's own, such as its
/// session: `private` in `Cache-Control` (RFC 9111 section 5.2.2.7), and nothing that such caches are told alone (RFC 9213).
pub fn make_private(head: &mut ResponseHeader) {
    let targeted = |name: &str| name.ends_with("cdn-cache-control") || name == "surrogate-control";
    head.take_where(|name: &HeaderName| targeted(name.as_str()));
    let lines: Vec<&str> = head.headers.get_all(header::CACHE_CONTROL).iter().map(told).collect();
    let said: Vec<&str> = lines.iter().flat_map(|line| line.split(',')).map(str::trim).collect();
    let is = |said: &str, name: &str| said.eq_ignore_ascii_case(name);
    // Names of fields may stand there in quotes, and commas between them: it is not for us to take that apart.
    let quoted = lines.iter().any(|line| line.contains('"'));
    if !quoted && said.iter().any(|one| is(one, "private") || is(one, "no-store")) {
        return;
    }
    let shared = |one: &str| {
        let name = one.split('=').next().unwrap_or("");
        ["", "public", "s-maxage", "proxy-revalidate"].iter().any(|shared| is(name.trim_end(), shared))
    };
    let kept = said.into_iter().filter(|one| !shared(one));
    let value = match quoted {
        true => "private, no-store".to_owned(),
        false => std::iter::once("private").chain(kept).collect::<Vec<_>>().join(", "),
    };
    head.insert_header(header::CACHE_CONTROL, value).ok();
}

/// What cannot be read counts as quoted.
fn told(line: &HeaderValue) -> &str {
    line.to_str().unwrap_or("\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_caches_are_told_not_to_keep_it_and_browsers_may() {
        for (said, expected) in [
            (&[][..], "private"),
            (&["public, max-age=60"], "private, max-age=60"),
            (&["Public", "S-MaxAge = 60, must-revalidate"], "private, must-revalidate"),
            (&["max-age=60, Private"], "max-age=60, Private"),
            (&["no-store"], "no-store"),
            (&["public, no-cache=\"a,private,b\""], "private, no-store"),
            (&["private=\"set-cookie\", max-age=60"], "private, no-store"),
        ] {
            let mut head = ResponseHeader::build(200, None).unwrap();
            head.insert_header("CDN-Cache-Control", "max-age=60").unwrap();
            head.insert_header("Surrogate-Control", "max-age=60").unwrap();
            for line in said {
                head.append_header("Cache-Control", *line).unwrap();
            }
            make_private(&mut head);
            let told: Vec<&HeaderValue> = head.headers.get_all(header::CACHE_CONTROL).iter().collect();
            assert_eq!(told, [expected], "{said:?}");
            assert_eq!(head.headers.len(), 1, "{said:?}");
        }
    }
}
