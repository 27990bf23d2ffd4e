//! From limits as written to limits as run.

use std::path::Path;

use document::{At, Code, Diagnostic, Followed, Followers, OneOrMany, Report, Size, Toggle};
use filter::networks::{self, Networks};

use crate::{
    Access, Addresses, Config, Ip,
    addresses::{List, read},
};

/// The largest field block that a listener reads at all (`listen::MAX_HEADER`).
const LARGEST_HEADER: Size = Size::kib(256);

/// The longest target: positions in a path are kept in 16 bits.
const LONGEST_URL: Size = Size::kib(63);

impl Access {
    /// Compiles the limits of the route at `at`. `None` when anything is wrong.
    pub fn compile(config: &Config, at: &At, report: &mut Report) -> Option<Self> {
        let max_body = match config.max_body {
            None => Some(Size::mib(10).0),
            Some(Toggle::On(Size(bytes))) => Some(bytes),
            Some(Toggle::Off) => None,
        };
        let header = config.max_header.unwrap_or(Size::kib(64));
        let max_header = within(header, LARGEST_HEADER, "max_header", at, report);
        let url = config.max_url.unwrap_or(Size::kib(8));
        let max_url = within(url, LONGEST_URL, "max_url", at, report);
        Some(Self { max_body, max_header: max_header?, max_url: max_url? })
    }
}

/// A limit of at least one byte and at most what can be read at all.
fn within(size: Size, most: Size, key: &str, at: &At, report: &mut Report) -> Option<usize> {
    if (1..=most.0).contains(&size.0) {
        return usize::try_from(size.0).ok();
    }
    let label = if size.0 == 0 { "no request is that small".into() } else { format!("at most \"{most}\" can be read") };
    report.push(
        Diagnostic::new(Code::E0103, format!("`{key}` cannot be {size}"))
            .label(at.key(key), label)
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
