//! Which route a request takes, why every other lost, and what happens to it step by step.

use std::{collections::BTreeMap, net::Ipv4Addr, sync::Arc};

use config::Loaded;
use document::At;
use filter::{Admit, Mode, Reason, Reply, Scheme};
use http::{HeaderName, HeaderValue};
use listen::Listener;
use proxy::{Foreseen, Forwarded, Judge, Outcome, Step as Stage, Verdict};
use rewrite::HostPolicy;
use route::Candidate;
use serde_json::{Value, json};
use snapshot::{Destination, Route, Snapshot};
use trial::Request;

use crate::{
    asked::{Circumstances, Unfit, asked},
    style::Style,
    verdict,
};

/// What requests are explained on: the configuration of a file, or the one in force.
#[derive(Clone, Copy)]
pub struct Ground<'a> {
    /// What requests run on.
    pub snapshot: &'a Arc<Snapshot>,
    /// Where they come in.
    pub listeners: &'a [Arc<Listener>],
    /// The files, for the places of routes.
    pub loaded: &'a Loaded,
    /// Whether the snapshot is the one of a running server, and so are its counters.
    pub live: bool,
}

/// A request, explained.
pub struct Explained<'a> {
    ground: Ground<'a>,
    verdict: Verdict,
    candidates: Vec<Candidate>,
    steps: Vec<Step>,
    /// The scheme that was asked for, where no listener speaks it and another was taken.
    pub unspoken: Option<Scheme>,
}

/// One step of what happens to the request.
struct Step {
    name: &'static str,
    what: String,
}

impl<'a> Ground<'a> {
    /// Explains `METHOD URL`, or a URL alone, with these header fields; nothing is sent anywhere.
    ///
    /// Who calls is `user`, where one is named.
    pub fn explain(
        self,
        request: &str,
        fields: &[(HeaderName, HeaderValue)],
        user: Option<&str>,
    ) -> Result<Explained<'a>, String> {
        let asks = Request::parse(request)
            .map_err(|mistake| format!("{request:?}: {}\nhint: {}", mistake.problem, mistake.help))?;
        let around = Circumstances { listeners: self.listeners, named: None, route: None };
        let (listener, unspoken) = match around.listener(&asks) {
            Ok(listener) => (Some(listener), None),
            Err(Unfit::Scheme(scheme)) => (self.listeners.first(), Some(scheme)),
            Err(Unfit::Named(_)) => (self.listeners.first(), None),
        };
        let listener = listener.ok_or("there is no listener")?;
        let asked = asked(&asks, listener, &around.host(), fields, Ipv4Addr::LOCALHOST.into(), user);
        let asked = asked.ok_or_else(|| format!("{request:?} cannot be asked for with these headers"))?;
        let verdict = Judge::new().judge(self.snapshot, asked);
        let steps = verdict.route().map(|route| steps(route, &verdict, self.live)).unwrap_or_default();
        Ok(Explained { ground: self, candidates: verdict.candidates(), steps, verdict, unspoken })
    }
}

/// The steps in the order in which they are taken; the first that answers is the last.
fn steps(route: &Route, verdict: &Verdict, live: bool) -> Vec<Step> {
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
    if by == Some(Stage::Address) {
        step("ip", refusal());
        return steps;
    }
    if let Some(told) = address_in_shadow(route, verdict) {
        step("ip", told);
    }
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
    step("access", sizes(route, verdict));
    if let Some(asked) = verdict.asked() {
        step("auth", verdict::asked(route, asked));
    }
    if by == Some(Stage::Auth) {
        return steps;
    }
    if let Some(arrival) = verdict.arrival().filter(|_| !route.limits.is_empty()) {
        let identity = verdict.asked().and_then(|asked| asked.identity.as_deref());
        step("limit", route.limits.explain(&arrival.view(verdict.head()).by(identity), live).join("; "));
    }
    if by == Some(Stage::Limit) {
        step("limit", refusal());
        return steps;
    }
    match verdict.outcome() {
        Outcome::Answered(answered) => {
            let location = answered.fields.get(http::header::LOCATION).and_then(|to| to.to_str().ok());
            let to = location.map(|to| format!(" → {}", verdict::shown(Some(route), to))).unwrap_or_default();
            match answered.by {
                Stage::Redirect => step("redirect", format!("{}{to}", answered.status)),
                Stage::Respond => step("respond", answered.status.to_string()),
                Stage::Decompress => step("decompress", refusal()),
                _ => step("rewrite", refusal()),
            }
        }
        Outcome::Forwarded(sent) => steps.extend(outward(route, sent, verdict.foreseen(live))),
    }
    let security = route.security.as_ref().map(|security| format!("{} security headers", security.describe().count()));
    let edits = route.response.as_ref().map(|edits| edits.describe().collect::<Vec<_>>().join(", "));
    let compress = route.compress.as_ref().map(|compress| compress.describe());
    let response: Vec<String> = security.into_iter().chain(compress).chain(edits).collect();
    if !response.is_empty() {
        steps.push(Step { name: "response", what: response.join(", ") });
    }
    steps
}

/// What lists of addresses or countries in shadow say, where they say no.
fn address_in_shadow(route: &Route, verdict: &Verdict) -> Option<String> {
    let arrival = verdict.arrival()?;
    let view = arrival.view(verdict.head());
    let addresses = route.addresses.as_ref().filter(|own| own.mode() == Mode::Shadow);
    let geo = route.geo.as_ref().filter(|own| own.mode() == Mode::Shadow);
    let judged = addresses.map_or(Ok(()), |own| own.judge(&view));
    let refusal = judged.and_then(|()| geo.map_or(Ok(()), |own| own.judge(&view))).err();
    refusal.map(|reply| verdict::in_shadow(&reply))
}

/// What the limits of size and shape say to a request that they let pass.
fn sizes(route: &Route, verdict: &Verdict) -> String {
    let judged = verdict.arrival().map(|arrival| route.access.would_refuse(&arrival.view(verdict.head())));
    match judged {
        None | Some(Reason::None) => "within the limits".into(),
        Some(reason) => verdict::in_shadow(&Reply::refuse(reason)),
    }
}

/// What the origin gets, and which one.
fn outward(route: &Route, sent: &Forwarded, foreseen: Option<Foreseen>) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut step = |name, what: String| steps.push(Step { name, what });
    if route.rewrite.is_some() {
        step("rewrite", verdict::shown(Some(route), &sent.target));
    }
    match &route.host {
        HostPolicy::Keep => {}
        HostPolicy::Upstream => step("host", "the backend's own".into()),
        HostPolicy::Literal(host) => step("host", host.to_str().unwrap_or("").to_owned()),
    }
    if let Some(edits) = &route.request {
        step("request", edits.describe().collect::<Vec<_>>().join(", "));
    }
    if let Some(cache) = &route.cache {
        step("cache", cache.describe());
    }
    if let Some(Foreseen { key, what }) = foreseen {
        let told: Vec<String> = key.map(|key| format!("key {key}")).into_iter().chain(what).collect();
        step("kept", told.join("; "));
    }
    if let Some(decompress) = &route.decompress {
        step("decompress", decompress.describe());
    }
    let upstream = &sent.upstream;
    if let Destination::Split(split) = &route.destination {
        let arms = split.arms().map(|(upstream, weight)| format!("{} {weight}", upstream.name()));
        step("split", arms.collect::<Vec<_>>().join(", "));
    }
    let backends = upstream.backends_in(route.subset).into_iter();
    let backends = backends.map(|backend| format!("{} (weight {})", backend.label(), backend.weight()));
    step("upstream", format!("{} → {}", upstream.name(), backends.collect::<Vec<_>>().join(", ")));
    if let Some(sticky) = upstream.sticky() {
        step("sticky", format!("by the cookie `{}`", sticky.cookie()));
    }
    if let Some(hedge) = route.hedge.as_ref().or(upstream.hedge()) {
        step("hedge", hedge.describe());
    }
    if let Some(limit) = upstream.concurrency() {
        step("concurrency", format!("at most {limit} at a time, as found out so far"));
    }
    if let Some(credentials) = upstream.credentials() {
        step("shows", format!("credentials in `{}`", credentials.header()));
    }
    let retries = route.retries.as_ref().unwrap_or(upstream.retries()).attempts;
    let timeout = route.timeout.map_or_else(|| "none".to_owned(), |timeout| document::Duration(timeout).to_string());
    step("limits", format!("timeout {timeout}, {retries} retr{}", if retries == 1 { "y" } else { "ies" }));
    steps
}

impl Explained<'_> {
    fn name(&self, candidate: &Candidate) -> &str {
        self.ground.snapshot.routes.get(candidate.id.0 as usize).map_or("-", |route| &route.name)
    }

    fn place(&self, name: &str) -> String {
        let at = At::root().key("routes").key(name).name();
        let found = self.ground.loaded.document.location(&at);
        found.map(|location| format!("{}:{}", location.file, location.position.line)).unwrap_or_default()
    }

    /// The URL as it was understood, but for credentials: the scheme that the client used, the canonical host, the normalised
    /// path.
    fn url(&self) -> String {
        let head = self.verdict.head();
        let query = head.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
        let url = match self.verdict.arrival() {
            Some(arrival) => {
                let view = arrival.view(head);
                format!("{}://{}{}{query}", arrival.client.scheme, view.host, view.path)
            }
            None => format!("{}{query}", head.uri.path()),
        };
        verdict::shown(self.verdict.route(), &url)
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let candidate = |candidate: &Candidate| {
            let name = self.name(candidate);
            json!({ "route": name, "won": candidate.won, "why": candidate.why, "at": self.place(name) })
        };
        json!({
            "method": self.verdict.head().method.as_str(),
            "url": self.url(),
            "route": self.verdict.route().map(|route| &*route.name),
            "outcome": verdict::sentence(&self.verdict),
            "candidates": self.candidates.iter().map(candidate).collect::<Vec<_>>(),
            "steps": self.steps.iter().map(|step| json!({ "step": step.name, "what": step.what })).collect::<Vec<_>>(),
        })
    }
}

/// For people: what is said for programs, by this process or by a running server.
pub fn text(told: &Value, style: Style) -> String {
    let word = |value: &'_ Value, key: &str| value[key].as_str().unwrap_or("").to_owned();
    let list = |key: &str| told[key].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut text = format!("{} {}\n", word(told, "method"), word(told, "url"));
    let mut lost: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let candidates = list("candidates");
    let width = candidates.iter().map(|candidate| word(candidate, "route").len()).max().unwrap_or(0).clamp(9, 32);
    for candidate in candidates {
        let (name, why, place) = (word(candidate, "route"), word(candidate, "why"), word(candidate, "at"));
        if candidate["won"] == true {
            let name = style.good(&format!("{name:<width$}"));
            text.push_str(&format!("  → {name}  {why:<40}  {place}\n"));
        } else if why == "path differs" || why == "host differs" {
            lost.entry(why).or_default().push(name);
        } else {
            text.push_str(&format!("    {name:<width$}  {why:<40}  {place}\n"));
        }
    }
    for (why, names) in lost {
        text.push_str(&style.dim(&format!("    {}  {why}", names.join(", "))));
        text.push('\n');
    }
    if told["route"].is_null() {
        text.push_str(&format!("  → {}\n", word(told, "outcome")));
    }
    for (index, step) in list("steps").iter().enumerate() {
        text.push_str(&format!("  {} {:<9} {}\n", index + 1, word(step, "step"), word(step, "what")));
    }
    text
}
