//! From a host's name to its addresses: the hosts file, then DNS.

use std::{
    io::ErrorKind,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use hickory_resolver::{
    TokioResolver,
    config::{LookupIpStrategy, ResolveHosts, ResolverConfig, ResolverOpts},
    net::runtime::TokioRuntimeProvider,
    proto::rr::{RData, Record},
    system_conf::parse_resolv_conf,
};
use serde::{Deserialize, Serialize};

/// How often the hosts file is looked at again.
const HOSTS_TTL: Duration = Duration::from_secs(30);

/// Where addresses come from. The system's resolver in a running server; a table in a test.
#[async_trait]
pub trait Resolve: Send + Sync + 'static {
    /// The addresses of `host` now. The error is a phrase for the log.
    async fn resolve(&self, host: &str) -> Result<Answer, String>;

    /// Who offers the service `name`, such as `_http._tcp.users.internal`, and how long that holds (RFC 2782).
    async fn services(&self, name: &str) -> Result<(Vec<Service>, Duration), String> {
        Err(format!("nobody knows of `{name}`"))
    }
}

/// Who offers a service, as one SRV record says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Those of the lowest are to be used first.
    pub priority: u16,
    /// The share of the requests among those of the same priority.
    pub weight: u16,
    /// Where it listens.
    pub port: u16,
    /// The host; `.` where there is no such service.
    pub target: Box<str>,
}

/// A name's addresses and how long they hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// At least one address.
    pub addresses: Vec<IpAddr>,
    /// How long the addresses may be used without asking again.
    pub ttl: Duration,
}

/// The system's way of resolving names: `/etc/hosts`, then the name servers of `/etc/resolv.conf`. Both files are read
/// again for every lookup, so that a change needs no restart.
pub struct System {
    hosts: Box<str>,
    resolv: Box<str>,
    dns: Mutex<Option<Dns>>,
}

/// The DNS client made from one state of `resolv.conf`.
struct Dns {
    made_from: String,
    client: TokioResolver,
}

impl Default for System {
    fn default() -> Self {
        Self::with_files("/etc/hosts", "/etc/resolv.conf")
    }
}

#[async_trait]
impl Resolve for System {
    async fn resolve(&self, host: &str) -> Result<Answer, String> {
        let name = host.trim_end_matches('.');
        let hosts = tokio::fs::read_to_string(&*self.hosts).await.unwrap_or_default();
        let listed = listed(&hosts, name);
        let (found, ttl) = if !listed.is_empty() {
            (listed, HOSTS_TTL)
        } else if is_localhost(name) {
            (vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()], HOSTS_TTL)
        } else {
            self.ask(host).await?
        };
        Ok(Answer { addresses: usable(found), ttl })
    }

    async fn services(&self, name: &str) -> Result<(Vec<Service>, Duration), String> {
        let client = self.client().await?;
        let found = client.srv_lookup(name).await.map_err(|error| error.to_string())?;
        let service = |record: &Record| match &record.data {
            RData::SRV(srv) => {
                let target = srv.target.to_ascii().into();
                Some((Service { priority: srv.priority, weight: srv.weight, port: srv.port, target }, record.ttl))
            }
            _ => None,
        };
        let (services, ttls): (Vec<Service>, Vec<u32>) = found.answers().iter().filter_map(service).unzip();
        let ttl = ttls.into_iter().min().unwrap_or(0);
        Ok((services, Duration::from_secs(ttl.into())))
    }
}

impl System {
    /// The same from other files.
    pub fn with_files(hosts: impl Into<Box<str>>, resolv: impl Into<Box<str>>) -> Self {
        Self { hosts: hosts.into(), resolv: resolv.into(), dns: Mutex::default() }
    }

    async fn ask(&self, host: &str) -> Result<(Vec<IpAddr>, Duration), String> {
        let client = self.client().await?;
        let found = client.lookup_ip(host).await.map_err(|error| error.to_string())?;
        let records = found.as_lookup().answers();
        let ttl = records.iter().map(|record| record.ttl).min().unwrap_or(0);
        let addresses: Vec<IpAddr> = found.iter().collect();
        if addresses.is_empty() {
            Err("the name has no addresses".into())
        } else {
            Ok((addresses, Duration::from_secs(ttl.into())))
        }
    }

    async fn client(&self) -> Result<TokioResolver, String> {
        let text = tokio::fs::read_to_string(&*self.resolv).await;
        let text = text.map_err(|error| format!("cannot read {}: {error}", self.resolv))?;
        let mut dns = self.dns.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(dns) = dns.as_ref().filter(|dns| dns.made_from == text) {
            return Ok(dns.client.clone());
        }
        let client = client(&text).map_err(|error| format!("cannot use {}: {error}", self.resolv))?;
        *dns = Some(Dns { made_from: text, client: client.clone() });
        Ok(client)
    }
}

fn client(resolv: &str) -> Result<TokioResolver, String> {
    let (config, options) = parse_resolv_conf(resolv).map_err(|error| error.to_string())?;
    built(config, options)
}

fn built(config: ResolverConfig, mut options: ResolverOpts) -> Result<TokioResolver, String> {
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    options.use_hosts_file = ResolveHosts::Never;
    // The answers are kept by whoever asks here, for as long as their TTL says.
    options.cache_size = 0;
    let builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    builder.with_options(options).build().map_err(|error| error.to_string())
}

/// The addresses that a hosts file gives `name`, in the order of the file (hosts(5)).
fn listed(hosts: &str, name: &str) -> Vec<IpAddr> {
    let mut found = Vec::new();
    for line in hosts.lines() {
        let mut words = line.split('#').next().unwrap_or("").split_ascii_whitespace();
        let address = words.next().and_then(|word| word.parse().ok());
        if let Some(address) = address
            && words.any(|word| word.trim_end_matches('.').eq_ignore_ascii_case(name))
            && !found.contains(&address)
        {
            found.push(address);
        }
    }
    found
}

/// Names that stand for this machine whatever DNS says (RFC 6761 section 6.3).
fn is_localhost(name: &str) -> bool {
    name.rsplit('.').next().is_some_and(|last| last.eq_ignore_ascii_case("localhost"))
}

/// Leaves out addresses that this machine has no way to (RFC 6724 section 6, rule 1): those of a family that it does not
/// speak, above all. All of them, when there is a way to none.
fn usable(addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    let reachable: Vec<IpAddr> = addresses.iter().copied().filter(|&address| has_route(address)).collect();
    if reachable.is_empty() { addresses } else { reachable }
}

/// Asks the kernel for a source address towards `address`: connecting a datagram socket sends nothing.
fn has_route(address: IpAddr) -> bool {
    let any: IpAddr = if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let connected = UdpSocket::bind((any, 0)).and_then(|socket| socket.connect(SocketAddr::new(address, 9)));
    let absent = |kind| {
        matches!(
            kind,
            ErrorKind::NetworkUnreachable
                | ErrorKind::HostUnreachable
                | ErrorKind::AddrNotAvailable
                | ErrorKind::Unsupported
        )
    };
    match connected {
        Ok(()) => true,
        // EAFNOSUPPORT has no kind of its own. Anything else, such as no free descriptor, says nothing about the route.
        Err(error) => !absent(error.kind()) && error.raw_os_error() != Some(EAFNOSUPPORT),
    }
}

#[cfg(test)]
impl System {
    /// One that asks the name server at `server` and nobody else; its files lie in `folder`.
    pub(crate) fn asking(server: SocketAddr, folder: &std::path::Path) -> Self {
        let resolv = "nameserver 127.0.0.1\n";
        let place = |name: &str| folder.join(name).to_str().unwrap().to_owned();
        std::fs::write(place("resolv.conf"), resolv).unwrap();
        let mut connection = hickory_resolver::config::ConnectionConfig::udp();
        connection.port = server.port();
        let server = hickory_resolver::config::NameServerConfig::new(server.ip(), true, vec![connection]);
        let config = ResolverConfig::from_parts(None, vec![], vec![server]);
        let (_, options) = parse_resolv_conf(resolv).unwrap();
        let client = built(config, options).unwrap();
        let system = Self::with_files(place("hosts"), place("resolv.conf"));
        *system.dns.lock().unwrap() = Some(Dns { made_from: resolv.into(), client });
        system
    }
}

/// "Address family not supported by protocol" (errno(3) on Linux).
const EAFNOSUPPORT: i32 = 97;

#[cfg(test)]
mod tests;
