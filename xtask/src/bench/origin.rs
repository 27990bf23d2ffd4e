//! The origin behind every proxy: one nginx that answers from memory and files, on as many ports as there are backends.

use std::{fmt::Write, fs, path::Path};

use crate::{
    bench::{
        Ground, provider,
        server::{Server, free_ports},
    },
    shell::{self, Failure, because},
};

/// The core that the origin and the load generator share.
pub(crate) const CORE: u8 = 1;
/// The most backends that a scenario has.
const MOST: usize = 16;

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
        for (name, size) in [("json", 32 << 10), ("orders", 256 << 10)] {
            fs::write(folder.join(name), orders(size)).map_err(because("cannot write the origin's files"))?;
        }
        let ports: Vec<u16> = free_ports::<MOST>()?.into_iter().take(backends).collect();
        let first = ports.first().copied().unwrap_or_default();
        provider::publish(&folder, first, &ground.folder)?;
        let listen: String = ports.iter().map(|port| format!("listen 127.0.0.1:{port};\n")).collect();
        let server = format!(
            "server {{\n{listen}\nroot {};\ndefault_type text/plain;\nclient_max_body_size 2m;\n\
             location = /tiny {{ return 200 \"{}\"; }}\nlocation = /upload {{ {} }}\n\
             location /kept/ {{ {} }}\nlocation = /json {{ default_type application/json; }}\n\
             location = /orders {{ default_type application/json; }}\n\
             location = /busy {{ {} }}\n{}\n}}",
            folder.display(),
            body(2),
            upload(first),
            kept(&folder),
            busy(&ports),
            provider::location()
        );
        let server = Server::nginx(CORE, &folder, &nginx_config(&folder, &server), &ports)?;
        Ok(Self { ports, _server: server })
    }
}

/// Reads a whole body before it answers, by asking itself for the answer: `return` alone answers while the body comes.
fn upload(port: u16) -> String {
    format!(
        "client_body_buffer_size 2m; proxy_pass_request_body off; proxy_set_header Content-Length \"\"; \
         proxy_method GET; proxy_pass http://127.0.0.1:{port}/tiny;"
    )
}

/// Has no time on the second port, if there is one.
fn busy(ports: &[u16]) -> String {
    let second = ports.get(1).map(|port| format!("if ($server_port = {port}) {{ return 503; }} ")).unwrap_or_default();
    format!("{second}return 200 \"{}\";", body(2))
}

/// What may be kept for an hour, with a number that shows whether an answer has been kept.
fn kept(folder: &Path) -> String {
    let folder = folder.display();
    format!("alias {folder}/; add_header Cache-Control \"max-age=3600\"; add_header {SERIAL} $request_id;")
}

/// The field that differs in every answer of the origin.
pub(crate) const SERIAL: &str = "X-Serial";

/// JSON of about that size, which compresses as JSON does: names that come again and numbers that do not.
fn orders(size: usize) -> String {
    let mut text = "[".to_owned();
    let mut random: u64 = 1;
    while text.len() < size {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407); // Knuth, MMIX
        let (order, cents, stock) = (random >> 40, (random >> 24) % 100_000, (random >> 20) % 7);
        let state = ["open", "paid", "packed", "on its way", "delivered", "sent back", "lost"][stock as usize];
        let _ =
            writeln!(text, "{{\"order\":{order},\"price\":{}.{:02},\"state\":\"{state}\"}},", cents / 100, cents % 100);
    }
    text + "{}]"
}

/// Text that is easy to recognise and does not compress to nothing.
fn body(size: usize) -> String {
    let alphabet = "abcdefghijklmnopqrstuvwxyz012345";
    alphabet.chars().cycle().take(size).collect()
}

/// An nginx with one worker around `inside`, the same for the origin and the peer: no log, no limit on keep-alive.
pub(crate) fn nginx_config(folder: &Path, inside: &str) -> String {
    let folder = folder.display();
    let user = if shell::is_root() { "user root;" } else { "" };
    format!(
        "{user}\nworker_processes 1;\ndaemon off;\npid {folder}/pid;\nerror_log {folder}/error.log warn;\n\
         events {{ worker_connections 20000; }}\nhttp {{\naccess_log off;\nsendfile on;\ntcp_nopush on;\n\
         keepalive_timeout 60s;\nkeepalive_requests 1000000000;\n\
         client_body_temp_path {folder}/body;\nproxy_temp_path {folder}/proxy;\nfastcgi_temp_path {folder}/fastcgi;\n\
         uwsgi_temp_path {folder}/uwsgi;\nscgi_temp_path {folder}/scgi;\n{inside}\n}}\n"
    )
}
