//! One route's match, compiled.

use std::cmp::{Ordering, Reverse};

use filter::View;

use crate::{condition::Conditions, host::Host, pattern::Pattern};

/// Which requests one route takes.
#[derive(Debug, Clone)]
pub(crate) struct Rule {
    pub name: Box<str>,
    pub hosts: Vec<Host>,
    pub pattern: Pattern,
    pub conditions: Conditions,
}

impl Rule {
    /// The most specific of the rule's hosts that `host` is, if any.
    pub fn host(&self, host: &str) -> Option<&Host> {
        self.hosts.iter().filter(|pattern| pattern.matches(host)).min_by_key(|pattern| pattern.rank())
    }

    /// Which of two rules with the same host and path is asked first.
    pub fn order(&self, other: &Self) -> Ordering {
        let weight = |rule: &Self| Reverse(rule.conditions.weight());
        weight(self).cmp(&weight(other)).then_with(|| self.name.cmp(&other.name))
    }

    /// Whether the rule takes the request, looked at on its own; `path` is in the spelling that patterns see.
    #[cfg(test)]
    pub fn takes(&self, view: &View<'_>, path: &str) -> bool {
        self.host(view.host).is_some() && self.pattern.matches(path) && self.conditions.hold(view)
    }

    /// Why the rule does not take the request, in words, if it does not.
    pub fn refusal(&self, view: &View<'_>, host: &str, path: &str) -> Option<String> {
        if self.host(host).is_none() {
            return Some("host differs".into());
        }
        if !self.pattern.matches(path) {
            return Some("path differs".into());
        }
        self.conditions.unmet(view).map(|unmet| unmet.to_string())
    }
}
