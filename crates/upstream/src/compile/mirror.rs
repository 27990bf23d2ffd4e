//! Where copies of a route's requests go.

use std::{sync::Arc, time::Duration};

use document::{At, Code, Diagnostic, OneOrMany, Report, Toggle};
use http::{HeaderName, header};
use telemetry::MirrorMeters;

use super::{health::at_least_one, positive};
use crate::{
    config,
    mirror::{Compare, Mirror},
    upstream::Upstream,
};

const DEFAULT_BODY: u64 = 64 * 1024;
/// Copies are held in memory.
const MOST_BODY: u64 = 16 * 1024 * 1024;
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);
const DEFAULT_CONCURRENT: u32 = 100;

/// Compiles a route's `mirror`. `at` is the key's place; `find` gives the upstream of a name, where it is sound.
pub fn mirror(
    written: &config::Mirror,
    at: &At,
    find: impl Fn(&str) -> Option<Arc<Upstream>>,
    meters: MirrorMeters,
    report: &mut Report,
) -> Option<Mirror> {
    let Some(name) = &written.upstream else {
        report.push(
            Diagnostic::new(Code::E0106, "`mirror` has no `upstream`")
                .label(at.name(), "where should the copies go?")
                .help("add `upstream = \"orders-next\"`, the name of an upstream"),
        );
        return None;
    };
    let errors = report.errors();
    let percent = written.percent.unwrap_or(100.0);
    if !(percent > 0.0 && percent <= 100.0) {
        let text = "`percent` is a number above 0, and at most 100";
        report.add(Code::E0103, &at.key("percent"), text, "no request would be copied, or more than there are");
    }
    let max_body = written.max_body.map_or(DEFAULT_BODY, |size| size.0);
    if max_body > MOST_BODY {
        let text = "`max_body` of a mirror is at most 16MiB";
        report.add(Code::E0103, &at.key("max_body"), text, "so much would be held in memory for every copy");
    }
    let timeout = positive(written.timeout, DEFAULT_TIMEOUT, at.key("timeout"), report);
    let concurrent = at_least_one(written.concurrent, DEFAULT_CONCURRENT, &at.key("concurrent"), report);
    let remove = names(written.remove.as_ref(), &at.key("remove"), report);
    let compare = match &written.compare {
        Some(Toggle::On(written)) => Some(compare(written, &at.key("compare"), report)),
        Some(Toggle::Off) | None => None,
    };
    // A name that no upstream has was reported when the document was assembled.
    let upstream = find(name)?;
    (report.errors() == errors).then(|| {
        Mirror::new(upstream, percent / 100.0, max_body as usize, timeout, concurrent, remove, compare, meters)
    })
}

fn compare(written: &config::Compare, at: &At, report: &mut Report) -> Compare {
    let headers = match &written.headers {
        Some(list) => names(Some(list), &at.key("headers"), report),
        None => [header::CONTENT_TYPE].into(),
    };
    let mut ignore = Vec::new();
    for (index, text) in written.ignore.iter().flat_map(|list| list.iter().enumerate()) {
        match pointer(text) {
            Some(pointer) => ignore.push(pointer),
            None => report.push(
                Diagnostic::new(Code::E0108, format!("`{text}` is not a JSON pointer"))
                    .label(at.key("ignore").index(index), "begins with `/`, and holds no `~` but in `~0` and `~1`")
                    .help("write `/items/*/id` for the `id` of every member of `items`"),
            ),
        }
    }
    Compare::new(headers, ignore.into())
}

/// RFC 6901 section 3.
fn pointer(text: &str) -> Option<Box<[Box<str>]>> {
    let token = |token: &str| {
        let plain = token.replace("~1", "").replace("~0", "");
        (!plain.contains('~')).then(|| token.replace("~1", "/").replace("~0", "~").into())
    };
    text.strip_prefix('/')?.split('/').map(token).collect()
}

fn names(written: Option<&OneOrMany<String>>, at: &At, report: &mut Report) -> Box<[HeaderName]> {
    let mut names = Vec::new();
    for (index, text) in written.iter().flat_map(|list| list.iter().enumerate()) {
        match text.parse() {
            Ok(name) => names.push(name),
            Err(_) => {
                let message = format!("`{text}` is not the name of a header field");
                report.add(Code::E0108, &at.index(index), message, "RFC 9110 section 5.1");
            }
        }
    }
    names.into()
}
