//! The proxies, each with the configuration that a person who knows it would write for one core.

mod caddy;
mod envoy;
mod haproxy;
mod maitred;
mod nginx;
mod varnish;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    bench::{
        Ground,
        origin::Origin,
        presenter::Presenter,
        provider,
        scenario::{Policy, Scenario, Transport},
        server::{Server, free_ports},
    },
    packages::Tool,
    shell::{self, Failure, because},
};

/// The core that the proxy has to itself. A second worker has the other one, which it shares with origin and load.
pub(crate) const CORE: u8 = 0;

/// Who is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    /// Ourselves.
    Maitred,
    /// Ourselves with one bare route, to compare with what more costs.
    Bare,
    /// Debian's nginx.
    Nginx,
    /// Debian's HAProxy.
    Haproxy,
    /// Envoy, from PyPI's wheel.
    Envoy,
    /// Debian's Caddy.
    Caddy,
    /// Debian's Varnish.
    Varnish,
}

/// A running proxy.
#[derive(Debug)]
pub(crate) struct Proxy {
    /// Which one.
    pub(crate) peer: Peer,
    /// Where it speaks plain HTTP/1.1.
    pub(crate) plain: u16,
    /// Where it speaks TLS, with HTTP/2 and HTTP/1.1.
    pub(crate) tls: u16,
    /// Who shows it a client's certificate, where that is the scenario.
    pub(crate) presenter: Option<Presenter>,
    /// Its process.
    pub(crate) server: Server,
}

/// What a configuration is written from.
#[derive(Debug)]
struct Scene<'a> {
    /// The folder with the certificate.
    ground: &'a Path,
    /// The proxy's own folder.
    folder: &'a Path,
    /// The ports of the origin.
    origin: &'a [u16],
    plain: u16,
    tls: u16,
    policy: Policy,
}

impl Scene<'_> {
    /// A phrase for each of the origin's ports.
    fn each(&self, phrase: impl Fn(u16) -> String, between: &str) -> String {
        self.origin.iter().map(|port| phrase(*port)).collect::<Vec<_>>().join(between)
    }
}

impl Peer {
    /// Everybody whom maitred can be compared with.
    pub(crate) const OTHERS: [Peer; 5] = [Peer::Nginx, Peer::Haproxy, Peer::Envoy, Peer::Caddy, Peer::Varnish];

    /// The name in tables and on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Peer::Maitred => "maitred",
            Peer::Bare => "bare",
            Peer::Nginx => "nginx",
            Peer::Haproxy => "haproxy",
            Peer::Envoy => "envoy",
            Peer::Caddy => "caddy",
            Peer::Varnish => "varnish",
        }
    }

    /// Whether it does what a scenario of `policy` is about. HAProxy compresses by a library of its own that trades size
    /// for speed, so that it has no equal ratio.
    pub(crate) fn does(self, policy: Policy) -> bool {
        match self {
            Peer::Maitred | Peer::Nginx => true,
            Peer::Bare => policy.is_ours(),
            Peer::Haproxy => matches!(policy, Policy::Bare | Policy::Cache),
            Peer::Envoy | Peer::Caddy => policy == Policy::Bare,
            Peer::Varnish => policy == Policy::Cache,
        }
    }

    /// What has to be installed for it.
    pub(crate) fn tool(self) -> Option<Tool> {
        match self {
            Peer::Haproxy => Some(Tool { program: "haproxy", package: "haproxy", why: "a peer" }),
            Peer::Caddy => Some(Tool { program: "caddy", package: "caddy", why: "a peer" }),
            Peer::Varnish => Some(Tool { program: "varnishd", package: "varnish", why: "a peer" }),
            Peer::Envoy => Some(Tool { program: "pip3", package: "python3-pip", why: "has Envoy's wheel" }),
            Peer::Maitred | Peer::Bare | Peer::Nginx => None, // built here; the origin needs it anyway
        }
    }

    /// Its program, fetched if it is Envoy's.
    fn program(self, ground: &Ground) -> Result<PathBuf, Failure> {
        match self {
            Peer::Maitred | Peer::Bare => Ok(ground.binary.clone()),
            Peer::Envoy => envoy::program(&ground.folder),
            Peer::Nginx | Peer::Haproxy | Peer::Caddy | Peer::Varnish => {
                let program = self.tool().map_or(self.name(), |tool| tool.program);
                shell::which(program).ok_or_else(|| Failure::new(format!("`{program}` is not installed")))
            }
        }
    }

    /// The line of what it says, when asked for its version, that has the version.
    pub(crate) fn version(self, ground: &Ground) -> Result<String, Failure> {
        let mut command = Command::new(self.program(ground)?);
        command.arg(match self {
            Peer::Maitred | Peer::Bare | Peer::Caddy => "version",
            Peer::Nginx | Peer::Haproxy => "-v",
            Peer::Envoy => "--version",
            Peer::Varnish => "-V",
        });
        let output = command.output().map(|output| [output.stdout, output.stderr].concat()).unwrap_or_default();
        let text = String::from_utf8_lossy(&output);
        let line = text.lines().find(|line| line.contains(|c: char| c.is_ascii_digit())).unwrap_or_default().trim();
        // Envoy begins with where it lies.
        if let Some((_, version)) = line.split_once("  version: ").filter(|(place, _)| place.starts_with('/')) {
            return Ok(format!("{} version: {version}", self.name()));
        }
        Ok(if line.to_lowercase().contains(self.name()) { line.to_owned() } else { format!("{} {line}", self.name()) })
    }

    /// Its configuration: the name of the file and the text.
    fn config(self, scene: &Scene<'_>) -> (&'static str, String) {
        match self {
            Peer::Maitred | Peer::Bare => ("maitred.toml", maitred::config(scene)),
            Peer::Nginx => ("nginx.conf", nginx::config(scene)),
            Peer::Haproxy => ("haproxy.cfg", haproxy::config(scene)),
            Peer::Envoy => ("envoy.yaml", envoy::config(scene)),
            Peer::Caddy => ("Caddyfile", caddy::config(scene)),
            Peer::Varnish => ("default.vcl", varnish::config(scene)),
        }
    }

    /// The command that runs it in the foreground.
    fn command(self, program: &Path, scene: &Scene<'_>, config: &Path) -> Vec<String> {
        let [program, folder, config] = [program, scene.folder, config].map(|path| path.display().to_string());
        let line = match self {
            Peer::Maitred | Peer::Bare => format!("{program} run --config {config}"),
            Peer::Nginx => format!("{program} -p {folder} -c {config} -e {folder}/error.log"),
            Peer::Haproxy => format!("{program} -db -f {config}"),
            Peer::Envoy => format!("{program} --concurrency 1 --disable-hot-restart --log-level error -c {config}"),
            Peer::Caddy => {
                format!("env GOMAXPROCS=1 HOME={folder} {program} run --adapter caddyfile --config {config}")
            }
            Peer::Varnish => varnish::words(&program, &folder, &config, [scene.plain, scene.tls]),
        };
        line.split(' ').map(str::to_owned).collect()
    }
}

impl Proxy {
    /// Starts the proxy with one worker on its core, in front of all of the origin's ports. `under` are the words of a
    /// program that runs it, such as valgrind; often none.
    pub(crate) fn start(
        peer: Peer,
        scenario: &Scenario,
        ground: &Ground,
        origin: &Origin,
        under: &[String],
    ) -> Result<Self, Failure> {
        let folder = ground.folder.join(peer.name());
        fs::create_dir_all(&folder).map_err(because("cannot make the proxy's folder"))?;
        let [plain, tls] = free_ports()?;
        let policy = if peer == Peer::Bare { scenario.policy.bare() } else { scenario.policy };
        // Whoever is to be the measure has nothing to choose from.
        let backends = if peer == Peer::Bare { &origin.ports[..1] } else { &*origin.ports };
        let scene = Scene { ground: &ground.folder, folder: &folder, origin: backends, plain, tls, policy };
        let (name, text) = peer.config(&scene);
        let config = folder.join(name);
        fs::write(&config, text).map_err(because("cannot write the proxy's file"))?;
        let mut words = peer.command(&peer.program(ground)?, &scene, &config);
        if peer == Peer::Nginx && !under.is_empty() {
            // Whoever looks on sees one process.
            words.extend(["-g", "master_process off;"].map(str::to_owned));
        }
        let cores = CORE..CORE + policy.workers();
        let server = Server::start(cores, under.iter().chain(&words), &[plain, tls], &folder.join("log"))?;
        let presents = scenario.transport == Transport::Presented;
        let presenter =
            presents.then(|| Presenter::start(&ground.folder, &folder.join("presenter"), tls)).transpose()?;
        if policy == Policy::Login {
            let first = origin.ports.first().copied().unwrap_or_default();
            ground.caller.keep(provider::log_in(plain, scenario.path, first, &ground.folder)?);
        }
        Ok(Self { peer, plain, tls, presenter, server })
    }
}
