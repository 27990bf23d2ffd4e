//! From the tree to the configuration, section by section, so that a mistake in one hides nothing in another.

use std::{collections::BTreeMap, sync::LazyLock};

use document::{
    At, Code, Diagnostic, Document, Report, Toggle, nearest,
    tree::{Entry, Node},
};
use schemars::{JsonSchema, Schema, schema_for};
use serde::{Deserialize, de::DeserializeOwned};

use crate::{Config, Route, config::Sections, load::at, names, spell, words::WORDS};

static SECTIONS: LazyLock<Schema> = LazyLock::new(|| schema_for!(Sections));
static LISTENER: LazyLock<Schema> = LazyLock::new(|| schema_for!(listen::Config));
static UPSTREAM: LazyLock<Schema> = LazyLock::new(|| schema_for!(upstream::Config));
static AUTH: LazyLock<Schema> = LazyLock::new(|| schema_for!(auth::Config));
static LIMIT: LazyLock<Schema> = LazyLock::new(|| schema_for!(limit::Written));
static TEST: LazyLock<Schema> = LazyLock::new(|| schema_for!(trial::Config));
static ROUTE: LazyLock<Schema> = LazyLock::new(|| schema_for!(Route));

/// Decodes every section. What is wrong is in the report, and left out.
pub(crate) fn config(document: &Document, report: &mut Report) -> Config {
    /// Takes nothing, so that what no section claims is unknown.
    #[derive(Deserialize)]
    struct Nothing {}

    document.decode_part::<Nothing>(&At::root(), &SECTIONS, &WORDS, report);
    spell::check_names(document, report);
    let config = Config {
        server: section(document, "server", report),
        listeners: named(document, "listeners", &LISTENER, report),
        upstreams: named(document, "upstreams", &UPSTREAM, report),
        routes: routes(document, report),
        auth: named(document, "auth", &AUTH, report),
        access: section(document, "access", report),
        limits: named(document, "limits", &LIMIT, report),
        cache: section(document, "cache", report),
        redis: document.contains(&At::root().key("redis")).then(|| section(document, "redis", report)),
        logging: section(document, "logging", report),
        admin: section(document, "admin", report),
        tests: named(document, "tests", &TEST, report),
    };
    references(&config, document, report);
    listens(&config, document, report);
    config
}

fn section<T: DeserializeOwned + JsonSchema + Default>(document: &Document, name: &str, report: &mut Report) -> T {
    let at = At::root().key(name);
    if !document.contains(&at) {
        return T::default();
    }
    document.decode(&at, &WORDS, report).unwrap_or_default()
}

/// The entries of a section; one that is not a table is reported.
fn entries<'d>(document: &'d Document, name: &str, report: &mut Report) -> &'d [Entry] {
    let at = At::root().key(name);
    match document.get(&at) {
        None => &[],
        Some(node) => match node.as_table() {
            Some(table) => &table.entries,
            None => {
                let label = format!("expected a table with a name for each of them, found {}", node.describe());
                report.push(Diagnostic::new(Code::E0101, format!("wrong type for `{name}`")).label(at, label));
                &[]
            }
        },
    }
}

fn named<T: DeserializeOwned + Default>(
    document: &Document,
    name: &str,
    schema: &Schema,
    report: &mut Report,
) -> BTreeMap<String, T> {
    let decode = |entry: &Entry, report: &mut Report| {
        // What could not be read at all is kept by its name: whoever refers to it is not wrong.
        let value =
            document.decode_node(&entry.node, &at(name, &entry.key), schema, &WORDS, report).unwrap_or_default();
        (entry.key.clone(), value)
    };
    entries(document, name, report).iter().map(|entry| decode(entry, report)).collect()
}

fn routes(document: &Document, report: &mut Report) -> BTreeMap<String, Route> {
    let defaults = At::root().key("defaults");
    if let Some(node) = document.get(&defaults) {
        // Decoded for its mistakes only: what is right reaches the routes through the tree.
        route(document, node, &defaults, report);
    }
    let mut routes = BTreeMap::new();
    for entry in entries(document, "routes", report) {
        let at = at("routes", &entry.key);
        if entry.node.as_table().is_none() {
            report.push(not_a_route(&at, &entry.node));
        } else {
            routes.insert(entry.key.clone(), route(document, &entry.node, &at, report));
        }
    }
    routes
}

fn route(document: &Document, node: &Node, at: &At, report: &mut Report) -> Route {
    Route {
        matches: document.decode_node(node, at, &ROUTE, &WORDS, report).unwrap_or_default(),
        access: document.decode_node(node, at, &ROUTE, &WORDS, report).unwrap_or_default(),
        policies: document.decode_node(node, at, &ROUTE, &WORDS, report).unwrap_or_default(),
    }
}

fn not_a_route(at: &At, node: &Node) -> Diagnostic {
    let diagnostic = Diagnostic::new(Code::E0101, format!("wrong type for the route `{}`", at.last()));
    match node.as_str() {
        Some(_) => diagnostic
            .label(at, "expected a table, found a string")
            .help("only a key that is a path may have an upstream for its value: `\"/users/*\" = \"users\"`"),
        None => diagnostic.label(
            at,
            format!("expected a table, or for a path the name or URL of an upstream, found {}", node.describe()),
        ),
    }
}

/// Reports routes and listeners whose upstream no file defines.
fn references(config: &Config, document: &Document, report: &mut Report) {
    for (name, route) in &config.routes {
        for upstream in route.policies.split.iter().flat_map(|split| split.keys()) {
            let place = at("routes", name).key("split").key(upstream).name();
            reference(&format!("route `{name}`"), upstream, place, config, document, report);
        }
        if let Some(Toggle::On(mirror)) = &route.policies.mirror
            && let Some(upstream) = &mirror.upstream
        {
            let place = at("routes", name).key("mirror");
            let inner = place.key("upstream");
            let place = if document.contains(&inner) { inner } else { place };
            reference(&format!("the mirror of route `{name}`"), upstream, place, config, document, report);
        }
        if let Some(upstream) = &route.policies.upstream {
            reference(
                &format!("route `{name}`"),
                &upstream.0,
                at("routes", name).key("upstream"),
                config,
                document,
                report,
            );
        }
    }
    policies(config, document, report);
    for (name, listener) in &config.listeners {
        let (owner, at) = (format!("listener `{name}`"), at("listeners", name));
        if let Some(upstream) = &listener.upstream {
            reference(&owner, upstream, at.key("upstream"), config, document, report);
        }
        for (asked, upstream) in listener.sni.iter().flatten() {
            reference(&owner, upstream, at.key("sni").key(asked), config, document, report);
        }
    }
}

/// Reports routes whose policy no file defines.
fn policies(config: &Config, document: &Document, report: &mut Report) {
    let known = |name: &str| name == auth::ANONYMOUS || config.auth.contains_key(name);
    for (name, route) in &config.routes {
        let Some(Toggle::On(written)) = &route.policies.auth else { continue };
        for (index, one) in written.iter().enumerate() {
            let auth::Written::Named(policy) = one else { continue };
            if known(policy) {
                continue;
            }
            let place = at("routes", name).key("auth").index(index);
            let message = format!("route `{name}` asks for a policy that does not exist");
            let diagnostic = Diagnostic::new(Code::E0201, message)
                .label(&place, format!("no policy of `[auth]` is named `{policy}`"));
            report.push(match nearest(policy, config.auth.keys().map(String::as_str)) {
                Some(near) => diagnostic
                    .label(at("auth", near).name(), "a similar name is defined here")
                    .help(format!("did you mean `{near}`?"))
                    .patch(&place, format!("{near:?}")),
                None => diagnostic.help(format!("define it as `[auth.{policy}]`")),
            });
        }
    }
    if document.contains(&at("auth", auth::ANONYMOUS)) {
        let message = format!("`{}` is what anybody passes as, and cannot be defined", auth::ANONYMOUS);
        report
            .push(Diagnostic::new(Code::E0105, message).label(at("auth", auth::ANONYMOUS).name(), "take another name"));
    }
}

fn reference(owner: &str, upstream: &str, place: At, config: &Config, document: &Document, report: &mut Report) {
    if config.upstreams.contains_key(upstream) {
        return;
    }
    let diagnostic = Diagnostic::new(Code::E0201, format!("{owner} sends traffic to an upstream that does not exist"))
        .label(&place, format!("no upstream is named `{upstream}`"));
    let near = nearest(upstream, config.upstreams.keys().map(String::as_str));
    report.push(match near {
        // A URL written in place has no name in any file to point to.
        Some(near) if document.written(&document.span(&at("upstreams", near).name())).contains(near) => diagnostic
            .label(at("upstreams", near).name(), "a similar name is defined here")
            .help(format!("did you mean `{near}`?"))
            .patch(&place, format!("{near:?}")),
        _ if names::is_name(upstream) => {
            diagnostic.help(format!("define it as `[upstreams.{upstream}]`, or write a URL in its place"))
        }
        _ => diagnostic.help("a URL begins with its scheme").patch(&place, format!("\"http://{upstream}\"")),
    });
}

/// A configuration that accepts no connection is not one.
fn listens(config: &Config, document: &Document, report: &mut Report) {
    if config.listeners.is_empty() && document.get(&At::root().key("listeners")).is_none() {
        report.push(
            Diagnostic::new(Code::E0106, "no listener is defined")
                .note("without a listener no connection is accepted")
                .help("add `listen = \":8080\"` above the first section"),
        );
    }
}
