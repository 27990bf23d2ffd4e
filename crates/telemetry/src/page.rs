//! The manual's pages of metrics, reasons and the access log, made from the tables that the code runs on.

use std::fmt::Write as _;

use filter::Reason;
use prometheus::{core::Collector as _, process_collector::ProcessCollector};

use crate::{
    access_log::{FIELDS, TRY_FIELDS},
    families::ROWS,
    families::SECONDS,
};

/// The page `docs/reference/metrics.md`.
pub fn metrics_page() -> String {
    let mut page = String::from(
        "# Metrics\n\n\
         `GET /metrics` on the admin address answers in the text format of Prometheus. Counters belong to names: a route,\n\
         listener or upstream of the same name goes on counting where it was. No label has a value that a client can\n\
         choose.\n\n\
         | Metric | Type | Labels | Meaning |\n|---|---|---|---|\n",
    );
    for row in ROWS {
        let labels = row.labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ");
        let labels = if labels.is_empty() { "–".to_owned() } else { labels };
        line(&mut page, &format!("| `{}` | {} | {labels} | {} |", row.name, row.kind.as_str(), row.help));
    }
    page.push_str("\n## Labels\n\n");
    for (label, meaning) in LABELS {
        line(&mut page, &format!("- `{label}`: {meaning}."));
    }
    let bounds = SECONDS.map(|bound| bound.to_string()).join(", ");
    line(&mut page, &format!("\n## Buckets\n\nDurations are counted in seconds, in buckets up to {bounds} and above."));
    page.push_str("\n## The process\n\nThe standard metrics of Prometheus, without the prefix:\n\n| Metric | Meaning |\n|---|---|\n");
    for desc in ProcessCollector::for_self().desc() {
        line(&mut page, &format!("| `{}` | {} |", desc.fq_name, desc.help));
    }
    page
}

/// What the labels mean, once for all metrics.
const LABELS: &[(&str, &str)] = &[
    ("listener", "the listener's name"),
    ("direction", "`in`: from clients; `out`: to them"),
    ("route", "the route's name; `-` for requests that no route took or that could not be read"),
    ("method", "GET, POST, HEAD, PUT, DELETE, PATCH, OPTIONS, CONNECT, TRACE, or `_OTHER`"),
    ("code", "the status as a number, `-` without an answer; for attempts without one, the reason's word"),
    ("code_class", "`1xx` to `5xx`, or `-` without an answer"),
    ("reason", "a word of the [table of reasons](reasons.md)"),
    ("protocol", "`h1`, `h2` or `h2c`"),
    ("version", "`TLSv1.2`, `TLSv1.3` or `-`; in `maitred_build_info` that of maitred"),
    ("provider", "how backends are found: `dns`, `srv` or `file`"),
    ("tier", "where answers are kept: `memory`"),
    ("auth", "the policy's name: that of `[auth]`, or the route's where it is written in the route"),
    ("scheme", "what the policy asks for: `api_key`, `jwt`, `basic`, `mtls`, `introspection`, `forward` or `oidc`"),
    ("limit", "the limit's name: that of `[limits]`, or the route's where it is written in the route"),
    (
        "result",
        "of a handshake: `ok`, `timeout`, `closed` or `failed`; of a reload: `applied` or `refused`; of a limit: `allowed`, \
         `limited`, `delayed`, `shadowed` or `store_error`; of authentication: `ok`, `missing`, `invalid`, `expired`, `forbidden` or `error`; \
         of a request to the cache: `hit`, `miss`, `stale`, `revalidated` or `bypass`; \
         of a copy for a mirror: `answered`, `same`, `different`, `failed`, `timeout`, `too_large` or `dropped`",
    ),
    ("name", "the certificate's name"),
    ("upstream", "the upstream's name"),
    ("backend", "the backend's address as written in the configuration"),
    ("state", "of a connection: `active` or `idle`"),
    ("revision", "the commit that this build was made from"),
    ("rustc", "the compiler"),
    ("tls", "the TLS library"),
];

/// The page `docs/reference/reasons.md`.
pub fn reasons_page() -> String {
    let mut page = String::from(
        "# Reasons\n\n\
         When maitred answers instead of the origin, or a request ends early, one word says why: in the access log's\n\
         `error`, in the metric `maitred_http_errors_total`, and at the end of the problem document's `type`. Words do\n\
         not change their meaning once released. With `server.proxy_status = true` the answer says the `error` of RFC 9209 as well.\n\n\
         | Reason | Status | Title | `Proxy-Status` | Meaning |\n|---|---|---|---|---|\n",
    );
    for reason in Reason::ALL {
        let sentence = reason.sentence().split_whitespace().collect::<Vec<_>>().join(" ");
        line(
            &mut page,
            &format!(
                "| `{}` | {} | {} | `{}` | {sentence} |",
                reason.word(),
                reason.status_code(),
                reason.title(),
                reason.proxy_error()
            ),
        );
    }
    page.push_str("\nThe status 499 is never sent: the client had left.\n");
    page
}

/// The page `docs/reference/access-log.md`.
pub fn access_log_page() -> String {
    let mut page = String::from(
        "# Access log\n\n\
         One line for each request, refused ones too. `logging.access` says where lines go and what they look like.\n\n\
         A worker never waits for the log: lines that cannot be written as fast as they come are dropped and counted in\n\
         `maitred_access_log_dropped_total`. Whatever a client sends, its request is one line.\n\n\
         ## `format = \"json\"`\n\n\
         One object a line. The order of its fields does not change; what is unknown is null. Values that a client chose\n\
         are cut off after 8 KiB, which `…` shows; what is not UTF-8 becomes U+FFFD.\n\n\
         | Field | Type | Meaning |\n|---|---|---|\n",
    );
    for (name, kind, meaning) in FIELDS {
        line(&mut page, &format!("| `{name}` | {kind} | {meaning} |"));
    }
    page.push_str(
        "\nA reserved field is always null in this release.\n\n\
         An attempt in `tries` is an object with these fields:\n\n\
         | Field | Type | Meaning |\n|---|---|---|\n",
    );
    for (name, kind, meaning) in TRY_FIELDS {
        line(&mut page, &format!("| `{name}` | {kind} | {meaning} |"));
    }
    page.push_str(
        "\n\
         ## `format = \"combined\"`\n\n\
         Apache's combined log format, which most tools read. Quotes, controls and bytes above 0x7E are escaped as Apache\n\
         escapes them.\n\n\
         ```text\n\
         203.0.113.7 - - [21/Nov/2026:21:45:03 +0000] \"GET /products/7 HTTP/2.0\" 200 1834 \"-\" \"curl/8.5\"\n\
         ```\n\n\
         ## Rotation\n\n\
         Move the file away, then send the process the signal USR1: it opens the file again under its name.\n",
    );
    page
}

fn line(page: &mut String, text: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(page, "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_label_is_explained() {
        for label in ROWS.iter().flat_map(|row| row.labels) {
            assert!(LABELS.iter().any(|(known, _)| known == label), "{label}");
        }
    }

    #[test]
    fn pages_are_tables_without_holes() {
        for page in [metrics_page(), reasons_page(), access_log_page()] {
            for row in page.lines().filter(|line| line.starts_with('|')) {
                assert!(row.ends_with('|') && !row.contains("|  |"), "{row}");
            }
            assert!(page.ends_with('\n'));
        }
        assert!(metrics_page().contains("`process_open_fds`"));
        assert_eq!(reasons_page().matches("\n| `").count(), Reason::ALL.len());
    }
}
