//! A test compiled from its configuration, with every mistake reported.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
};

use document::{At, Code, Diagnostic, OneOrMany, Report, nearest};
use filter::Reason;
use http::{HeaderName, HeaderValue};

use crate::{
    Config, Expect, Field, Request,
    text::{Test, Text},
};

/// What the rest of the configuration defines.
#[derive(Debug, Clone, Copy)]
pub struct Known<'k> {
    /// The names of the routes.
    pub routes: &'k [&'k str],
    /// The names of the upstreams, each with the URLs of its backends.
    pub upstreams: &'k [(&'k str, Vec<&'k str>)],
    /// The names of the listeners.
    pub listeners: &'k [&'k str],
}

/// A test, ready to be run.
#[derive(Debug)]
pub struct Trial {
    /// Its name.
    pub name: Box<str>,
    /// The requests that are tried, each with its place.
    pub requests: Vec<(At, Request)>,
    /// Their fields.
    pub fields: Vec<(HeaderName, HeaderValue)>,
    /// Who sends them.
    pub from: IpAddr,
    /// Who calls, where that is said.
    pub user: Option<Box<str>>,
    /// The listener that they come in by, where that is said.
    pub listener: Option<Box<str>>,
    pub(crate) at: At,
    pub(crate) expect: Expected,
}

/// What has to become of the requests.
#[derive(Debug, Default)]
pub(crate) struct Expected {
    pub route: Option<Box<str>>,
    pub status: Option<u16>,
    pub reason: Option<Reason>,
    pub location: Option<Text>,
    pub upstream: Option<Box<str>>,
    pub path: Option<Text>,
    pub query: Option<Text>,
    pub host: Option<Text>,
    pub request: Vec<FieldTest>,
    pub response: Vec<FieldTest>,
}

/// What is expected of one header field.
#[derive(Debug)]
pub(crate) struct FieldTest {
    /// The name as written, which its place is found by.
    pub written: Box<str>,
    pub name: HeaderName,
    pub test: Test,
}

/// Compiles the test `name`, which stands at `at`. `None` when something is wrong.
pub fn compile(name: &str, written: &Config, at: &At, known: &Known<'_>, report: &mut Report) -> Option<Trial> {
    let errors = report.errors();
    let requests = requests(written.request.as_ref(), at, report);
    let fields = fields(written.headers.as_ref(), &at.key("headers"), report);
    let from = written.from.as_ref().map(|from| address(from, &at.key("from"), report));
    if let Some(listener) = &written.listener {
        refer("listener", listener, known.listeners, &at.key("listener"), report);
    }
    let expect = match &written.expect {
        Some(written) => expected(written, &at.key("expect"), known, report),
        None => {
            let missing = Diagnostic::new(Code::E0106, format!("test `{name}` expects nothing"));
            let missing = missing.label(at.name(), "`expect` is missing");
            report.push(missing.help("write for example `expect = \"orders\"`, the route that takes the request"));
            Expected::default()
        }
    };
    (report.errors() == errors).then_some(())?;
    Some(Trial {
        name: name.into(),
        requests,
        fields,
        user: written.r#as.as_deref().map(Into::into),
        from: from.flatten().unwrap_or(Ipv4Addr::LOCALHOST.into()),
        listener: written.listener.as_deref().map(Into::into),
        at: at.clone(),
        expect,
    })
}

impl Trial {
    /// The route that has to take the requests, where that is said.
    pub fn route(&self) -> Option<&str> {
        self.expect.route.as_deref()
    }

    /// Its place.
    pub fn at(&self) -> &At {
        &self.at
    }
}

fn requests(written: Option<&OneOrMany<String>>, at: &At, report: &mut Report) -> Vec<(At, Request)> {
    let texts = written.map(|written| &written[..]).unwrap_or_default();
    if texts.is_empty() {
        let missing = Diagnostic::new(Code::E0106, format!("test `{}` asks for nothing", at.last()));
        let missing = missing.label(at.name(), "`request` is missing");
        report.push(missing.help("write for example `request = \"GET /orders/7\"`"));
    }
    let mut requests = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        let place = at.key("request").index(index);
        match Request::parse(text) {
            Ok(request) => requests.push((place, request)),
            Err(mistake) => report.push(
                Diagnostic::new(Code::E0108, format!("`{text}` is not a request"))
                    .label(place, mistake.problem)
                    .help(mistake.help),
            ),
        }
    }
    requests
}

fn fields(
    written: Option<&BTreeMap<String, OneOrMany<String>>>,
    at: &At,
    report: &mut Report,
) -> Vec<(HeaderName, HeaderValue)> {
    let mut fields = Vec::new();
    for (name, values) in written.into_iter().flatten() {
        let place = at.key(name);
        let known = header_name(name, &place, report);
        for (index, value) in values.iter().enumerate() {
            match HeaderValue::from_str(value) {
                Ok(value) => fields.extend(known.clone().map(|name| (name, value))),
                Err(_) => {
                    let message = format!("`{name}` cannot have this value");
                    report.add(Code::E0108, &place.index(index), message, "no control characters may stand in it");
                }
            }
        }
    }
    fields
}

fn header_name(name: &str, at: &At, report: &mut Report) -> Option<HeaderName> {
    let parsed = HeaderName::from_bytes(name.as_bytes()).ok();
    if parsed.is_none() {
        report.add(Code::E0108, &at.name(), format!("`{name}` is not a header name"), "no request can have it");
    }
    parsed
}

fn address(text: &str, at: &At, report: &mut Report) -> Option<IpAddr> {
    let parsed = text.parse().ok();
    if parsed.is_none() {
        let wrong = Diagnostic::new(Code::E0108, format!("`{text}` is not an address"));
        let wrong = wrong.label(at, "expected an IPv4 or IPv6 address, without a port");
        report.push(wrong.help("write for example `from = \"203.0.113.7\"`"));
    }
    parsed
}

/// Reports a name that nothing has.
fn refer(what: &str, name: &str, known: &[&str], at: &At, report: &mut Report) -> bool {
    if known.contains(&name) {
        return true;
    }
    let unknown = Diagnostic::new(Code::E0201, format!("a test names {} that does not exist", with_article(what)));
    let unknown = unknown.label(at, format!("no {what} is named `{name}`"));
    report.push(match nearest(name, known.iter().copied()) {
        Some(near) => unknown.help(format!("did you mean `{near}`?")).patch(at, format!("{near:?}")),
        None => unknown,
    });
    false
}

fn with_article(noun: &str) -> String {
    format!("{} {noun}", if noun.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" })
}

fn expected(written: &Expect, at: &At, known: &Known<'_>, report: &mut Report) -> Expected {
    let text = |key: &str, written: &Option<String>, report: &mut Report| {
        written.as_ref().and_then(|written| Text::compile(written, &at.key(key), report))
    };
    let expected = Expected {
        location: text("location", &written.location, report),
        path: text("path", &written.path, report),
        query: text("query", &written.query, report),
        host: text("host", &written.host, report),
        route: written.route.as_deref().map(Into::into),
        status: written.status,
        reason: written.reason.as_ref().and_then(|word| reason(word, &at.key("reason"), report)),
        upstream: written.upstream.as_ref().and_then(|name| upstream(name, known, &at.key("upstream"), report)),
        request: tests(written.request.as_ref(), &at.key("request"), report),
        response: tests(written.response.as_ref(), &at.key("response"), report),
    };
    if let Some(route) = &written.route {
        refer("route", route, known.routes, &at.key("route"), report);
    }
    if let Some(status) = written.status.filter(|status| !(200..600).contains(status)) {
        let message = format!("{status} is not the status of an answer");
        report.add(Code::E0103, &at.key("status"), message, "expected 200 to 599");
    }
    if *written == Expect::default() {
        report.push(
            Diagnostic::new(Code::E0106, "a test expects nothing")
                .label(at, "this holds whatever becomes of the request")
                .help("write at least one of `route`, `status` and `upstream`"),
        );
    }
    exclusive(written, at, report);
    expected
}

fn upstream(name: &str, known: &Known<'_>, at: &At, report: &mut Report) -> Option<Box<str>> {
    let by_url = |(_, urls): &&(&str, Vec<&str>)| urls.contains(&name);
    if let Some((named, _)) = known.upstreams.iter().find(by_url) {
        return Some((*named).into());
    }
    let names: Vec<&str> = known.upstreams.iter().map(|(name, _)| *name).collect();
    refer("upstream", name, &names, at, report).then(|| name.into())
}

fn reason(word: &str, at: &At, report: &mut Report) -> Option<Reason> {
    let found = Reason::ALL.iter().copied().find(|reason| reason.word() == word);
    if found.is_none() {
        let unknown = Diagnostic::new(Code::E0108, format!("`{word}` is not a reason")).label(at, "no refusal has it");
        report.push(match nearest(word, Reason::ALL.iter().map(|reason| reason.word())) {
            Some(near) => unknown.help(format!("did you mean `{near}`?")).patch(at, format!("{near:?}")),
            None => unknown.help("write for example `no_route`, `body_too_large` or `bad_path`"),
        });
    }
    found
}

fn tests(written: Option<&BTreeMap<String, Field>>, at: &At, report: &mut Report) -> Vec<FieldTest> {
    let mut tests = Vec::new();
    for (written, field) in written.into_iter().flatten() {
        let place = at.key(written);
        let name = header_name(written, &place, report);
        let test = Test::compile(field, &place, report);
        tests.extend(name.zip(test).map(|(name, test)| FieldTest { written: written.as_str().into(), name, test }));
    }
    tests
}

/// Reports expectations of which one says that maitred answers, and the other that an upstream does.
fn exclusive(written: &Expect, at: &At, report: &mut Report) {
    let first = |keys: &[(&'static str, bool)]| keys.iter().find(|(_, given)| *given).map(|(key, _)| *key);
    let answered = first(&[
        ("status", written.status.is_some()),
        ("reason", written.reason.is_some()),
        ("location", written.location.is_some()),
    ]);
    let sent = first(&[
        ("upstream", written.upstream.is_some()),
        ("path", written.path.is_some()),
        ("query", written.query.is_some()),
        ("host", written.host.is_some()),
        ("request", written.request.is_some()),
    ]);
    let (Some(answered), Some(sent)) = (answered, sent) else { return };
    report.push(
        Diagnostic::new(Code::E0107, "a request is either answered by maitred or sent to an upstream")
            .label(at.key(answered).name(), "this expects an answer of maitred's own…")
            .label(at.key(sent).name(), "…and this that an upstream is asked")
            .help("keep one of the two, or make two tests of it"),
    );
}
