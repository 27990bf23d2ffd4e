//! `maitred explain`: which route a request takes, why every other lost, and what happens to it step by step.

use std::{collections::BTreeMap, sync::Arc};

use config::Loaded;
use document::At;
use filter::{Admit, Captures, Client, RequestId, Scheme, Trace, View};
use http::Method;
use pingora_http::RequestHeader;
use rewrite::HostPolicy;
use route::Candidate;
use serde_json::{Value, json};
use snapshot::{Destination, Route, Snapshot};

use crate::{
    cli,
    cli::Global,
    exit::{Failure, Outcome},
    files, out,
    prepare::{Ready, prepare},
    style::Style,
};

/// A request as the command line tells it.
struct Asked {
    head: RequestHeader,
    scheme: Scheme,
    host: String,
    port: u16,
    path: String,
}

/// One step of what happens to the request.
struct Step {
    name: &'static str,
    what: String,
}

/// Explains one request on the configuration of the file; nothing is sent anywhere.
pub fn run(global: &Global, explain: &cli::Explain) -> Outcome {
    let prepared = prepare(config::load(&files::find(global)?));
    let style = Style::of(global.color, &std::io::stdout());
    let Some(Ready { compiled, .. }) = &prepared.ready else {
        eprint!("{}", prepared.render(style.is_on()));
        return Err(Failure::invalid("the configuration is not valid"));
    };
    let listener = compiled.listeners.first();
    let asked = ask(explain, listener.map(|listener| &**listener))?;
    let client = client(&asked, listener.map_or_else(|| "http".into(), |listener| listener.name.clone()));
    let mut captures = Captures::new();
    let nothing = Captures::new();
    let snapshot = &compiled.snapshot;
    let view = view(&asked, &client, &nothing);
    let found = snapshot.table.find(&view, &mut captures);
    let candidates = snapshot.table.explain(&view);
    let view = self::view(&asked, &client, &captures);
    let route = found.and_then(|id| snapshot.routes.get(id.0 as usize));
    let steps = route.map(|route| steps(route, &view)).unwrap_or_default();
    let told =
        Told { snapshot, loaded: &prepared.loaded, asked: &asked, candidates: &candidates, route, steps: &steps };
    if global.json { out::line(format!("{:#}", told.json())) } else { out::text(&told.text(style)) }
}

fn ask(explain: &cli::Explain, listener: Option<&listen::Listener>) -> Result<Asked, Failure> {
    let wrong = |message: String| Failure { code: 2, message };
    let (method, url) = match &explain.request[..] {
        [method, url] => (method.as_str(), url.as_str()),
        [url] => ("GET", url.as_str()),
        _ => return Err(wrong("say METHOD and URL, or a URL alone".into())),
    };
    let method = Method::from_bytes(method.to_ascii_uppercase().as_bytes())
        .map_err(|_| wrong(format!("{method:?} is no method")))?;
    let default = listener.map_or(Scheme::Http, listen::Listener::scheme);
    let (scheme, authority, target) = match url.split_once("://") {
        Some((scheme, rest)) => {
            let at = rest.find(['/', '?']).unwrap_or(rest.len());
            let scheme = if scheme.eq_ignore_ascii_case("https") { Scheme::Https } else { Scheme::Http };
            (scheme, rest[..at].to_owned(), rest[at..].to_owned())
        }
        None if url.starts_with('/') => (default, String::new(), url.to_owned()),
        None => return Err(wrong(format!("{url:?} is neither a URL nor a path"))),
    };
    let target = if target.starts_with('/') { target } else { format!("/{target}") };
    let mut head = RequestHeader::build(method, target.as_bytes(), None)
        .map_err(|error| wrong(format!("{url:?} cannot be asked for: {error}")))?;
    if !authority.is_empty() {
        head.insert_header(http::header::HOST, &authority).map_err(|_| wrong(format!("{authority:?} is no host")))?;
    }
    for field in &explain.headers {
        let (name, value) = field.split_once(':').ok_or_else(|| wrong(format!("{field:?} is not NAME: VALUE")))?;
        let name = http::HeaderName::from_bytes(name.trim().as_bytes())
            .map_err(|_| wrong(format!("{name:?} is no header name")))?;
        head.append_header(name, value.trim()).map_err(|_| wrong(format!("{field:?} is no header")))?;
    }
    let host = head.headers.get(http::header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("").to_owned();
    let port = host.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or(scheme.default_port());
    let path = route::normalise(head.uri.path())
        .map_err(|reason| Failure::new(format!("refused with {}: {}", reason.status_code(), reason.sentence())))?
        .into_owned();
    let host = host.rsplit_once(':').map_or(host.as_str(), |(host, _)| host).to_ascii_lowercase();
    Ok(Asked { head, scheme, host, port, path })
}

fn client(asked: &Asked, listener: Arc<str>) -> Client {
    Client {
        address: Some(std::net::Ipv4Addr::LOCALHOST.into()),
        peer: None,
        trusted: false,
        scheme: asked.scheme,
        port: asked.port,
        listener,
        tls: None,
        request_id: RequestId::new(0, 0),
        trace: Trace::new(1, 1),
    }
}

fn view<'a>(asked: &'a Asked, client: &'a Client, captures: &'a Captures) -> View<'a> {
    let query = asked.head.uri.query();
    View { head: &asked.head, client, host: &asked.host, path: &asked.path, query, captures }
}

/// The steps in the order in which they are taken; the first that answers is the last.
fn steps(route: &Route, view: &View<'_>) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut step = |name, what: String| steps.push(Step { name, what });
    if let Some(cors) = &route.cors {
        match cors.judge(view) {
            Ok(()) => step("cors", "origins checked, headers added to the answer".into()),
            Err(reply) => {
                step("cors", format!("answers the preflight: {}", reply.status));
                return steps;
            }
        }
    }
    match route.access.judge(view) {
        Ok(()) => step("access", "within the limits".into()),
        Err(reply) => {
            step("access", format!("refuses with {} ({})", reply.status, reply.reason.word()));
            return steps;
        }
    }
    let answers = match &route.destination {
        Destination::Redirect(redirect) => redirect.judge(view).err().map(|reply| ("redirect", reply)),
        Destination::Respond(respond) => respond.judge(view).err().map(|reply| ("respond", reply)),
        Destination::Upstream(_) => None,
    };
    if let Some((name, reply)) = answers {
        let location = reply.headers.iter().find(|(name, _)| *name == http::header::LOCATION);
        let to = location.and_then(|(_, value)| value.to_str().ok()).map(|to| format!(" → {to}")).unwrap_or_default();
        step(name, format!("{}{to}", reply.status));
    }
    if let Destination::Upstream(upstream) = &route.destination {
        if let Some(rewrite) = &route.rewrite {
            let mut target = String::new();
            rewrite.target(view, &mut target);
            step("rewrite", target);
        }
        match &route.host {
            HostPolicy::Keep => {}
            HostPolicy::Upstream => step("host", "the backend's own".into()),
            HostPolicy::Literal(host) => step("host", host.to_str().unwrap_or("").to_owned()),
        }
        if let Some(edits) = &route.request {
            step("request", edits.describe().collect::<Vec<_>>().join(", "));
        }
        let backends = upstream.backends().map(|backend| format!("{} (weight {})", backend.label(), backend.weight()));
        step("upstream", format!("{} → {}", upstream.name(), backends.collect::<Vec<_>>().join(", ")));
        let retries = route.retries.unwrap_or_else(|| upstream.retries());
        let timeout =
            route.timeout.map_or_else(|| "none".to_owned(), |timeout| document::Duration(timeout).to_string());
        step("limits", format!("timeout {timeout}, {retries} retr{}", if retries == 1 { "y" } else { "ies" }));
    }
    let security = route.security.as_ref().map(|security| format!("{} security headers", security.describe().count()));
    let edits = route.response.as_ref().map(|edits| edits.describe().collect::<Vec<_>>().join(", "));
    let response: Vec<String> = security.into_iter().chain(edits).collect();
    if !response.is_empty() {
        step("response", response.join(", "));
    }
    steps
}

/// Everything that is told, in either form.
struct Told<'a> {
    snapshot: &'a Snapshot,
    loaded: &'a Loaded,
    asked: &'a Asked,
    candidates: &'a [Candidate],
    route: Option<&'a Route>,
    steps: &'a [Step],
}

impl Told<'_> {
    fn name(&self, candidate: &Candidate) -> &str {
        self.snapshot.routes.get(candidate.id.0 as usize).map_or("-", |route| &route.name)
    }

    fn place(&self, name: &str) -> String {
        let at = At::root().key("routes").key(name).name();
        let found = self.loaded.document.location(&at);
        found.map(|location| format!("{}:{}", location.file, location.position.line)).unwrap_or_default()
    }

    fn url(&self) -> String {
        let host = if self.asked.host.is_empty() { "localhost" } else { &self.asked.host };
        let query = self.asked.head.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
        format!("{}://{host}{}{query}", self.asked.scheme, self.asked.path)
    }

    fn text(&self, style: Style) -> String {
        let mut text = format!("{} {}\n", self.asked.head.method, self.url());
        let mut lost: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        let width = self.candidates.iter().map(|candidate| self.name(candidate).len()).max().unwrap_or(0).clamp(9, 32);
        for candidate in self.candidates {
            let name = self.name(candidate);
            if candidate.won {
                let name = style.good(&format!("{name:<width$}"));
                text.push_str(&format!("  → {name}  {:<40}  {}\n", candidate.why, self.place(self.name(candidate))));
            } else if candidate.why == "path differs" || candidate.why == "host differs" {
                lost.entry(&candidate.why).or_default().push(name);
            } else {
                text.push_str(&format!("    {name:<width$}  {:<40}  {}\n", candidate.why, self.place(name)));
            }
        }
        for (why, names) in lost {
            text.push_str(&style.dim(&format!("    {}  {why}", names.join(", "))));
            text.push('\n');
        }
        if self.route.is_none() {
            text.push_str("  → no route matches: 404 no_route\n");
        }
        for (index, step) in self.steps.iter().enumerate() {
            text.push_str(&format!("  {} {:<9} {}\n", index + 1, step.name, step.what));
        }
        text
    }

    fn json(&self) -> Value {
        let candidate = |candidate: &Candidate| {
            let name = self.name(candidate);
            json!({ "route": name, "won": candidate.won, "why": candidate.why, "at": self.place(name) })
        };
        json!({
            "method": self.asked.head.method.as_str(),
            "url": self.url(),
            "route": self.route.map(|route| &*route.name),
            "candidates": self.candidates.iter().map(candidate).collect::<Vec<_>>(),
            "steps": self.steps.iter().map(|step| json!({ "step": step.name, "what": step.what })).collect::<Vec<_>>(),
        })
    }
}
