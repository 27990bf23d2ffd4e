//! How backends are asked whether they are well, and when they are out of use.

use std::{ops::RangeInclusive, sync::Arc, time::Duration};

use document::{At, Code, Diagnostic, Report, Toggle};
use http::HeaderValue;
use proxy_protocol::Version;

use super::{Entry, positive, share::share};
use crate::{
    breaker,
    config::{self, Config},
    outlier,
    probe::{Check, Question},
    rules::Panic,
};

const INTERVAL: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_secs(2);
const HEALTHY: u32 = 2;
const UNHEALTHY: u32 = 3;
/// What counts as a good answer.
const STATUSES: RangeInclusive<u16> = 200..=399;

const ERRORS: u32 = 5;
const EJECT_FOR: Duration = Duration::from_secs(30);
const MAX_EJECTED: f32 = 0.5;

/// As Envoy has them.
const DEVIATIONS: f32 = 1.9;
const REQUESTS: u32 = 100;
const BACKENDS: u32 = 5;
const COMPARE: Duration = Duration::from_secs(10);
/// Nothing is further than this from the mean of a few.
const MOST_DEVIATIONS: f32 = 10.0;

const FAILURES: u32 = 5;
const WITHIN: Duration = Duration::from_secs(10);
const OPEN_FOR: Duration = Duration::from_secs(30);

/// How many answers in a row may be asked for.
const ROW: RangeInclusive<u32> = 1..=100;
/// A gRPC service's name is sent with its length in one byte.
const LONGEST_SERVICE: usize = 120;

pub(super) fn check(
    config: &Config,
    entries: &[Entry],
    announce: Option<Version>,
    at: &At,
    report: &mut Report,
) -> Option<Arc<Check>> {
    let written = config.health_check.as_ref()?;
    let key = |key: &str| if written.is_table { at.key(key) } else { at.clone() };
    let row = |count: Option<u32>, default: u32, at: At, report: &mut Report| {
        let count = count.unwrap_or(default);
        if !ROW.contains(&count) {
            let text = format!("`{}` is a number from {} to {}", at.last(), ROW.start(), ROW.end());
            report.add(Code::E0103, &at, text, "out of range");
        }
        count
    };
    let question = question(written, entries, at, report);
    let check = Check {
        interval: positive(written.interval, INTERVAL, key("interval"), report),
        timeout: positive(written.timeout, TIMEOUT, key("timeout"), report),
        healthy: row(written.healthy, HEALTHY, key("healthy"), report),
        unhealthy: row(written.unhealthy, UNHEALTHY, key("unhealthy"), report),
        announce,
        question: question?,
    };
    Some(Arc::new(check))
}

fn question(written: &config::HealthCheck, entries: &[Entry], at: &At, report: &mut Report) -> Option<Question> {
    let kind = written.kind.as_deref().unwrap_or("http");
    let kind_at = if written.is_table && written.kind.is_some() { at.key("type") } else { at.clone() };
    refuse_others(written, kind, at, report);
    match kind {
        "tcp" => Some(Question::Tcp),
        "http" => http(written, at, report),
        "grpc" => {
            if let Some(entry) = entries.iter().find(|entry| !entry.target().protocol.is_h2()) {
                report.push(
                    Diagnostic::new(Code::E0107, "gRPC is spoken over HTTP/2 only")
                        .label(&kind_at, "asks by gRPC")
                        .label(&entry.at, "is not spoken to in HTTP/2")
                        .help("write `h2c://` or `h2://` in the backend's URL, or ask by `http` or `tcp`"),
                );
            }
            let service = written.service.as_deref().unwrap_or("");
            if service.len() > LONGEST_SERVICE {
                let text = format!("a service's name has at most {LONGEST_SERVICE} bytes");
                report.add(Code::E0103, &at.key("service"), text, format!("{} bytes", service.len()));
            }
            Some(Question::Grpc { service: service.into() })
        }
        other => {
            let text = format!("`{other}` is nothing to ask by");
            report.add(Code::E0108, &kind_at, text, "expected \"http\", \"tcp\" or \"grpc\"");
            None
        }
    }
}

/// Keys that say nothing to a question of this kind.
fn refuse_others(written: &config::HealthCheck, kind: &str, at: &At, report: &mut Report) {
    let keys = [
        ("path", written.path.is_some(), "http"),
        ("host", written.host.is_some(), "http"),
        ("status", written.status.is_some(), "http"),
        ("body", written.body.is_some(), "http"),
        ("service", written.service.is_some(), "grpc"),
    ];
    for (key, _, wants) in keys.into_iter().filter(|(_, given, wants)| *given && *wants != kind) {
        report.push(
            Diagnostic::new(Code::E0107, format!("`{key}` says nothing to a health check by `{kind}`"))
                .label(at.key(key).name(), format!("is for `type = \"{wants}\"`"))
                .help(format!("delete `{key}`, or write `type = \"{wants}\"`")),
        );
    }
}

fn http(written: &config::HealthCheck, at: &At, report: &mut Report) -> Option<Question> {
    let Some(path) = written.path.as_deref() else {
        report.push(
            Diagnostic::new(Code::E0106, "the health check has no `path`")
                .label(at, "what should be asked for?")
                .help("add `path = \"/health\"`, or write `health_check = \"tcp\"`"),
        );
        return None;
    };
    let path_at = if written.is_table { at.key("path") } else { at.clone() };
    let plain = path.starts_with('/') && path.bytes().all(|byte| (0x21..0x7F).contains(&byte) && byte != b'#');
    if !plain {
        let text = format!("`{path}` cannot be asked for");
        report.add(Code::E0108, &path_at, text, "a path begins with a slash and has no spaces");
    }
    let host = written.host.as_deref().map(|host| {
        let value = HeaderValue::from_str(host).ok().filter(|_| !host.is_empty() && !host.contains([' ', '/']));
        if value.is_none() {
            report.add(Code::E0108, &at.key("host"), format!("`{host}` is not a host"), "expected a host name");
        }
        value
    });
    let statuses = match &written.status {
        None => vec![STATUSES],
        Some(list) => {
            let of = |(index, text): (usize, &String)| statuses(text, &at.key("status").index(index), report);
            list.iter().enumerate().filter_map(of).collect()
        }
    };
    Some(Question::Http {
        path: path.into(),
        host: host.flatten(),
        statuses,
        body: written.body.as_deref().map(Into::into),
    })
}

/// `2xx`, `200`.
fn statuses(text: &str, at: &At, report: &mut Report) -> Option<RangeInclusive<u16>> {
    let class =
        text.strip_suffix("xx").and_then(|class| class.parse::<u16>().ok()).filter(|class| (1..=5).contains(class));
    let found = match (class, text.parse::<u16>()) {
        (Some(class), _) => Some(class * 100..=class * 100 + 99),
        (None, Ok(status @ 100..=599)) => Some(status..=status),
        _ => None,
    };
    if found.is_none() {
        report.add(Code::E0108, at, format!("`{text}` is no status"), "expected a status such as \"200\", or \"2xx\"");
    }
    found
}

/// What is written, or what holds where nothing is; nothing where it is switched off.
fn unless_off<'a, T>(written: Option<&'a Toggle<T>>, default: &'a T) -> Option<&'a T> {
    match written {
        Some(Toggle::Off) => None,
        Some(Toggle::On(written)) => Some(written),
        None => Some(default),
    }
}

pub(super) fn outlier(
    written: Option<&Toggle<config::Outlier>>,
    at: &At,
    report: &mut Report,
) -> Option<outlier::Rules> {
    let empty = config::Outlier::default();
    let written = unless_off(written, &empty)?;
    let max_ejected = written.max_ejected.as_deref();
    Some(outlier::Rules {
        consecutive_errors: at_least_one(written.consecutive_errors, ERRORS, &at.key("consecutive_errors"), report),
        eject_for: positive(written.eject_for, EJECT_FOR, at.key("eject_for"), report),
        max_ejected: max_ejected.map_or(Some(MAX_EJECTED), |text| share(text, &at.key("max_ejected"), report))?,
        success_rate: success_rate(written.success_rate.as_ref(), &at.key("success_rate"), report),
    })
}

fn success_rate(
    written: Option<&Toggle<config::SuccessRate>>,
    at: &At,
    report: &mut Report,
) -> Option<outlier::SuccessRate> {
    let empty = config::SuccessRate::default();
    let written = unless_off(written, &empty)?;
    let deviations = written.deviations.unwrap_or(DEVIATIONS);
    if !(deviations > 0.0 && deviations <= MOST_DEVIATIONS) {
        let text = format!("`deviations` is a number above 0, and at most {MOST_DEVIATIONS}");
        report.add(Code::E0103, &at.key("deviations"), text, "all would be out, or none");
    }
    Some(outlier::SuccessRate {
        deviations,
        requests: at_least_one(written.requests, REQUESTS, &at.key("requests"), report),
        backends: at_least_one(written.backends, BACKENDS, &at.key("backends"), report),
        interval: positive(written.interval, COMPARE, at.key("interval"), report),
    })
}

pub(super) fn breaker(
    written: Option<&config::CircuitBreaker>,
    at: &At,
    report: &mut Report,
) -> Option<breaker::Rules> {
    written.map(|written| breaker::Rules {
        failures: at_least_one(written.failures, FAILURES, &at.key("failures"), report),
        within: positive(written.within, WITHIN, at.key("within"), report),
        open_for: positive(written.open_for, OPEN_FOR, at.key("open_for"), report),
    })
}

pub(super) fn panic(written: Option<&str>, at: &At, report: &mut Report) -> Panic {
    match written.and_then(|text| share(text, at, report)) {
        None => Panic::NoneHealthy,
        Some(0.0) => Panic::Never,
        Some(share) => Panic::Below(share),
    }
}

pub(super) fn at_least_one(written: Option<u32>, default: u32, at: &At, report: &mut Report) -> u32 {
    let count = written.unwrap_or(default);
    if count == 0 {
        report.add(Code::E0103, at, format!("`{}` is at least 1", at.last()), "nothing would ever be used");
    }
    count
}
