//! Pages that policies answer by themselves: the routes that ask such a policy take them, whatever paths they are for.

use ::route::{Match, RouteId};
use auth::Written;
use config::{Config, Route};
use document::{At, Code, Diagnostic, Report, Toggle};

/// A page of a policy, on the hosts of one route.
struct Page<'c> {
    path: &'c str,
    /// What tells its policy apart: its name, or the place where it is written.
    policy: At,
    route: RouteId,
    written: &'c Route,
}

/// The pages of all policies, each with the first route that takes it on its hosts. Two policies with one page are reported.
pub(crate) fn of(config: &Config, report: &mut Report) -> Vec<(RouteId, Match)> {
    let mut pages: Vec<Page<'_>> = Vec::new();
    for (index, (name, written)) in config.routes.iter().enumerate() {
        let Some(Toggle::On(policies)) = &written.policies.auth else { continue };
        for (position, policy) in policies.iter().enumerate() {
            let place = At::root().key("routes").key(name).key("auth").index(position);
            let (found, policy) = match policy {
                Written::Named(name) => (config.auth.get(name), At::root().key("auth").key(name)),
                Written::InPlace(own) => (Some(&**own), place.clone()),
            };
            for path in found.and_then(auth::pages).into_iter().flatten() {
                let page = Page { path, policy: policy.clone(), route: RouteId(index as u32), written };
                let taken = |other: &&Page<'_>| other.path == path && page.meets(other);
                match pages.iter().find(taken) {
                    Some(other) if other.policy != page.policy => {
                        let message = format!("two policies have the page `{path}` on one host");
                        let diagnostic = Diagnostic::new(Code::E0107, message).label(&place, "this one");
                        let diagnostic = diagnostic.label(other.policy.clone(), "and this one");
                        report.push(diagnostic.help("give one of them another `callback` and `logout`"));
                        return Vec::new();
                    }
                    Some(other) if other.covers(&page) => {}
                    _ => pages.push(page),
                }
            }
        }
    }
    let own = |page: &&Page<'_>| !config.routes.values().any(|route| page.is_path_of(route));
    pages.iter().filter(own).map(|page| (page.route, page.matches())).collect()
}

impl Page<'_> {
    fn hosts(&self) -> &[String] {
        self.written.matches.host.as_deref().unwrap_or_default()
    }

    /// Whether there is a request that may be for both.
    fn meets(&self, other: &Self) -> bool {
        let (own, others) = (self.hosts(), other.hosts());
        own.is_empty() || others.is_empty() || own.iter().any(|host| others.contains(host))
    }

    /// Whether whatever is for `other` is for this one.
    fn covers(&self, other: &Self) -> bool {
        let (own, others) = (&self.written.matches, &other.written.matches);
        own.host == others.host && own.listener == others.listener && own.scheme == others.scheme
    }

    /// Whether a route has just this path, written by somebody who knows why.
    fn is_path_of(&self, route: &Route) -> bool {
        route.matches.path.as_deref() == Some(self.path) && route.matches.host == self.written.matches.host
    }

    fn matches(&self) -> Match {
        let own = &self.written.matches;
        Match {
            host: own.host.clone(),
            path: Some(self.path.into()),
            listener: own.listener.clone(),
            scheme: own.scheme,
            ..Match::default()
        }
    }
}
