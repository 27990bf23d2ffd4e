//! The backends that SRV records name (RFC 2782).

use std::time::Duration;

use async_trait::async_trait;

use super::{Discover, Found, Listed, MOST};
use crate::{
    name::{LONGEST_TTL, SHORTEST_TTL},
    resolve::{Resolve, Service},
    subset::Labels,
    target::{Place, Protocol, Target},
};

/// Where a service is, by its name such as `_http._tcp.users.internal`.
#[derive(Debug)]
pub(crate) struct Srv {
    pub(crate) name: Box<str>,
    pub(crate) protocol: Protocol,
    /// How often to look, where that is not the TTL's to say.
    pub(crate) refresh: Option<Duration>,
}

#[async_trait]
impl Discover for Srv {
    fn provider(&self) -> &'static str {
        "srv"
    }

    fn service(&self) -> Option<&Srv> {
        Some(self)
    }

    async fn find(&self, resolver: &dyn Resolve) -> Result<Found, String> {
        let (services, ttl) = resolver.services(&self.name).await?;
        let backends = self.listed(&services);
        match backends.len() {
            0 => Err("no host offers the service".into()),
            count if count > MOST => Err(format!("{count} backends are too many")),
            _ => {
                let ttl = self.refresh.unwrap_or_else(|| ttl.clamp(SHORTEST_TTL, LONGEST_TTL));
                Ok(Found { backends: backends.into(), ttl })
            }
        }
    }
}

impl Srv {
    /// The backends that records name.
    pub(super) fn listed(&self, services: &[Service]) -> Vec<Listed> {
        let mut priorities: Vec<u16> = services.iter().map(|service| service.priority).collect();
        priorities.sort_unstable();
        priorities.dedup();
        let place = |priority: u16| priorities.iter().position(|one| *one == priority).unwrap_or(0);
        let mut listed: Vec<Listed> = Vec::new();
        for service in services {
            let host = service.target.trim_end_matches('.').to_ascii_lowercase();
            // A root for a target says that there is no such service here.
            if host.is_empty() || service.port == 0 {
                continue;
            }
            let target = Target { protocol: self.protocol, place: Place::Name(host.into(), service.port) };
            if listed.iter().any(|one| one.target == target) {
                continue;
            }
            listed.push(Listed {
                labels: Labels::new(),
                target,
                // One of weight 0 has "a very small chance", and not none.
                weight: u32::from(service.weight.max(1)),
                backup: false,
                zone: None,
                priority: u8::try_from(place(service.priority)).unwrap_or(u8::MAX),
                refresh: self.refresh,
            });
        }
        // The order of an answer says nothing.
        listed.sort_by_cached_key(|one| (one.priority, one.target.label()));
        listed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(priority: u16, weight: u16, port: u16, target: &str) -> Service {
        Service { priority, weight, port, target: target.into() }
    }

    #[test]
    fn records_become_backends() {
        let srv = Srv { name: "_http._tcp.a".into(), protocol: Protocol::Http, refresh: None };
        let listed = srv.listed(&[
            service(20, 5, 80, "C.test."),
            service(10, 0, 81, "b.test."),
            service(10, 3, 80, "a.test."),
            service(10, 3, 80, "a.test."),
            service(0, 0, 0, "."),
        ]);
        let told: Vec<_> = listed.iter().map(|one| (one.target.label(), one.weight, one.priority)).collect();
        let expected = [("a.test:80", 3, 1), ("b.test:81", 1, 1), ("c.test:80", 5, 2)];
        assert_eq!(told, expected.map(|(label, weight, priority)| (label.to_owned(), weight, priority)));
    }
}
