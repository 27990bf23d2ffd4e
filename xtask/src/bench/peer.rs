//! The proxies, each with the configuration that a person who knows it would write for one core.

use std::{fmt::Write, fs, process::Command};

use crate::{
    bench::{
        Ground,
        origin::{self, Origin},
        server::{Server, free_ports},
    },
    packages::Tool,
    shell::{self, Failure, because},
};

/// The core that the proxy has to itself.
const CORE: u8 = 0;

/// Who is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    /// Ourselves.
    Maitred,
    /// Debian's nginx.
    Nginx,
    /// Debian's HAProxy.
    Haproxy,
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
    /// Its process.
    pub(crate) server: Server,
}

impl Peer {
    /// The name in tables and on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Peer::Maitred => "maitred",
            Peer::Nginx => "nginx",
            Peer::Haproxy => "haproxy",
        }
    }

    /// What has to be installed for it.
    pub(crate) fn tool(self) -> Option<Tool> {
        match self {
            Peer::Haproxy => Some(Tool { program: "haproxy", package: "haproxy", why: "a peer" }),
            Peer::Maitred | Peer::Nginx => None, // built here; the origin needs it anyway
        }
    }

    /// The first line of what it says when asked for its version.
    pub(crate) fn version(self, ground: &Ground) -> String {
        let mut command = match self {
            Peer::Maitred => Command::new(&ground.binary),
            Peer::Nginx | Peer::Haproxy => Command::new(shell::which(self.name()).unwrap_or_default()),
        };
        command.arg(if self == Peer::Maitred { "version" } else { "-v" });
        let output = command.output().map(|output| [output.stdout, output.stderr].concat()).unwrap_or_default();
        String::from_utf8_lossy(&output).lines().next().unwrap_or(self.name()).to_owned()
    }
}

impl Proxy {
    /// Starts the proxy with one worker on its core, in front of all of the origin's ports.
    pub(crate) fn start(peer: Peer, ground: &Ground, origin: &Origin) -> Result<Self, Failure> {
        let folder = ground.folder.join(peer.name());
        fs::create_dir_all(&folder).map_err(because("cannot make the proxy's folder"))?;
        let [plain, tls] = free_ports()?;
        let (config, text) = match peer {
            Peer::Maitred => ("maitred.toml", maitred(ground, origin, plain, tls)),
            Peer::Nginx => ("nginx.conf", origin::nginx_config(&folder, &nginx(ground, origin, plain, tls))),
            Peer::Haproxy => ("haproxy.cfg", haproxy(ground, origin, plain, tls)),
        };
        let config = folder.join(config);
        fs::write(&config, text).map_err(because("cannot write the proxy's file"))?;
        let mut command = match peer {
            Peer::Maitred => Command::new(&ground.binary),
            Peer::Nginx => origin::nginx(&folder, &config),
            Peer::Haproxy => Command::new(shell::which("haproxy").unwrap_or_default()),
        };
        match peer {
            Peer::Maitred => command.arg("run").arg("--config").arg(&config),
            Peer::Nginx => &mut command,
            Peer::Haproxy => command.arg("-db").arg("-f").arg(&config),
        };
        let server = Server::start(CORE, &mut command, &[plain, tls], &folder.join("log"))?;
        Ok(Self { peer, plain, tls, server })
    }
}

fn maitred(ground: &Ground, origin: &Origin, plain: u16, tls: u16) -> String {
    let folder = ground.folder.display();
    let backends: Vec<String> = origin.ports.iter().map(|port| format!("\"http://127.0.0.1:{port}\"")).collect();
    format!(
        "[server]\nthreads = 1\n\n[listeners.plain]\naddress = \"127.0.0.1:{plain}\"\n\n[listeners.tls]\n\
         address = \"127.0.0.1:{tls}\"\nprotocols = [\"h2\", \"h1\"]\n\
         tls = {{ cert = \"{folder}/cert.pem\", key = \"{folder}/key.pem\" }}\n\n[logging]\nlevel = \"warn\"\n\
         access = false\n\n[upstreams.origin]\nbackends = [{}]\n\n[routes.all]\npath = \"/*\"\nupstream = \"origin\"\n",
        backends.join(", ")
    )
}

fn nginx(ground: &Ground, origin: &Origin, plain: u16, tls: u16) -> String {
    let folder = ground.folder.display();
    let servers: String = origin.ports.iter().map(|port| format!("server 127.0.0.1:{port};\n")).collect();
    format!(
        "upstream origin {{\n{servers}keepalive 256;\nkeepalive_requests 1000000000;\n}}\nserver {{\n\
         listen 127.0.0.1:{plain};\nlisten 127.0.0.1:{tls} ssl http2;\nssl_certificate {folder}/cert.pem;\n\
         ssl_certificate_key {folder}/key.pem;\nssl_protocols TLSv1.2 TLSv1.3;\n\
         location / {{ proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection \"\"; \
         proxy_max_temp_file_size 0; }}\n}}"
    )
}

fn haproxy(ground: &Ground, origin: &Origin, plain: u16, tls: u16) -> String {
    let folder = ground.folder.display();
    let mut text = format!(
        "global\n  nbthread 1\n  maxconn 4096\n\ndefaults\n  mode http\n  timeout connect 5s\n  timeout client 60s\n  \
         timeout server 60s\n  http-reuse always\n\nfrontend front\n  bind 127.0.0.1:{plain}\n  \
         bind 127.0.0.1:{tls} ssl crt {folder}/both.pem alpn h2,http/1.1\n  default_backend origin\n\n\
         backend origin\n  balance roundrobin\n"
    );
    for (index, port) in origin.ports.iter().enumerate() {
        let _ = writeln!(text, "  server o{index} 127.0.0.1:{port}");
    }
    text
}
