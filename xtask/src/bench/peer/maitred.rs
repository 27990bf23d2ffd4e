//! Ourselves, as a user would run us: what is on by default is on.

use std::fmt::Write;

use super::Scene;
use crate::bench::scenario::Policy;

/// How many routes `Policy::Routes` has.
const ROUTES: usize = 10_000;

pub(super) fn config(scene: &Scene<'_>) -> String {
    let Scene { ground, plain, tls, .. } = scene;
    let ground = ground.display();
    let backends = scene.each(|port| format!("\"http://127.0.0.1:{port}\""), ", ");
    format!(
        "[server]\nthreads = 1\n\n[listeners.plain]\naddress = \"127.0.0.1:{plain}\"\n\n[listeners.tls]\n\
         address = \"127.0.0.1:{tls}\"\nprotocols = [\"h2\", \"h1\"]\n\
         tls = {{ cert = \"{ground}/cert.pem\", key = \"{ground}/key.pem\" }}\n\n[admin]\naddress = []\n\n\
         [logging]\nlevel = \"warn\"\naccess = {}\n\n[upstreams.origin]\nbackends = [{backends}]\n\n{}",
        access_log(scene),
        routes(scene.policy)
    )
}

fn access_log(scene: &Scene<'_>) -> String {
    match scene.policy {
        Policy::Full => format!("{{ format = \"json\", output = \"{}/access.log\" }}", scene.folder.display()),
        Policy::Bare | Policy::Routes => "false".to_owned(),
    }
}

fn routes(policy: Policy) -> String {
    let mut text = "[routes.all]\npath = \"/*\"\nupstream = \"origin\"\n".to_owned();
    match policy {
        Policy::Bare => {}
        Policy::Full => text.push_str(
            "request = { set = { X-Edge = \"{client_ip}\" }, remove = [\"Cookie\"] }\n\
             response = { set = { X-Served-By = \"maitred\" }, remove = [\"Server\"] }\nsecurity_headers = true\n",
        ),
        Policy::Routes => (1..ROUTES).for_each(|index| {
            let _ = writeln!(text, "[routes.r{index}]\npath = \"/service-{index}/*\"\nupstream = \"origin\"");
        }),
    }
    text
}
