//! Ourselves, as a user would run us: what is on by default is on.

use std::fmt::Write;

use super::Scene;
use crate::bench::{provider, scenario::Policy};

/// How many routes `Policy::Routes` has.
const ROUTES: usize = 10_000;

const LIMIT: &str = "limit = { rate = \"1000000/s\", burst = 1000000, key = \"ip\" }\n";

const HEADERS: &str = "request = { set = { X-Edge = \"{client_ip}\" }, remove = [\"Cookie\"] }\n\
                       response = { set = { X-Served-By = \"maitred\" }, remove = [\"Server\"] }\nsecurity_headers = true\n";

pub(super) fn config(scene: &Scene<'_>) -> String {
    let Scene { ground, plain, tls, .. } = scene;
    let ground = ground.display();
    let backends = scene.each(|port| format!("\"http://127.0.0.1:{port}\""), ", ");
    format!(
        "[server]\nthreads = {}\n\n[listeners.plain]\naddress = \"127.0.0.1:{plain}\"\n\n[listeners.tls]\n\
         address = \"127.0.0.1:{tls}\"\nprotocols = [\"h2\", \"h1\"]\n\
         tls = {{ cert = \"{ground}/cert.pem\", key = \"{ground}/key.pem\" }}\n{}\n[admin]\naddress = []\n\n\
         [logging]\nlevel = \"warn\"\naccess = {}\n\n{}{}[upstreams.origin]\nbackends = [{backends}]\n{}\n{}",
        scene.policy.workers(),
        clients(scene),
        access_log(scene),
        if scene.policy == Policy::Cache { "[cache]\nmemory = \"256MiB\"\n\n" } else { "" },
        policies(scene),
        upstream(scene.policy),
        routes(scene.policy)
    )
}

/// Whose certificates clients have to show.
fn clients(scene: &Scene<'_>) -> String {
    match scene.policy {
        Policy::Certificate => format!("client_ca = \"{}/clients.pem\"\n", scene.ground.display()),
        _ => String::new(),
    }
}

fn access_log(scene: &Scene<'_>) -> String {
    match scene.policy {
        Policy::Log | Policy::Full => {
            format!("{{ format = \"json\", output = \"{}/access.log\" }}", scene.folder.display())
        }
        _ => "false".to_owned(),
    }
}

/// What is written below `[upstreams.origin]`.
fn upstream(policy: Policy) -> &'static str {
    match policy {
        Policy::Resilient => {
            "balance = \"least_requests\"\nslow_start = \"10s\"\npanic_threshold = \"30%\"\n\
             pool = { max_connections = 1000, queue = \"1s\" }\n\
             retries = { attempts = 2, on = [\"connect\", \"reset\", \"503\"], budget = \"20%\" }\n\
             health_check = { path = \"/tiny\", interval = \"5s\" }\n\
             outlier = { consecutive_errors = 5, eject_for = \"30s\", max_ejected = \"50%\" }\n\
             hedge = \"p99\"\nadaptive_concurrency = { min = 500 }\n\
             circuit_breaker = { failures = 50, within = \"10s\", open_for = \"30s\" }\n"
        }
        Policy::Retry => {
            "retries = { attempts = 1, on = \"503\", budget = \"100%\", backoff = \"1ms\" }\noutlier = false\n"
        }
        _ => "",
    }
}

fn policies(scene: &Scene<'_>) -> String {
    let ground = scene.ground.display();
    match scene.policy {
        Policy::Key | Policy::Full => {
            format!(
                "[auth.partners]\ntype = \"api_key\"\nkeys = \"{ground}/keys.toml\"\nforward = {{ user = \"X-User\" }}\n\n"
            )
        }
        Policy::Token => format!(
            "[auth.customers]\ntype = \"jwt\"\npublic_key = \"{ground}/token.pub\"\naudience = \"bench\"\n\
             forward = {{ sub = \"X-User\" }}\n\n"
        ),
        Policy::Basic => {
            format!(
                "[auth.people]\ntype = \"basic\"\nusers = \"{ground}/users.toml\"\nforward = {{ user = \"X-User\" }}\n\n"
            )
        }
        Policy::Introspection => asked(scene, "introspection", "client_id = \"a\"\nclient_secret = \"b\"\n"),
        Policy::Forward => asked(scene, "forward", "send = \"Authorization\"\n"),
        Policy::Certificate => {
            "[auth.machines]\ntype = \"mtls\"\nsan = \"*.partner.example\"\nforward = { user = \"X-User\" }\n\n"
                .to_owned()
        }
        Policy::Login => format!(
            "[auth.{}]\ntype = \"oidc\"\nissuer = \"{}\"\nclient_id = \"bench\"\nclient_secret = \"only for the bench, and long \
             enough\"\nforward = {{ user = \"X-User\" }}\n\n",
            provider::POLICY,
            provider::issuer(scene.origin.first().copied().unwrap_or_default())
        ),
        _ => String::new(),
    }
}

/// A policy that asks a route of our own, and believes it for an hour.
fn asked(scene: &Scene<'_>, kind: &str, more: &str) -> String {
    let url = format!("http://127.0.0.1:{}/issuer", scene.plain);
    format!(
        "[auth.asked]\ntype = \"{kind}\"\nurl = \"{url}\"\ncache = \"1h\"\n{more}\n[routes.issuer]\npath = \"/issuer\"\n\
         respond = {{ headers = {{ Content-Type = \"application/json\" }}, body = '{{{{\"active\":true,\"sub\":\"bench\"}}}}' }}\n\n"
    )
}

fn routes(policy: Policy) -> String {
    let mut text = "[routes.all]\npath = \"/*\"\nupstream = \"origin\"\n".to_owned();
    text.push_str(match policy {
        Policy::Key => "auth = \"partners\"\n",
        Policy::Token => "auth = \"customers\"\n",
        Policy::Basic => "auth = \"people\"\n",
        Policy::Introspection | Policy::Forward => "auth = \"asked\"\n",
        Policy::Certificate => "listener = \"tls\"\nauth = \"machines\"\n",
        Policy::Login => "auth = \"people\"\n",
        Policy::Limit => LIMIT,
        Policy::Headers => HEADERS,
        Policy::Cache => "cache = { max_object = \"2MiB\" }\n",
        // zlib-ng's 5 makes what zlib's 6 makes, which nginx has here: 6,792 bytes against 6,814.
        Policy::Gzip | Policy::Workers => "compress = { algorithms = \"gzip\", level = 5 }\n",
        _ => "",
    });
    if policy == Policy::Full {
        text.extend(["auth = \"partners\"\n", LIMIT, HEADERS]);
    }
    if policy == Policy::Routes {
        (1..ROUTES).for_each(|index| {
            let _ = writeln!(text, "[routes.r{index}]\npath = \"/service-{index}/*\"\nupstream = \"origin\"");
        });
    }
    text
}
