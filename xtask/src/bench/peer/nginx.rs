//! nginx: no access log, keep-alive without a limit, nothing on disk.

use super::Scene;
use crate::bench::{origin, scenario::Policy};

pub(super) fn config(scene: &Scene<'_>) -> String {
    let Scene { ground, folder, plain, tls, .. } = scene;
    let ground = ground.display();
    let servers = scene.each(|port| format!("server 127.0.0.1:{port};"), "\n");
    let (zone, more) = match scene.policy {
        Policy::Cache => (zone(scene), "proxy_cache kept;"),
        Policy::Gzip => (String::new(), "gzip on; gzip_comp_level 6; gzip_types application/json;"),
        _ => (String::new(), ""),
    };
    let inside = format!(
        "{zone}upstream origin {{\n{servers}\nkeepalive 256;\nkeepalive_requests 1000000000;\n}}\nserver {{\n\
         listen 127.0.0.1:{plain};\nlisten 127.0.0.1:{tls} ssl http2;\nssl_certificate {ground}/cert.pem;\n\
         ssl_certificate_key {ground}/key.pem;\nssl_protocols TLSv1.2 TLSv1.3;\n\
         ssl_session_cache shared:TLS:10m;\nclient_max_body_size 2m;\nclient_body_buffer_size 2m;\n\
         location / {{ proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection \"\"; \
         proxy_max_temp_file_size 0; proxy_request_buffering off; {more} }}\n}}"
    );
    origin::nginx_config(folder, &inside)
}

/// A cache on disk, which nginx sends from the page cache by `sendfile`, with its files held open.
fn zone(scene: &Scene<'_>) -> String {
    let folder = scene.folder.display();
    format!(
        "proxy_cache_path {folder}/kept levels=1:2 keys_zone=kept:10m max_size=256m inactive=60m use_temp_path=off;\n\
         open_file_cache max=1000 inactive=60s;\n"
    )
}
