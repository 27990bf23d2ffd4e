//! From limits as written to limits as run.

use std::{path::Path, sync::OnceLock};

use document::{At, Code, Diagnostic, Followed, Followers, OneOrMany, Report, Size, Toggle};
use filter::{
    Mode,
    networks::{self, Networks},
};

use crate::{
    Access, Addresses, Config, Databases, Geo, GeoConfig, Ip, Section, SizeLimit,
    access::Most,
    addresses::{List, read},
    content::Kinds,
    geo::{Database, Knows, Places},
};

/// The largest field block that a listener reads at all (`listen::MAX_HEADER`).
const LARGEST_HEADER: Size = Size::kib(256);

/// The longest target: positions in a path are kept in 16 bits.
pub(crate) const LONGEST_URL: Size = Size::kib(63);

impl Access {
    /// Compiles the limits of the route at `at`. `None` when anything is wrong.
    pub fn compile(config: &Config, at: &At, report: &mut Report) -> Option<Self> {
        let max_body = match config.max_body {
            None => Some(Size::mib(10).into()),
            Some(Toggle::On(limit)) => Some(limit),
            Some(Toggle::Off) => None,
        };
        let max_body = max_body.map(|SizeLimit { size, mode }| Most { most: size.0, mode });
        let header = config.max_header.unwrap_or(Size::kib(64).into());
        let max_header = within(header, LARGEST_HEADER, "max_header", at, report);
        let url = config.max_url.unwrap_or(Size::kib(8).into());
        let max_url = within(url, LONGEST_URL, "max_url", at, report);
        let kinds = match &config.content_type {
            Some(Toggle::On(written)) => Some(Kinds::compile(written, &at.key("content_type"), report)?),
            _ => None,
        };
        let (max_header, max_url) = (max_header?, max_url?);
        let modes = [max_body.map(|most| most.mode), Some(max_header.mode), Some(max_url.mode)];
        let has_shadow =
            modes.into_iter().chain([kinds.as_ref().map(Kinds::mode)]).any(|mode| mode == Some(Mode::Shadow));
        Some(Self { max_body, max_header, max_url, kinds, has_shadow })
    }
}

/// A limit of at least one byte and at most what can be read at all.
fn within(limit: SizeLimit, most: Size, key: &str, at: &At, report: &mut Report) -> Option<Most> {
    let SizeLimit { size, mode } = limit;
    if (1..=most.0).contains(&size.0) {
        return Some(Most { most: size.0, mode });
    }
    let label = if size.0 == 0 { "no request is that small".into() } else { format!("at most \"{most}\" can be read") };
    report.push(
        Diagnostic::new(Code::E0103, format!("`{key}` cannot be {size}"))
            .label(at.key(key).key("size"), label)
            .help(format!("write a size from \"1B\" to \"{most}\", or delete the key")),
    );
    None
}

impl Addresses {
    /// Compiles the lists of the route at `at`; `Some(None)` where it has none, `None` when anything is wrong.
    pub fn compile(config: &Config, at: &At, followers: &Followers, report: &mut Report) -> Option<Option<Self>> {
        let Some(Toggle::On(Ip { allow, deny, mode })) = &config.ip else { return Some(None) };
        let (at, errors) = (at.key("ip"), report.errors());
        if allow.is_none() && deny.is_none() {
            let nothing = Diagnostic::new(Code::E0106, "`ip` says neither who may enter nor who may not");
            report.push(
                nothing
                    .label(&at, "`allow` and `deny` are missing")
                    .help("write for example `{ allow = \"10.0.0.0/8\" }`"),
            );
        }
        let allow = allow.as_ref().map(|allow| list(allow, &at.key("allow"), followers, report));
        let deny = deny.as_ref().map(|deny| list(deny, &at.key("deny"), followers, report)).unwrap_or_default();
        (report.errors() == errors).then_some(Some(Self { mode: mode.unwrap_or_default(), allow, deny }))
    }
}

fn list(entries: &OneOrMany<String>, at: &At, followers: &Followers, report: &mut Report) -> List {
    let (mut written, mut files) = (Vec::new(), Vec::new());
    for (index, text) in entries.iter().enumerate() {
        let place = at.index(index);
        if ["/", "./", "../"].iter().any(|start| text.starts_with(start)) || text.ends_with(".txt") {
            document::guard(Path::new(text), &place, report);
            match Followed::open(Path::new(text), Box::new(read), followers) {
                Ok(file) => files.push(file),
                Err(why) => {
                    report.add(Code::E0501, &place, format!("the list of addresses `{text}` cannot be used"), why)
                }
            }
            continue;
        }
        match networks::parse(text) {
            Ok(network) => written.push(network),
            Err(meant) => {
                let wrong = Diagnostic::new(Code::E0108, format!("{text:?} is neither an address nor a network"));
                let wrong = wrong.label(&place, "expected for example \"10.0.0.0/8\" or \"/etc/maitred/deny.txt\"");
                report.push(match meant {
                    Some(meant) => wrong.help("did you mean").patch(&place, format!("\"{meant}\"")),
                    None => wrong,
                });
            }
        }
    }
    List { written: Networks::new(written), files: files.into() }
}

impl Databases {
    /// Opens the databases of the section at `at`; `Some(None)` where there are none, `None` when anything is wrong.
    pub fn compile(section: &Section, at: &At, followers: &Followers, report: &mut Report) -> Option<Option<Self>> {
        let Some(written) = &section.geoip else { return Some(None) };
        let mut databases = Vec::new();
        for (index, path) in written.iter().enumerate() {
            let place = at.key("geoip").index(index);
            document::guard(Path::new(path), &place, report);
            let first = OnceLock::new();
            let read = move |bytes: &[u8]| Database::read(bytes, &first);
            match Followed::open_bytes(Path::new(path), Box::new(read), followers) {
                Ok(database) => databases.push(database),
                Err(why) => report.add(Code::E0501, &place, format!("the database `{path}` cannot be used"), why),
            }
        }
        (databases.len() == written.len()).then(|| Some(Self(databases.into())))
    }
}

impl Geo {
    /// Compiles `geo` of the route at `at`; `Some(None)` where it has none, `None` when anything is wrong. `databases` are
    /// `None` where the configuration names none, and `Some(None)` where they are wrong, which was reported.
    pub fn compile(
        config: &Config,
        databases: Option<Option<&Databases>>,
        at: &At,
        report: &mut Report,
    ) -> Option<Option<Self>> {
        let Some(Toggle::On(GeoConfig { allow, deny, mode })) = &config.geo else { return Some(None) };
        let (at, errors) = (at.key("geo"), report.errors());
        if allow.is_none() && deny.is_none() {
            let nothing = Diagnostic::new(Code::E0106, "`geo` says neither who may enter nor who may not");
            report.push(
                nothing.label(&at, "`allow` and `deny` are missing").help("write for example `{ deny = [\"KP\"] }`"),
            );
        }
        let allow = allow.as_ref().map(|allow| places(allow, &at.key("allow"), report));
        let deny = deny.as_ref().map(|deny| places(deny, &at.key("deny"), report)).unwrap_or_default();
        let asks = allow.iter().chain([&deny]).fold(Knows::default(), |asks, places| Knows {
            countries: asks.countries || !places.countries.is_empty() || places.unknown,
            networks: asks.networks || !places.networks.is_empty(),
        });
        let Some(databases) = databases else {
            report.push(
                Diagnostic::new(Code::E0106, "`geo` needs a database of addresses")
                    .label(at.name(), "nobody knows where an address is")
                    .help("name one: `[access]` `geoip = \"/var/lib/GeoIP/GeoLite2-Country.mmdb\"`"),
            );
            return None;
        };
        let knows = databases?.know();
        for (asked, known, what) in
            [(asks.countries, knows.countries, "countries"), (asks.networks, knows.networks, "networks (AS numbers)")]
        {
            if asked && !known {
                // Such an entry would never hold, and a list of who may not enter would be open.
                let message = format!("no database of `[access]` `geoip` knows {what}");
                report.add(Code::E0501, &at.name(), message, format!("this route asks for {what}"));
            }
        }
        (report.errors() == errors).then_some(())?;
        let databases = databases?.clone();
        Some(Some(Self { mode: mode.unwrap_or_default(), allow, deny, databases, asks }))
    }
}

fn places(entries: &OneOrMany<String>, at: &At, report: &mut Report) -> Places {
    let (mut countries, mut networks, mut unknown) = (Vec::new(), Vec::new(), false);
    for (index, text) in entries.iter().enumerate() {
        let place = at.index(index);
        let number =
            text.strip_prefix("AS").filter(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()));
        match (number.map(str::parse), <[u8; 2]>::try_from(text.as_bytes())) {
            _ if text == "unknown" => unknown = true,
            (Some(Ok(number)), _) => networks.push(number),
            (None, Ok(country)) if country.iter().all(u8::is_ascii_uppercase) => countries.push(country),
            (None, Ok(country)) if country.iter().all(u8::is_ascii_lowercase) => report.push(
                Diagnostic::new(Code::E0108, format!("{text:?} is not a country"))
                    .label(&place, "countries are written in capitals (ISO 3166-1)")
                    .help("did you mean")
                    .patch(&place, format!("{:?}", text.to_ascii_uppercase())),
            ),
            _ => {
                let label = "expected a country such as \"DE\", a network such as \"AS64496\", or \"unknown\"";
                report.add(Code::E0108, &place, format!("{text:?} is neither a country nor a network"), label);
            }
        }
    }
    countries.sort_unstable();
    networks.sort_unstable();
    Places { countries: countries.into(), networks: networks.into(), unknown }
}
