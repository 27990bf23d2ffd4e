//! W0503: what origins see of a request though it does not tell kept answers apart. That is how a cache is poisoned: what
//! one client has said is what all others get. And what they may say that it depends on, though nobody could look it up.

use std::sync::Arc;

use config::Config;
use document::{At, Code, Diagnostic, Report};
use filter::template::Input;
use http::{HeaderName, header};
use listen::Listener;

use crate::Route;

/// By what origins like to change their answers, often without a word in `Vary`.
const USUAL: [HeaderName; 3] = [header::COOKIE, header::ACCEPT_LANGUAGE, header::ORIGIN];

/// As people write them.
const WRITTEN: [&str; 3] = ["Cookie", "Accept-Language", "Origin"];

/// Adds the warnings of all routes that keep anything, and tells their caches by what no answer can vary.
pub(crate) fn check(config: &Config, routes: &mut [Option<Route>], listeners: &[Arc<Listener>], report: &mut Report) {
    for (written, route) in config.routes.values().zip(routes.iter_mut().map(Option::as_mut)) {
        let Some(route) = route else { continue };
        let Some(policy) = &route.cache else { continue };
        let at = At::root().key("routes").key(&*route.name);
        let site = Site { written, route, policy, at, schemes: schemes_of(written, listeners) };
        site.host(report);
        site.scheme(report);
        site.templates(report);
        site.usual(report);
        let untold = site.untold();
        if let Some(policy) = &mut route.cache {
            policy.never_vary_by(untold);
        }
    }
}

/// Whether requests come by HTTP and by HTTPS.
fn schemes_of(written: &config::Route, listeners: &[Arc<Listener>]) -> bool {
    let only = written.matches.listener.as_ref();
    let brings = |listener: &&Arc<Listener>| {
        let taken = only.is_none_or(|only| only.iter().any(|name| **name == *listener.name));
        listener.mode.is_http() && listener.redirect.is_none() && taken
    };
    let ways: Vec<&Arc<Listener>> = listeners.iter().filter(brings).collect();
    let differ = ways.iter().any(|listener| listener.trusts_anybody())
        || ways.iter().any(|listener| listener.scheme() != ways[0].scheme());
    differ && written.matches.scheme.is_none()
}

struct Site<'a> {
    written: &'a config::Route,
    route: &'a Route,
    policy: &'a cache::Policy,
    at: At,
    /// Whether requests come by both schemes.
    schemes: bool,
}

impl Site<'_> {
    /// Whether the route itself says what the origin sees under this name.
    fn settles(&self, name: &str) -> bool {
        self.route.request.as_ref().is_some_and(|edits| edits.touches(name))
    }

    fn sees_forwarded(&self) -> bool {
        self.route.forwarding.forwarded && !self.settles("forwarded")
    }

    /// Whether the route takes one host only.
    fn has_one_host(&self) -> bool {
        let hosts = self.written.matches.host.as_ref();
        hosts.is_some_and(|hosts| hosts.len() == 1 && hosts.iter().all(|host| !host.contains('*')))
    }

    /// The fields in which the origin is told what requests do not say under that name, and what tells no answers apart.
    fn untold(&self) -> Vec<HeaderName> {
        let knows_host = self.policy.tells_apart(&Input::Host);
        let knows_scheme = !self.schemes || self.policy.tells_apart(&Input::Scheme);
        let edits = self.route.request.as_ref();
        let is_told = |name: &&str| match *name {
            _ if edits.is_some_and(|edits| edits.hides(name)) => false,
            "x-forwarded-host" | "x-forwarded-port" => !knows_host,
            "x-forwarded-proto" => !knows_scheme,
            "forwarded" => self.route.forwarding.forwarded,
            // It is part of every key.
            "client-cert" => false,
            _ => true,
        };
        let is_unknown = |input: Input<'_>| match input {
            Input::Host => !knows_host && !self.has_one_host(),
            Input::Scheme => !knows_scheme,
            other => !self.policy.tells_apart(&other),
        };
        // What asks by HTTP/2 names it elsewhere.
        let keeps = matches!(self.route.host, rewrite::HostPolicy::Keep);
        let host = (keeps && is_unknown(Input::Host)).then_some(header::HOST);
        let edited = edits.into_iter().flat_map(|edits| edits.told());
        let edited = edited.filter(|(_, template)| template.inputs().any(is_unknown)).map(|(name, _)| name.clone());
        let told = transform::TOLD.into_iter().filter(is_told).map(HeaderName::from_static);
        told.chain(host).chain(edited).collect()
    }

    /// The origin sees which host was asked for, unless the route takes one only.
    fn host(&self, report: &mut Report) {
        let keeps = matches!(self.route.host, rewrite::HostPolicy::Keep);
        let sees = keeps || !self.settles("x-forwarded-host") || self.sees_forwarded();
        if self.has_one_host() || !sees || self.policy.tells_apart(&Input::Host) {
            return;
        }
        let message = format!(
            "route `{}` keeps one answer for all hosts, and its origin sees which was asked for",
            self.route.name
        );
        report.push(
            Diagnostic::new(Code::W0503, message)
                .label(self.at.key("cache").key("key"), "\"host\" is not part of it")
                .help(
                    "add \"host\" to `key`, or hide it: `request = { host = \"upstream\", remove = \"X-Forwarded-Host\" }`",
                ),
        );
    }

    /// The same of the scheme, where requests come by both. An origin that sends plaintext to HTTPS answers both otherwise.
    fn scheme(&self, report: &mut Report) {
        let sees = !self.settles("x-forwarded-proto") || self.sees_forwarded();
        if !self.schemes || !sees || self.policy.tells_apart(&Input::Scheme) {
            return;
        }
        let message = format!(
            "route `{}` keeps one answer for HTTP and HTTPS, and its origin sees which it was (`X-Forwarded-Proto`)",
            self.route.name
        );
        report.push(
            Diagnostic::new(Code::W0503, message)
                .label(self.at.key("cache").key("key"), "\"scheme\" is not part of it")
                .help("add \"scheme\" to `key`, or hide it: `request = { remove = \"X-Forwarded-Proto\" }`"),
        );
    }

    /// What the route itself tells the origin of a request.
    fn templates(&self, report: &mut Report) {
        let edits = self.route.request.iter().flat_map(|edits| edits.templates());
        let targets = self.route.rewrite.iter().flat_map(|rewrite| rewrite.templates());
        let mut told: Vec<Input<'_>> = Vec::new();
        for input in edits.chain(targets).flat_map(|template| template.inputs()) {
            // Said for all of a route's answers above.
            let known = matches!(input, Input::Host | Input::Port | Input::Scheme) || told.contains(&input);
            if known || self.policy.tells_apart(&input) {
                continue;
            }
            let (placeholder, help) = match &input {
                Input::Header(name) => (format!("{{header.{name}}}"), format!("add `vary = \"{name}\"` to `cache`")),
                Input::Cookie(name) => (
                    format!("{{cookie.{name}}}"),
                    format!("add \"cookie:{name}\" to `key`, or to `bypass`, of `cache`"),
                ),
                _ => (
                    "{client_ip}".to_owned(),
                    "leave it out, or write `cache = false`: a key cannot hold it".to_owned(),
                ),
            };
            let message = format!(
                "the origin of route `{}` is told `{placeholder}`, which does not tell kept answers apart",
                self.route.name
            );
            report.push(
                Diagnostic::new(Code::W0503, message)
                    .label(self.at.key("request"), format!("an answer by `{placeholder}` could be given to all"))
                    .help(help),
            );
            told.push(input);
        }
    }

    /// Where answers are kept that their origin says nothing about, nobody says what they depend on either.
    fn usual(&self, report: &mut Report) {
        if !self.policy.keeps_unasked() {
            return;
        }
        let depends = |(name, _): &(&HeaderName, &str)| match **name {
            // Every caller has answers of their own.
            header::COOKIE if !self.route.auth.policies().is_empty() => false,
            header::COOKIE if self.policy.minds_cookies() => false,
            header::ORIGIN if self.route.cors.is_some() => false,
            _ => !self.settles(name.as_str()) && !self.policy.tells_apart(&Input::Header(name)),
        };
        let named: Vec<String> =
            USUAL.iter().zip(WRITTEN).filter(depends).map(|(_, written)| format!("`{written}`")).collect();
        if named.is_empty() {
            return;
        }
        let message = format!(
            "route `{}` keeps what its origin says nothing about, and the origin sees what does not tell answers apart: {}",
            self.route.name,
            named.join(", ")
        );
        report.push(
            Diagnostic::new(Code::W0503, message)
                .label(self.at.key("cache"), "an answer for one client could be given to all")
                .help(
                    "name in `vary` what answers depend on, keep sessions out with `bypass = \"cookie:NAME\"`, and take away \
                     what they do not: `request = { remove = [\"Cookie\"] }`",
                ),
        );
    }
}
