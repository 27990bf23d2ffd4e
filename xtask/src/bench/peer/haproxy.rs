//! HAProxy: one thread, connections to the origin shared by all clients, and kept as well where clients have most of its files.

use std::fmt::Write;

use super::Scene;
use crate::bench::scenario::Policy;

pub(super) fn config(scene: &Scene<'_>) -> String {
    let Scene { ground, plain, tls, .. } = scene;
    let ground = ground.display();
    let mut text = format!(
        "global\n  nbthread 1\n  no strict-limits\n  maxconn 12000\n  tune.pool-low-fd-ratio 90\n  \
         tune.pool-high-fd-ratio 95\n\ndefaults\n  mode http\n  timeout connect 5s\n  timeout client 60s\n  \
         timeout server 60s\n  http-reuse always\n\nfrontend front\n  bind 127.0.0.1:{plain}\n  \
         bind 127.0.0.1:{tls} ssl crt {ground}/both.pem alpn h2,http/1.1\n  default_backend origin\n\n\
         backend origin\n  balance roundrobin\n"
    );
    for (index, port) in scene.origin.iter().enumerate() {
        let _ = writeln!(text, "  server o{index} 127.0.0.1:{port}");
    }
    if scene.policy == Policy::Cache {
        text.push_str(
            "  http-request cache-use kept\n  http-response cache-store kept\n\n\
             cache kept\n  total-max-size 256\n  max-object-size 2097152\n  max-age 3600\n",
        );
    }
    text
}
