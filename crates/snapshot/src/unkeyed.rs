//! W0503: what origins see of a request though it does not tell kept answers apart. That is how a cache is poisoned: what
//! one client has said is what all others get.

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

/// Adds the warnings of all routes that keep anything.
pub(crate) fn check(config: &Config, routes: &[Option<Route>], listeners: &[Arc<Listener>], report: &mut Report) {
    for (written, route) in config.routes.values().zip(routes) {
        let Some((route, policy)) = route.as_ref().and_then(|route| Some((route, route.cache.as_ref()?))) else {
            continue;
        };
        let at = At::root().key("routes").key(&*route.name);
        let site = Site { written, route, policy, at };
        site.host(report);
        site.scheme(listeners, report);
        site.templates(report);
        site.usual(report);
    }
}

struct Site<'a> {
    written: &'a config::Route,
    route: &'a Route,
    policy: &'a cache::Policy,
    at: At,
}

impl Site<'_> {
    /// Whether the route itself says what the origin sees under this name.
    fn settles(&self, name: &str) -> bool {
        self.route.request.as_ref().is_some_and(|edits| edits.touches(name))
    }

    fn sees_forwarded(&self) -> bool {
        self.route.forwarding.forwarded && !self.settles("forwarded")
    }

    /// The origin sees which host was asked for, unless the route takes one only.
    fn host(&self, report: &mut Report) {
        let hosts = self.written.matches.host.as_ref();
        let one = hosts.is_some_and(|hosts| hosts.len() == 1 && hosts.iter().all(|host| !host.contains('*')));
        let keeps = matches!(self.route.host, rewrite::HostPolicy::Keep);
        let sees = keeps || !self.settles("x-forwarded-host") || self.sees_forwarded();
        if one || !sees || self.policy.tells_apart(&Input::Host) {
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
    fn scheme(&self, listeners: &[Arc<Listener>], report: &mut Report) {
        let only = self.written.matches.listener.as_ref();
        let brings = |listener: &&Arc<Listener>| {
            let taken = only.is_none_or(|only| only.iter().any(|name| **name == *listener.name));
            listener.mode.is_http() && listener.redirect.is_none() && taken
        };
        let ways: Vec<&Arc<Listener>> = listeners.iter().filter(brings).collect();
        let differ = ways.iter().any(|listener| listener.trusts_anybody())
            || ways.iter().any(|listener| listener.scheme() != ways[0].scheme());
        let sees = !self.settles("x-forwarded-proto") || self.sees_forwarded();
        let fixed = self.written.matches.scheme.is_some();
        if fixed || !differ || !sees || self.policy.tells_apart(&Input::Scheme) {
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
