//! The origin behind every proxy: one nginx that answers from memory and files, on as many ports as there are backends.

use std::{fs, process::Command};

use crate::{
    bench::{
        Ground,
        server::{Server, free_ports},
    },
    shell::{self, Failure, because},
};

/// The core that the origin and the load generator share.
pub(crate) const CORE: u8 = 1;
/// The most backends that a scenario has.
const MOST: usize = 10;

/// The running origin.
#[derive(Debug)]
pub(crate) struct Origin {
    /// Where it listens on the loopback address.
    pub(crate) ports: Vec<u16>,
    _server: Server,
}

impl Origin {
    /// Starts it with that many ports.
    pub(crate) fn start(ground: &Ground, backends: usize) -> Result<Self, Failure> {
        let folder = ground.folder.join("origin");
        fs::create_dir_all(&folder).map_err(because("cannot make the origin's folder"))?;
        for (name, size) in [("tiny", 2), ("10k", 10 << 10), ("1m", 1 << 20)] {
            fs::write(folder.join(name), body(size)).map_err(because("cannot write the origin's files"))?;
        }
        let ports: Vec<u16> = free_ports::<MOST>()?.into_iter().take(backends).collect();
        let listen: String = ports.iter().map(|port| format!("listen 127.0.0.1:{port};\n")).collect();
        let server = format!(
            "server {{\n{listen}\nroot {};\ndefault_type text/plain;\nlocation = /tiny {{ return 200 \"{}\"; }}\n}}",
            folder.display(),
            body(2)
        );
        let config = folder.join("nginx.conf");
        fs::write(&config, nginx_config(&folder, &server)).map_err(because("cannot write the origin's file"))?;
        let server = Server::start(CORE, &mut nginx(&folder, &config), &ports, &folder.join("log"))?;
        Ok(Self { ports, _server: server })
    }
}

/// Text that is easy to recognise and does not compress to nothing.
fn body(size: usize) -> String {
    let alphabet = "abcdefghijklmnopqrstuvwxyz012345";
    alphabet.chars().cycle().take(size).collect()
}

/// The command that runs nginx in the foreground.
pub(crate) fn nginx(folder: &std::path::Path, config: &std::path::Path) -> Command {
    let program = shell::which("nginx").unwrap_or_else(|| "nginx".into());
    let mut nginx = Command::new(program);
    nginx.arg("-p").arg(folder).arg("-c").arg(config).arg("-e").arg(folder.join("error.log"));
    nginx
}

/// An nginx with one worker around `inside`, the same for the origin and the peer: no log, no limit on keep-alive.
pub(crate) fn nginx_config(folder: &std::path::Path, inside: &str) -> String {
    let folder = folder.display();
    let user = if shell::is_root() { "user root;" } else { "" };
    format!(
        "{user}\nworker_processes 1;\ndaemon off;\npid {folder}/pid;\nerror_log {folder}/error.log warn;\n\
         events {{ worker_connections 4096; }}\nhttp {{\naccess_log off;\nsendfile on;\ntcp_nopush on;\n\
         keepalive_timeout 60s;\nkeepalive_requests 1000000000;\n\
         client_body_temp_path {folder}/body;\nproxy_temp_path {folder}/proxy;\nfastcgi_temp_path {folder}/fastcgi;\n\
         uwsgi_temp_path {folder}/uwsgi;\nscgi_temp_path {folder}/scgi;\n{inside}\n}}\n"
    )
}
