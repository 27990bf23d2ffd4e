//! Varnish: its cache in memory, one pool of threads. It speaks no TLS, so both ports are plain.

use super::Scene;

pub(super) fn config(scene: &Scene<'_>) -> String {
    let port = scene.origin.first().copied().unwrap_or_default();
    format!("vcl 4.1;\nbackend origin {{ .host = \"127.0.0.1\"; .port = \"{port}\"; }}\n")
}

/// The words that run it: `program` with its file, in `folder`, listening on both ports.
pub(super) fn words(program: &str, folder: &str, config: &str, ports: [u16; 2]) -> String {
    let [plain, tls] = ports;
    format!(
        "{program} -F -j none -n {folder} -f {config} -a 127.0.0.1:{plain} -a 127.0.0.1:{tls} -s malloc,256m \
         -p thread_pools=1 -p thread_pool_min=200"
    )
}
