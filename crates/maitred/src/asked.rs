//! A request that nobody sends, made ready for the judge: the listener that it would come in by, and its head.

use std::{net::IpAddr, sync::Arc};

use filter::Scheme;
use http::{HeaderName, HeaderValue};
use listen::Listener;
use proxy::Asked;
use trial::Request;

/// What is known of a request besides its own text.
#[derive(Clone, Copy)]
pub struct Circumstances<'a> {
    /// The listeners of the configuration.
    pub listeners: &'a [Arc<Listener>],
    /// The listener that is named, if one is.
    pub named: Option<&'a str>,
    /// What the route takes that is expected to take the request.
    pub route: Option<&'a route::Match>,
}

/// No listener fits.
#[derive(Debug)]
pub enum Unfit<'a> {
    /// None speaks the scheme of the URL.
    Scheme(Scheme),
    /// The one that is named speaks another scheme than the URL.
    Named(&'a Listener),
}

impl<'a> Circumstances<'a> {
    /// The listener that the request comes in by.
    pub fn listener(&self, request: &Request) -> Result<&'a Arc<Listener>, Unfit<'a>> {
        let speaks = |listener: &&Arc<Listener>| {
            listener.mode.is_http() && request.scheme.is_none_or(|scheme| scheme == listener.scheme())
        };
        if let Some(listener) = self.named.and_then(|name| self.listeners.iter().find(|one| *one.name == *name)) {
            return if speaks(&listener) { Ok(listener) } else { Err(Unfit::Named(listener)) };
        }
        let speaking: Vec<&Arc<Listener>> = self.listeners.iter().filter(speaks).collect();
        let port = request.port();
        let at_port = |listener: &&&Arc<Listener>| port.is_some() && port_of(listener) == port;
        let taken = |listener: &&&Arc<Listener>| {
            let only = self.route.and_then(|route| route.listener.as_ref());
            let scheme = self.route.and_then(|route| route.scheme).map(Scheme::from);
            only.is_none_or(|only| only.iter().any(|name| **name == *listener.name))
                && scheme.is_none_or(|scheme| scheme == listener.scheme())
        };
        let best = speaking.iter().find(|one| at_port(one) && taken(one));
        let best = best.or_else(|| speaking.iter().find(at_port)).or_else(|| speaking.iter().find(taken));
        let fallback = request.scheme.unwrap_or(Scheme::Http);
        best.or(speaking.first()).copied().ok_or(Unfit::Scheme(fallback))
    }

    /// The host that a path alone is asked of.
    pub fn host(&self) -> String {
        let hosts = self.route.and_then(|route| route.host.as_ref());
        // A wildcard stands for any labels before its domain.
        hosts.and_then(|hosts| hosts.first()).map_or_else(|| "localhost".into(), |host| host.replacen('*', "any", 1))
    }
}

/// What the judge is asked; `None` for a head that cannot be.
pub fn asked(
    request: &Request,
    listener: &Arc<Listener>,
    host: &str,
    fields: &[(HeaderName, HeaderValue)],
    from: IpAddr,
    user: Option<&str>,
) -> Option<Asked> {
    let head = request.head(host, fields)?;
    let port = port_of(listener).or(request.port()).unwrap_or(listener.scheme().default_port());
    let host = request.host().unwrap_or(host).to_owned();
    Some(Asked { listener: listener.clone(), from, host, port, head, user: user.map(str::to_owned) })
}

/// The port that a listener says it has.
fn port_of(listener: &Listener) -> Option<u16> {
    listener.addresses.iter().find_map(listen::Address::port).filter(|port| *port != 0)
}
