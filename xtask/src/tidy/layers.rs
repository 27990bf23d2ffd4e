//! Which crate may depend on which, read from the manifests.

use std::fs;

use crate::{
    shell::{self, Failure, because},
    source,
    tidy::Breach,
};

/// The vocabulary, which knows nobody.
const VOCABULARY: &[&str] = &["document", "filter"];
/// One concern each: they know the vocabulary and never each other.
const CONCERNS: &[&str] = &[
    "route",
    "cors",
    "access",
    "auth",
    "limit",
    "store",
    "fetch",
    "rewrite",
    "cache",
    "transform",
    "balance",
    "tls",
    "telemetry",
    "proxy-protocol",
    "trial",
];
/// What several stand on, because there is one connection, or one client, for all of them: these concerns may know it
/// besides the vocabulary.
const SHARED: &[(&str, &[&str])] = &[("store", &["limit", "cache"]), ("fetch", &["auth"])];
/// What stands above the concerns, from below to above: each with what it may know besides the vocabulary.
const ABOVE: &[(&str, &[&str])] = &[
    ("listen", &["tls", "telemetry", "proxy-protocol"]),
    ("upstream", &["balance", "tls", "telemetry", "proxy-protocol", "fetch"]),
    ("config", &[CONCERN, "listen", "upstream"]),
    ("snapshot", &[CONCERN, "listen", "upstream", "config"]),
    ("proxy", &[CONCERN, "listen", "upstream", "snapshot"]),
    ("stream", &["telemetry", "proxy-protocol", "listen", "upstream", "snapshot"]),
    ("admin", &["telemetry", "upstream", "snapshot", "config"]),
    ("maitred", &[CONCERN, "listen", "upstream", "config", "snapshot", "proxy", "stream", "admin"]),
    ("testkit", &[]),
];
/// Stands for every concern in a list above.
const CONCERN: &str = "<concern>";
/// Libraries that only some crates may name, so that an engine's types stay at its edge.
const RESERVED: &[(&str, &[&str])] = &[("pingora-proxy", &["proxy"]), ("pingora-cache", &["cache"])];

pub(crate) fn check() -> Result<Vec<Breach>, Failure> {
    let mut breaches = Vec::new();
    let folder = shell::root().join("crates");
    let entries = fs::read_dir(&folder).map_err(because("cannot read crates/"))?;
    let mut names: Vec<String> = entries.filter_map(|e| e.ok()?.file_name().into_string().ok()).collect();
    names.sort();
    for name in &names {
        let manifest = format!("crates/{name}/Cargo.toml");
        let dependencies = dependencies(&source::read(manifest.as_ref())?);
        let objections = dependencies.iter().filter_map(|dependency| objection(name, dependency, &names));
        breaches.extend(objections.map(|sentence| Breach::new(&manifest, sentence)));
        if layer(name).is_none() {
            breaches.push(Breach::new(
                &manifest,
                format!("`{name}` is in no layer: give it one in ARCHITECTURE.md and in xtask/src/tidy/layers.rs"),
            ));
        }
    }
    Ok(breaches)
}

/// What the crate may know, and a few words for its place.
fn layer(name: &str) -> Option<(Vec<&'static str>, &'static str)> {
    if VOCABULARY.contains(&name) {
        return Some((Vec::new(), "the vocabulary depends on no crate of ours"));
    }
    if CONCERNS.contains(&name) {
        let mut may = VOCABULARY.to_vec();
        may.extend(SHARED.iter().filter(|(_, users)| users.contains(&name)).map(|(shared, _)| shared));
        return Some((may, "a concern depends on the vocabulary only"));
    }
    let (_, known) = ABOVE.iter().find(|(above, _)| *above == name)?;
    let mut may: Vec<&str> = VOCABULARY.to_vec();
    may.extend(known.iter().filter(|name| **name != CONCERN));
    may.extend(known.contains(&CONCERN).then_some(CONCERNS).into_iter().flatten());
    Some((may, "the layers point one way; ARCHITECTURE.md has them"))
}

fn objection(name: &str, dependency: &str, ours: &[String]) -> Option<String> {
    if let Some((_, users)) = RESERVED.iter().find(|(library, _)| *library == dependency) {
        let allowed = users.contains(&name);
        return (!allowed)
            .then(|| format!("`{name}` depends on `{dependency}`, which is for {} only", users.join(" and ")));
    }
    if !ours.iter().any(|other| other == dependency) {
        return None;
    }
    let (may, why) = layer(name)?;
    (!may.contains(&dependency)).then(|| format!("`{name}` depends on `{dependency}`: {why}"))
}

/// The names under `[dependencies]` and its relatives; what only tests need may point anywhere.
fn dependencies(manifest: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut counts = false;
    for line in manifest.lines() {
        if let Some(section) = line.strip_prefix('[') {
            let section = section.trim_end_matches(']');
            counts = section.ends_with("dependencies") && !section.contains("dev-dependencies");
        } else if let Some((key, _)) = line.split_once('=').filter(|_| counts) {
            names.extend(key.trim().split('.').next().map(str::to_owned));
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_are_read_from_their_sections_only() {
        let manifest = "[package]\nname = \"x\"\n[dependencies]\nfilter.workspace = true\nroute = { path = \"a\" }\n\n[dev-dependencies]\ninsta = \"1\"\n";
        assert_eq!(dependencies(manifest), ["filter", "route"]);
    }

    #[test]
    fn a_concern_that_knows_another_is_refused_with_a_sentence() {
        let ours: Vec<String> = ["cors", "route", "filter"].map(str::to_owned).to_vec();
        assert_eq!(objection("cors", "filter", &ours), None);
        assert_eq!(objection("cors", "http", &ours), None);
        let sentence = objection("cors", "route", &ours);
        assert_eq!(sentence.as_deref(), Some("`cors` depends on `route`: a concern depends on the vocabulary only"));
    }

    #[test]
    fn the_proxy_cannot_name_the_configuration() {
        let ours: Vec<String> = ["proxy", "config"].map(str::to_owned).to_vec();
        assert!(objection("proxy", "config", &ours).is_some());
        assert!(objection("listen", "pingora-proxy", &ours).is_some());
        assert!(objection("proxy", "pingora-proxy", &ours).is_none());
    }
}
