//! Caddy: one processor for Go, no log, no admin listener.

use super::Scene;

pub(super) fn config(scene: &Scene<'_>) -> String {
    let Scene { ground, plain, tls, .. } = scene;
    let ground = ground.display();
    let backends = scene.each(|port| format!("127.0.0.1:{port}"), " ");
    let proxy = format!(
        "reverse_proxy {backends} {{\n    lb_policy round_robin\n    transport http {{\n      keepalive_idle_conns 512\n      \
         keepalive_idle_conns_per_host 256\n    }}\n  }}"
    );
    format!(
        "{{\n  admin off\n  auto_https off\n  log {{\n    level ERROR\n  }}\n}}\nhttp://127.0.0.1:{plain} {{\n  {proxy}\n}}\n\
         https://localhost:{tls} {{\n  bind 127.0.0.1\n  tls {ground}/cert.pem {ground}/key.pem\n  {proxy}\n}}\n"
    )
}
