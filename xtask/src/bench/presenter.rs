//! An nginx between the load and the proxy that shows a client's certificate, which neither wrk nor h2load can do.

use std::{fs, path::Path};

use super::{
    origin,
    server::{Server, free_ports},
};
use crate::shell::{Failure, because};

/// Where it is asked in the clear for what it asks the proxy for over TLS, on connections that stay open.
#[derive(Debug)]
pub(crate) struct Presenter {
    /// Where it listens.
    pub(crate) port: u16,
    _server: Server,
}

impl Presenter {
    /// Starts it in front of `tls`, on the core of the load. `ground` has the certificate, and `folder` is for its own files.
    pub(crate) fn start(ground: &Path, folder: &Path, tls: u16) -> Result<Self, Failure> {
        fs::create_dir_all(folder).map_err(because("cannot make the presenter's folder"))?;
        let [port] = free_ports()?;
        let ground = ground.display();
        let inside = format!(
            "upstream proxy {{ server 127.0.0.1:{tls}; keepalive 256; keepalive_requests 1000000000; }}\nserver {{\n\
             listen 127.0.0.1:{port};\nlocation / {{ proxy_pass https://proxy; proxy_http_version 1.1; proxy_set_header \
             Connection \"\"; proxy_set_header Host localhost; proxy_ssl_server_name on; proxy_ssl_name localhost; \
             proxy_ssl_protocols TLSv1.3; proxy_ssl_certificate {ground}/client.pem; proxy_ssl_certificate_key \
             {ground}/client.key; }}\n}}"
        );
        let server = Server::nginx(origin::CORE, folder, &origin::nginx_config(folder, &inside), &[port])?;
        Ok(Self { port, _server: server })
    }
}
