//! From the cache as written to the cache as run.

use std::{path::PathBuf, sync::Arc};

use document::{At, Code, Diagnostic, Duration, OneOrMany, Report, Size};
use filter::networks::{self, Networks};
use http::HeaderName;
use xxhash_rust::xxh3::xxh3_64;

use crate::{
    apart::Apart,
    config::{CacheConfig, DiskConfig, ZoneConfig},
    key::Part,
    policy::Policy,
};

/// What all kept answers may take where nothing is written.
const MEMORY: Size = Size::mib(128);

/// Less holds nothing.
const LEAST_MEMORY: Size = Size::mib(1);

/// The largest content where nothing is written.
const MAX_OBJECT: Size = Size::mib(8);

/// What one answer may take of a tier.
pub(crate) const SHARE: u64 = 4;

/// The least that is worth a folder.
const LEAST_DISK: Size = Size::mib(16);

/// What all kept answers may take, and where.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// How many bytes of memory.
    pub memory: u64,
    /// Where on disk.
    pub disk: Option<DiskSettings>,
    /// Whether in Redis as well.
    pub redis: bool,
}

/// A folder, and how many bytes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskSettings {
    /// The folder.
    pub path: PathBuf,
    /// How many bytes.
    pub size: u64,
}

impl ZoneConfig {
    /// What the zone may hold; compiles the section at `at`. `None` when anything is wrong. `has_redis` says whether there
    /// is a Redis.
    pub fn compile(&self, has_redis: bool, at: &At, report: &mut Report) -> Option<Settings> {
        let errors = report.errors();
        let memory = self.memory.unwrap_or(MEMORY);
        if memory < LEAST_MEMORY {
            let message = format!("`memory` cannot be {memory}");
            report.push(
                Diagnostic::new(Code::E0103, message)
                    .label(at.key("memory"), format!("at least {LEAST_MEMORY}"))
                    .help("to keep nothing at all, leave `cache` out of every route"),
            );
        }
        let redis = self.redis == Some(true);
        if redis && !has_redis {
            report.push(
                Diagnostic::new(Code::E0201, "answers are to be kept in Redis, and there is no `[redis]`")
                    .label(at.key("redis"), "which one?")
                    .help("add `[redis]` with `url = \"redis://localhost:6379\"`"),
            );
        }
        let disk = self.disk.as_ref().map(|disk| disk.compile(&at.key("disk"), report));
        let disk = match disk {
            None => None,
            Some(disk) => Some(disk?),
        };
        (report.errors() == errors).then_some(Settings { memory: memory.0, disk, redis })
    }
}

impl DiskConfig {
    fn compile(&self, at: &At, report: &mut Report) -> Option<DiskSettings> {
        let (Some(path), Some(size)) = (&self.path, self.size) else {
            let (lacks, example) = match &self.path {
                None => ("path", "path = \"/var/cache/maitred\""),
                Some(_) => ("size", "size = \"10GiB\""),
            };
            report.push(
                Diagnostic::new(Code::E0106, format!("`disk` needs `{lacks}`"))
                    .label(at, format!("`{lacks}` is missing"))
                    .help(format!("add `{example}`")),
            );
            return None;
        };
        if !path.starts_with('/') {
            report.push(
                Diagnostic::new(Code::E0108, format!("`{path}` does not say where it is"))
                    .label(at.key("path"), "expected a path that begins with `/`")
                    .help("write for example `path = \"/var/cache/maitred\"`"),
            );
        }
        if size < LEAST_DISK {
            report.push(
                Diagnostic::new(Code::E0103, format!("`size` cannot be {size}"))
                    .label(at.key("size"), format!("at least {LEAST_DISK}"))
                    .help("to keep nothing on disk, delete `disk`"),
            );
        }
        Some(DiskSettings { path: path.into(), size: size.0 })
    }
}

impl Policy {
    /// Compiles the `cache` at `at` of the route `route`, which leads to `origin`. `room` is what the zone may hold, where that
    /// is known; `compresses` says whether the route compresses by itself. `None` when anything is wrong.
    pub fn compile(
        config: &CacheConfig,
        route: &str,
        origin: &str,
        room: Option<&Settings>,
        compresses: bool,
        at: &At,
        report: &mut Report,
    ) -> Option<Self> {
        let errors = report.errors();
        let table = &config.table;
        let millis =
            |duration: Option<Duration>| duration.map_or(0, |it| u64::try_from(it.0.as_millis()).unwrap_or(u64::MAX));
        let key = match &table.key {
            None => vec![Part::Scheme, Part::Host, Part::Path, Part::Query],
            Some(written) => key(written, &at.key("key"), report),
        };
        if table.replace == Some(true) && table.ttl.is_none() && table.status.is_none() {
            report.push(
                Diagnostic::new(Code::E0106, "`override` has nothing to put in the place of what the origin says")
                    .label(at.key("override"), "neither `ttl` nor `status` is given")
                    .help("add `ttl = \"5m\"`, or delete `override`"),
            );
        }
        let vary = names(table.vary.as_ref(), &at.key("vary"), report);
        let policy = Self {
            route: route.into(),
            ttl: table.ttl.map(|ttl| millis(Some(ttl))),
            replace: table.replace == Some(true),
            stale: millis(table.stale),
            stale_if_error: millis(table.stale_if_error),
            status: statuses(table.status.as_ref(), &at.key("status"), report),
            apart: Arc::new(Apart::of(&key)),
            origin: sum(origin, &key, &vary),
            key: key.into(),
            vary,
            untold: Box::default(),
            bypass: bypass(table.bypass.as_ref(), &at.key("bypass"), report).into(),
            targeted: targets(table.targeted.as_ref(), &at.key("targeted"), report),
            tags: names(table.tags.as_ref(), &at.key("tags"), report),
            max_object: max_object(table.max_object, room, &at.key("max_object"), report),
            purge: table.purge.as_ref().map(|written| purgers(written, &at.key("purge"), report)),
            plain: compresses,
        };
        (report.errors() == errors).then_some(policy)
    }
}

/// A number for what the origin is asked, and for the names of what tells its answers apart: a key has the values alone, which
/// mean something else where they are values of something else.
fn sum(origin: &str, key: &[Part], vary: &[HeaderName]) -> u64 {
    let key: Vec<String> = key.iter().map(ToString::to_string).collect();
    let vary: Vec<&str> = vary.iter().map(HeaderName::as_str).collect();
    xxh3_64(format!("{:?}", (origin, key, vary)).as_bytes())
}

fn purgers(written: &OneOrMany<String>, at: &At, report: &mut Report) -> Networks {
    let mut networks = Vec::new();
    for (place, text) in placed(written, at) {
        match networks::parse(text) {
            Ok(network) => networks.push(network),
            Err(meant) => report.push(
                Diagnostic::new(Code::E0108, format!("`{text}` is no network"))
                    .label(&place, "expected an address or a network")
                    .help(meant.map_or("write for example `\"10.0.0.0/8\"`".to_owned(), |meant| {
                        format!("write `\"{meant}\"`")
                    })),
            ),
        }
    }
    Networks::new(networks)
}

fn max_object(written: Option<Size>, room: Option<&Settings>, at: &At, report: &mut Report) -> u64 {
    let memory = room.map_or(u64::MAX, |room| room.memory);
    let disk = room.and_then(|room| room.disk.as_ref()).map(|disk| disk.size);
    let (tier, most) = match disk {
        Some(disk) if disk > memory => ("space on disk", disk / SHARE),
        _ => ("memory", memory / SHARE),
    };
    match written {
        None => MAX_OBJECT.0.min(most),
        Some(size) if size.0 > most => {
            let needed = Size(size.0.saturating_mul(SHARE));
            let help = match disk {
                Some(_) => format!("write `size = \"{needed}\"` or more in `disk` of `[cache]`"),
                None => {
                    format!("write `memory = \"{needed}\"` or more under `[cache]`, or keep answers on `disk` as well")
                }
            };
            report.push(
                Diagnostic::new(Code::E0103, format!("`max_object` cannot be {size}"))
                    .label(at, format!("a quarter of the cache's {tier} is {}", Size(most)))
                    .help(help),
            );
            most
        }
        Some(size) => size.0,
    }
}

fn key(written: &OneOrMany<String>, at: &At, report: &mut Report) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    for (place, text) in placed(written, at) {
        match part(text) {
            Some(part) if parts.contains(&part) => report.push(
                Diagnostic::new(Code::E0108, format!("`{text}` stands in the key twice"))
                    .label(&place, "the second time")
                    .help("delete it"),
            ),
            Some(part) => parts.push(part),
            None => report.push(unknown_part(
                text,
                &place,
                "\"scheme\", \"host\", \"path\", \"query\", \"query:*\", \"query:!NAME\", \"query:NAME\", \"header:NAME\" or \
                 \"cookie:NAME\"",
            )),
        }
    }
    if !parts.contains(&Part::Path) && parts.len() == written.len() {
        report.push(
            Diagnostic::new(Code::E0108, "a key without the path gives the answer for one page to another")
                .label(at, "`path` is missing")
                .help("add \"path\""),
        );
    }
    one_query(&mut parts, at, report);
    parts
}

/// All that is said of the whole query is one part.
fn one_query(parts: &mut Vec<Part>, at: &At, report: &mut Report) {
    let Some(first) = parts.iter().position(|part| matches!(part, Part::Sorted(_))) else { return };
    if parts.iter().any(|part| matches!(part, Part::Query | Part::Parameter(_))) {
        report.push(
            Diagnostic::new(Code::E0107, "all parameters of the query and some of them cannot both tell answers apart")
                .label(at, "`query:*` or `query:!NAME` stands beside `query` or `query:NAME`")
                .help("delete one or the other"),
        );
    }
    let names = parts.iter().filter_map(|part| match part {
        Part::Sorted(names) => Some(names),
        _ => None,
    });
    let without = names.flatten().cloned().collect();
    parts.retain(|part| !matches!(part, Part::Sorted(_)));
    parts.insert(first, Part::Sorted(without));
}

fn bypass(written: Option<&OneOrMany<String>>, at: &At, report: &mut Report) -> Vec<Part> {
    let mut parts = Vec::new();
    for (place, text) in written.into_iter().flat_map(|written| placed(written, at)) {
        match part(text) {
            Some(part @ (Part::Parameter(_) | Part::Header(_) | Part::Cookie(_))) => parts.push(part),
            _ => report.push(unknown_part(text, &place, "\"cookie:NAME\", \"header:NAME\" or \"query:NAME\"")),
        }
    }
    parts
}

fn unknown_part(text: &str, at: &At, expected: &str) -> Diagnostic {
    Diagnostic::new(Code::E0108, format!("`{text}` is not a part of a request"))
        .label(at, "not known here")
        .help(format!("write {expected}"))
}

fn part(text: &str) -> Option<Part> {
    Some(match text {
        "scheme" => Part::Scheme,
        "host" => Part::Host,
        "path" => Part::Path,
        "query" => Part::Query,
        _ => match text.split_once(':')? {
            ("query", "*") => Part::Sorted(Box::default()),
            ("query", name) if name.starts_with('!') => Part::Sorted([named(&name[1..])?.into()].into()),
            ("query", name) => Part::Parameter(named(name)?.into()),
            ("cookie", name) => Part::Cookie(named(name)?.into()),
            ("header", name) => Part::Header(HeaderName::from_bytes(name.as_bytes()).ok()?),
            _ => return None,
        },
    })
}

fn names(written: Option<&OneOrMany<String>>, at: &At, report: &mut Report) -> Box<[HeaderName]> {
    let mut names = Vec::new();
    for (place, text) in written.into_iter().flat_map(|written| placed(written, at)) {
        match HeaderName::from_bytes(text.as_bytes()) {
            Ok(name) => names.push(name),
            Err(_) => report.push(
                Diagnostic::new(Code::E0108, format!("`{text}` is not a header name"))
                    .label(&place, "expected a name such as \"Accept-Language\"")
                    .help("a header name is made of letters, digits and the characters ! # $ % & ' * + - . ^ _ ` | ~"),
            ),
        }
    }
    names.into()
}

/// The fields of RFC 9213 that count, in their order.
fn targets(written: Option<&OneOrMany<String>>, at: &At, report: &mut Report) -> Box<[HeaderName]> {
    let Some(written) = written else { return [HeaderName::from_static("cdn-cache-control")].into() };
    let mut seen = Vec::new();
    for (place, text) in placed(written, at) {
        let name = text.to_ascii_lowercase();
        if matches!(&*name, "cache-control" | "expires") {
            report.push(
                Diagnostic::new(Code::E0108, format!("`{text}` is for all caches"))
                    .label(&place, "it counts where none of these fields does")
                    .help("delete it, or write for example \"CDN-Cache-Control\""),
            );
        } else if seen.contains(&name) {
            report.push(
                Diagnostic::new(Code::E0108, format!("`{text}` stands in the list twice"))
                    .label(&place, "the second time")
                    .help("delete it"),
            );
        }
        seen.push(name);
    }
    names(Some(written), at, report)
}

fn statuses(
    written: Option<&std::collections::BTreeMap<String, Duration>>,
    at: &At,
    report: &mut Report,
) -> Box<[(u16, u64)]> {
    let mut statuses = Vec::new();
    for (text, ttl) in written.into_iter().flatten() {
        let class =
            text.strip_suffix("xx").and_then(|class| class.parse::<u16>().ok()).filter(|class| (2..=5).contains(class));
        let code = text.parse::<u16>().ok().filter(|code| (200..600).contains(code) && text.len() == 3);
        match class.or(code) {
            Some(206 | 304) => report.push(
                Diagnostic::new(Code::E0108, format!("answers with {text} are never kept"))
                    .label(
                        at.key(text).name(),
                        if text == "206" { "a part" } else { "says something of another answer" },
                    )
                    .help("delete it"),
            ),
            Some(code) => statuses.push((code, u64::try_from(ttl.0.as_millis()).unwrap_or(u64::MAX))),
            None => report.push(
                Diagnostic::new(Code::E0108, format!("`{text}` is not a status"))
                    .label(at.key(text).name(), "expected a status from 200 to 599, or a class")
                    .help("write for example `404 = \"10s\"` or `5xx = \"1s\"`"),
            ),
        }
    }
    statuses.into()
}

fn named(name: &str) -> Option<&str> {
    (!name.is_empty() && !name.contains([' ', '=', ';', '&', ','])).then_some(name)
}

/// Each with its place; one value stands for a list of one, and has the place of the key.
fn placed<'a>(written: &'a OneOrMany<String>, at: &'a At) -> impl Iterator<Item = (At, &'a str)> {
    let alone = written.len() == 1;
    written.iter().enumerate().map(move |(index, text)| {
        let place = if alone { at.clone() } else { at.index(index) };
        (place, text.as_str())
    })
}
