//! `maitred explain`: which route a request takes, why every other lost, and what happens to it step by step.

use std::{collections::BTreeMap, net::Ipv4Addr};

use config::Loaded;
use document::At;
use http::{HeaderName, HeaderValue};
use proxy::{Forwarded, Judge, Outcome, Step as Stage, Verdict};
use rewrite::HostPolicy;
use route::Candidate;
use serde_json::{Value, json};
use snapshot::{Compiled, Route, Snapshot};
use trial::Request;

use crate::{
    asked::{Circumstances, Unfit, asked},
    cli,
    cli::Global,
    exit::{Failure, Outcome as Ending},
    files, out,
    prepare::{Ready, compile},
    style::Style,
    verdict,
};

/// One step of what happens to the request.
struct Step {
    name: &'static str,
    what: String,
}

/// Explains one request on the configuration of the file; nothing is sent anywhere.
pub fn run(global: &Global, explain: &cli::Explain) -> Ending {
    let mut prepared = compile(config::load(&files::find(global)?));
    let style = Style::of(global.color, &std::io::stdout());
    let Some(Ready { compiled, .. }) = prepared.ready.take() else {
        eprint!("{}", prepared.render(style.is_on()));
        return Err(Failure::invalid("the configuration is not valid"));
    };
    let note = |text: String| eprintln!("{}: {text}", style.warning("note"));
    trace(&prepared.loaded, compiled, explain, note, |told| {
        if global.json { out::line(format!("{:#}", told.json())) } else { out::text(&told.text(style)) }
    })?
}

/// Explains one request on a configuration that a running server has.
pub fn of(loaded: &Loaded, request: &admin::Explain) -> Result<Value, String> {
    let mut prepared = compile(loaded.clone());
    let Some(Ready { compiled, .. }) = prepared.ready.take() else { return Err(prepared.render(false)) };
    let method = request.method.clone().unwrap_or_else(|| "GET".into());
    let explain = cli::Explain {
        request: vec![method, request.url.clone()],
        headers: request.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect(),
    };
    trace(&prepared.loaded, compiled, &explain, |_| {}, |told| told.json()).map_err(|failure| failure.message)
}

/// Finds out what becomes of the request, and hands it to `tell`.
fn trace<T>(
    loaded: &Loaded,
    compiled: Compiled,
    explain: &cli::Explain,
    note: impl Fn(String),
    tell: impl FnOnce(&Told<'_>) -> T,
) -> Result<T, Failure> {
    let wrong = |message: String| Failure { code: 2, message };
    let text = explain.request.join(" ");
    let request = Request::parse(&text)
        .map_err(|mistake| wrong(format!("{text:?}: {}\nhint: {}", mistake.problem, mistake.help)))?;
    let fields = explain.headers.iter().map(|field| header(field)).collect::<Result<Vec<_>, _>>().map_err(wrong)?;
    let around = Circumstances { listeners: &compiled.listeners, named: None, route: None };
    let listener = around.listener(&request).or_else(|unfit| {
        if let Unfit::Scheme(scheme) = unfit {
            note(format!("no listener speaks {scheme}; this is what becomes of it on another"));
        }
        compiled.listeners.first().ok_or_else(|| Failure::invalid("there is no listener"))
    })?;
    let asked = asked(&request, listener, &around.host(), &fields, Ipv4Addr::LOCALHOST.into());
    let asked = asked.ok_or_else(|| wrong(format!("{text:?} cannot be asked for with these headers")))?;
    let snapshot = std::sync::Arc::new(compiled.snapshot);
    let verdict = Judge::new().judge(&snapshot, asked);
    let steps = verdict.route().map(|route| steps(route, &verdict)).unwrap_or_default();
    let candidates = verdict.candidates();
    Ok(tell(&Told { snapshot: &snapshot, loaded, verdict: &verdict, candidates: &candidates, steps: &steps }))
}

/// Reads `NAME: VALUE`.
fn header(field: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = field.split_once(':').ok_or_else(|| format!("{field:?} is not NAME: VALUE"))?;
    let name = HeaderName::from_bytes(name.trim().as_bytes()).map_err(|_| format!("{name:?} is no header name"))?;
    let value = HeaderValue::from_str(value.trim()).map_err(|_| format!("{field:?} is no header"))?;
    Ok((name, value))
}

/// The steps in the order in which they are taken; the first that answers is the last.
fn steps(route: &Route, verdict: &Verdict) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut step = |name, what: String| steps.push(Step { name, what });
    let answered = match verdict.outcome() {
        Outcome::Answered(answered) => Some(answered),
        Outcome::Forwarded(_) => None,
    };
    let by = answered.map(|answered| answered.by);
    let refusal =
        || answered.map_or_else(String::new, |it| format!("refuses with {} ({})", it.status, it.reason.word()));
    let status = || answered.map_or_else(String::new, |it| it.status.to_string());
    if by == Some(Stage::Cors) {
        step("cors", format!("answers the preflight: {}", status()));
        return steps;
    }
    if route.cors.is_some() {
        step("cors", "origins checked, headers added to the answer".into());
    }
    if by == Some(Stage::Access) {
        step("access", refusal());
        return steps;
    }
    step("access", "within the limits".into());
    match verdict.outcome() {
        Outcome::Answered(answered) => {
            let location = answered.fields.get(http::header::LOCATION).and_then(|to| to.to_str().ok());
            let to = location.map(|to| format!(" → {to}")).unwrap_or_default();
            match answered.by {
                Stage::Redirect => step("redirect", format!("{}{to}", answered.status)),
                Stage::Respond => step("respond", answered.status.to_string()),
                _ => step("rewrite", refusal()),
            }
        }
        Outcome::Forwarded(sent) => steps.extend(outward(route, sent)),
    }
    let security = route.security.as_ref().map(|security| format!("{} security headers", security.describe().count()));
    let edits = route.response.as_ref().map(|edits| edits.describe().collect::<Vec<_>>().join(", "));
    let response: Vec<String> = security.into_iter().chain(edits).collect();
    if !response.is_empty() {
        steps.push(Step { name: "response", what: response.join(", ") });
    }
    steps
}

/// What the origin gets, and which one.
fn outward(route: &Route, sent: &Forwarded) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut step = |name, what: String| steps.push(Step { name, what });
    if route.rewrite.is_some() {
        step("rewrite", sent.target.clone());
    }
    match &route.host {
        HostPolicy::Keep => {}
        HostPolicy::Upstream => step("host", "the backend's own".into()),
        HostPolicy::Literal(host) => step("host", host.to_str().unwrap_or("").to_owned()),
    }
    if let Some(edits) = &route.request {
        step("request", edits.describe().collect::<Vec<_>>().join(", "));
    }
    let upstream = &sent.upstream;
    let backends = upstream.backends().map(|backend| format!("{} (weight {})", backend.label(), backend.weight()));
    step("upstream", format!("{} → {}", upstream.name(), backends.collect::<Vec<_>>().join(", ")));
    let retries = route.retries.unwrap_or_else(|| upstream.retries());
    let timeout = route.timeout.map_or_else(|| "none".to_owned(), |timeout| document::Duration(timeout).to_string());
    step("limits", format!("timeout {timeout}, {retries} retr{}", if retries == 1 { "y" } else { "ies" }));
    steps
}

/// Everything that is told, in either form.
struct Told<'a> {
    snapshot: &'a Snapshot,
    loaded: &'a Loaded,
    verdict: &'a Verdict,
    candidates: &'a [Candidate],
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

    /// The URL as it was understood: the scheme that the client used, the canonical host, the normalised path.
    fn url(&self) -> String {
        let head = self.verdict.head();
        let query = head.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
        match self.verdict.arrival() {
            Some(arrival) => {
                let view = arrival.view(head);
                format!("{}://{}{}{query}", arrival.client.scheme, view.host, view.path)
            }
            None => format!("{}{query}", head.uri.path()),
        }
    }

    fn text(&self, style: Style) -> String {
        let mut text = format!("{} {}\n", self.verdict.head().method, self.url());
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
        if self.verdict.route().is_none() {
            text.push_str(&format!("  → {}\n", verdict::sentence(self.verdict)));
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
            "method": self.verdict.head().method.as_str(),
            "url": self.url(),
            "route": self.verdict.route().map(|route| &*route.name),
            "candidates": self.candidates.iter().map(candidate).collect::<Vec<_>>(),
            "steps": self.steps.iter().map(|step| json!({ "step": step.name, "what": step.what })).collect::<Vec<_>>(),
        })
    }
}
