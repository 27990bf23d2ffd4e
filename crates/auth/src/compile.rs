//! From policies as written to policies as run.

use std::{path::Path, sync::Arc};

use document::{At, Code, Diagnostic, Followed, Followers, OneOrMany, Report};
use filter::Mode;
use http::{HeaderName, HeaderValue, Method, header};

use crate::{
    ANONYMOUS, Auth, Config, Kind, Policy, Require, RequireConfig, State, Written,
    api_key::ApiKeys,
    asking,
    auth::Asked,
    basic::{Basic, Users},
    certificate::{self, Certificates, Pattern},
    jwt,
    keys::{File, Keys, hash_of},
    place::Place,
    policy::{Challenges, Forward, Scheme},
    verdicts::Verdicts,
};

/// What policies are made from besides their own table.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    /// Who looks at files.
    pub followers: &'a Followers,
    /// What the world has told us.
    pub state: &'a State,
}

/// Compiles the policy `name`, which stands at `at`. `None` when anything is wrong.
pub fn policy(name: &str, config: &Config, at: &At, source: Source<'_>, report: &mut Report) -> Option<Policy> {
    let errors = report.errors();
    let Some(kind) = config.r#type else {
        let missing =
            Diagnostic::new(Code::E0106, format!("the policy `{name}` does not say what clients have to show"));
        report.push(missing.label(at, "`type` is missing").help("write for example `type = \"api_key\"`"));
        return None;
    };
    suits(kind, config, at, report);
    let realm = config.realm.as_deref().unwrap_or(name);
    let quotable = realm.chars().all(|letter| letter == ' ' || (letter.is_ascii_graphic() && !"\"\\".contains(letter)));
    if !quotable {
        report.add(
            Code::E0108,
            &at.key("realm"),
            "this cannot be a realm",
            "visible ASCII without quotes and backslashes",
        );
    }
    let forward = forward(config, &at.key("forward"), report);
    let name: Arc<str> = name.into();
    let (scheme, places, challenges) = match kind {
        Kind::ApiKey => (
            api_keys(config, &name, &forward, at, source, report).map(Scheme::ApiKey),
            key_places(config, at, report),
            Challenges::plain("ApiKey", realm),
        ),
        Kind::Jwt => (
            jwt::compile::compile(config, &name, &forward, at, source, report).map(Box::new).map(Scheme::Jwt),
            token_places(config, at, report),
            Challenges::bearer(realm),
        ),
        Kind::Basic => (
            users(config, &name, &forward, at, source, report).map(Box::new).map(Scheme::Basic),
            vec![Place::Authorization("Basic")],
            Challenges::basic(realm),
        ),
        Kind::Mtls => (
            certificates(config, &name, &forward, at, report).map(Box::new).map(Scheme::Certificate),
            Vec::new(),
            Challenges::plain("ClientCertificate", realm),
        ),
        Kind::Introspection => (
            asking::introspection(config, &name, &forward, at, source, report).map(Box::new).map(Scheme::Introspection),
            token_places(config, at, report),
            Challenges::bearer(realm),
        ),
        Kind::Forward => (
            asking::external(config, &name, &forward, at, source, report).map(Box::new).map(Scheme::Forward),
            Vec::new(),
            Challenges::plain("External", realm),
        ),
    };
    (report.errors() == errors).then_some(())?;
    let scheme = scheme?;
    let copied = if let Scheme::Forward(external) = &scheme { &*external.copy } else { &[] };
    Some(Policy {
        fields: forward.0.iter().map(|(_, field)| field).chain(copied).cloned().collect(),
        name,
        mode: config.mode.unwrap_or_default(),
        scheme,
        places: places.into(),
        hides: config.hide_credentials != Some(false),
        challenges: challenges?,
    })
}

/// Reports keys that mean nothing to this kind of policy.
fn suits(kind: Kind, config: &Config, at: &At, report: &mut Report) {
    const API_KEY: &[Kind] = &[Kind::ApiKey];
    const JWT: &[Kind] = &[Kind::Jwt];
    const BASIC: &[Kind] = &[Kind::Basic];
    const MTLS: &[Kind] = &[Kind::Mtls];
    const EITHER: &[Kind] = &[Kind::ApiKey, Kind::Jwt, Kind::Introspection];
    const CLAIMS: &[Kind] = &[Kind::Jwt, Kind::Introspection];
    const TOLD: &[Kind] = &[Kind::Jwt, Kind::Introspection, Kind::Forward];
    const ASKED: &[Kind] = &[Kind::Introspection, Kind::Forward];
    const ISSUER: &[Kind] = &[Kind::Introspection];
    const FORWARD: &[Kind] = &[Kind::Forward];
    const SHOWN: &[Kind] = &[Kind::ApiKey, Kind::Jwt, Kind::Introspection, Kind::Basic, Kind::Mtls];
    let keys = [
        ("header", config.header.is_some(), EITHER),
        ("query", config.query.is_some(), EITHER),
        ("hide_credentials", config.hide_credentials.is_some(), SHOWN),
        ("keys", config.keys.is_some(), API_KEY),
        ("users", config.users.is_some(), BASIC),
        ("san", config.san.is_some(), MTLS),
        ("fingerprint", config.fingerprint.is_some(), MTLS),
        ("issuer", config.issuer.is_some(), CLAIMS),
        ("audience", config.audience.is_some(), CLAIMS),
        ("jwks", config.jwks.is_some(), JWT),
        ("public_key", config.public_key.is_some(), JWT),
        ("secret", config.secret.is_some(), JWT),
        ("algorithms", config.algorithms.is_some(), JWT),
        ("leeway", config.leeway.is_some(), CLAIMS),
        ("typ", config.typ.is_some(), JWT),
        ("user", config.user.is_some(), TOLD),
        ("roles", config.roles.is_some(), TOLD),
        ("url", config.url.is_some(), ASKED),
        ("cache", config.cache.is_some(), ASKED),
        ("timeout", config.timeout.is_some(), ASKED),
        ("send", config.send.is_some(), FORWARD),
        ("copy", config.copy.is_some(), FORWARD),
        ("client_id", config.client_id.is_some(), ISSUER),
        ("client_secret", config.client_secret.is_some(), ISSUER),
        ("ca", config.ca.is_some(), TOLD),
    ];
    for (key, given, kinds) in keys {
        if given && !kinds.contains(&kind) {
            let known: Vec<_> = kinds.iter().map(|kind| format!("`type = \"{}\"`", kind.as_str())).collect();
            let message = format!("`{key}` means nothing to `type = \"{}\"`", kind.as_str());
            report.push(
                Diagnostic::new(Code::E0107, message)
                    .label(at.key(key).name(), "not a key of this type")
                    .label(at.key("type"), "the type")
                    .help(format!("it belongs to {}", known.join(" and "))),
            );
        }
    }
}

fn forward(config: &Config, at: &At, report: &mut Report) -> Forward {
    let mut fields = Vec::new();
    for (fact, field) in config.forward.iter().flatten() {
        let at = at.key(fact);
        match HeaderName::from_bytes(field.as_bytes()) {
            Ok(name) if is_framing(&name) => {
                report.add(
                    Code::E0108,
                    &at,
                    format!("`{field}` cannot carry a fact about the caller"),
                    "HTTP itself uses this field",
                );
            }
            Ok(name) => fields.push((fact.as_str().into(), name)),
            Err(_) => report.add(Code::E0108, &at, format!("`{field}` is not the name of a header field"), "here"),
        }
    }
    Forward(fields.into())
}

/// Fields that decide how a message is read or where it goes.
pub(crate) fn is_framing(name: &HeaderName) -> bool {
    [header::HOST, header::CONNECTION, header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::UPGRADE, header::TE]
        .contains(name)
}

fn key_places(config: &Config, at: &At, report: &mut Report) -> Vec<Place> {
    let written = config.header.as_deref().unwrap_or("X-API-Key");
    let mut places: Vec<Place> = field(written, at, report).into_iter().collect();
    places.push(Place::Authorization("ApiKey"));
    places.extend(parameter(config, at, report));
    places
}

fn token_places(config: &Config, at: &At, report: &mut Report) -> Vec<Place> {
    let written = config.header.as_deref().unwrap_or("Authorization");
    field(written, at, report).into_iter().chain(parameter(config, at, report)).collect()
}

fn field(written: &str, at: &At, report: &mut Report) -> Option<Place> {
    match HeaderName::from_bytes(written.as_bytes()) {
        Ok(header::AUTHORIZATION) => Some(Place::Authorization("Bearer")),
        Ok(name) => Some(Place::Field(name)),
        Err(_) => {
            report.add(Code::E0108, &at.key("header"), "this is not the name of a header field", "here");
            None
        }
    }
}

fn parameter(config: &Config, at: &At, report: &mut Report) -> Option<Place> {
    match config.query.as_deref() {
        Some("") => {
            report.add(Code::E0108, &at.key("query"), "a parameter has a name", "this is empty");
            None
        }
        name => name.map(|name| Place::Query(name.into())),
    }
}

/// The file that a policy cannot do without, named by its `key`; `help` says how one is made.
fn file<'c>(
    path: Option<&'c str>,
    key: &str,
    help: &'static str,
    policy: &str,
    at: &At,
    report: &mut Report,
) -> Option<&'c str> {
    if path.is_none() {
        let missing = Diagnostic::new(Code::E0106, format!("the policy `{policy}` has no `{key}`"));
        report.push(missing.label(at, format!("`{key}`, the file of {key}, is missing")).help(help));
    }
    path
}

fn api_keys(
    config: &Config,
    policy: &Arc<str>,
    forward: &Forward,
    at: &At,
    source: Source<'_>,
    report: &mut Report,
) -> Option<ApiKeys> {
    let help = "`maitred key add NAME --file keys.toml` makes one";
    let path = file(config.keys.as_deref(), "keys", help, policy, at, report)?;
    let (policy, forward) = (policy.clone(), forward.clone());
    let read = move |text: &str| Keys::new(&File::parse(text)?, &policy, &forward);
    follow(path, Box::new(read), "keys", &at.key("keys"), source.followers, report).map(ApiKeys)
}

fn users(
    config: &Config,
    policy: &Arc<str>,
    forward: &Forward,
    at: &At,
    source: Source<'_>,
    report: &mut Report,
) -> Option<Basic> {
    let help = "write `[users.NAME]` and `password = \"…\"` into one; `maitred hash` makes the password's hash";
    let path = file(config.users.as_deref(), "users", help, policy, at, report)?;
    let (policy, forward) = (policy.clone(), forward.clone());
    let read = move |text: &str| Users::parse(text, &policy, &forward);
    follow(path, Box::new(read), "users", &at.key("users"), source.followers, report).map(Basic::new)
}

fn certificates(
    config: &Config,
    policy: &Arc<str>,
    forward: &Forward,
    at: &At,
    report: &mut Report,
) -> Option<Certificates> {
    let errors = report.errors();
    let mut fingerprints = Vec::new();
    for (index, text) in config.fingerprint.iter().flat_map(|all| all.iter().enumerate()) {
        let plain: String = text.chars().filter(|letter| *letter != ':').collect::<String>().to_ascii_lowercase();
        if hash_of(&plain).is_none() {
            let place = at.key("fingerprint").index(index);
            report.add(
                Code::E0108,
                &place,
                "this is not the SHA-256 of a certificate",
                "64 hexadecimal digits are expected",
            );
        }
        fingerprints.push(plain.into());
    }
    for (index, text) in config.san.iter().flat_map(|all| all.iter().enumerate()) {
        let rest = text.strip_prefix("*.").unwrap_or(text);
        if rest.is_empty() || rest.contains('*') {
            let place = at.key("san").index(index);
            report.add(
                Code::E0108,
                &place,
                format!("{text:?} is not a name of a certificate"),
                "a `*` may only be the first label",
            );
        }
    }
    (report.errors() == errors).then(|| Certificates {
        policy: policy.clone(),
        names: config.san.iter().flat_map(|all| all.iter()).map(|text| Pattern::new(text)).collect(),
        fingerprints: fingerprints.into(),
        forward: forward.clone(),
        verdicts: Verdicts::new(certificate::REMEMBERED),
    })
}

/// Opens a file that is followed.
pub(crate) fn follow<T: Send + Sync + 'static>(
    path: &str,
    read: document::Read<T>,
    what: &str,
    at: &At,
    followers: &Followers,
    report: &mut Report,
) -> Option<Arc<Followed<T>>> {
    private(Path::new(path), at, report);
    match Followed::open(Path::new(path), read, followers) {
        Ok(followed) => Some(followed),
        Err(why) => {
            report.push(
                Diagnostic::new(Code::E0501, format!("the file of {what} `{path}` cannot be used")).label(at, why),
            );
            None
        }
    }
}

/// A file that decides who may enter, and by what they show.
fn private(path: &Path, at: &At, report: &mut Report) {
    let mode = document::guard(path, at, report).unwrap_or(0);
    if mode & 0o006 == 0o004 {
        let shown = path.display();
        report.push(
            Diagnostic::new(Code::W0602, format!("`{shown}` can be read by every user of the machine"))
                .label(at, format!("its mode is {mode:03o}"))
                .help(format!("run `chmod 640 {shown}`")),
        );
    }
}

/// Compiles what the route at `at` asks for. `named` finds a policy of `[auth]`: `None` for one that is wrong, which was
/// reported; `owner` is the name of policies that are written in place.
pub fn compile(
    written: Option<&OneOrMany<Written>>,
    require: Option<&RequireConfig>,
    owner: &str,
    at: &At,
    named: &dyn Fn(&str) -> Option<Arc<Policy>>,
    source: Source<'_>,
    report: &mut Report,
) -> Option<Auth> {
    let at_auth = at.key("auth");
    let (mut policies, mut anonymous, mut whole) = (Vec::new(), false, true);
    for (index, one) in written.into_iter().flat_map(|written| written.iter().enumerate()) {
        let place = at_auth.index(index);
        match one {
            Written::Named(name) if name == ANONYMOUS => anonymous = true,
            Written::Named(name) => match named(name) {
                Some(policy) => policies.push(policy),
                None => whole = false,
            },
            Written::InPlace(config) => match policy(owner, config, &place, source, report) {
                Some(policy) => policies.push(Arc::new(policy)),
                None => whole = false,
            },
        }
    }
    let require = require.map(|require| compile_require(require, &at.key("require"), report));
    whole.then_some(())?;
    if policies.is_empty() {
        if require.is_some() {
            report.push(
                Diagnostic::new(Code::E0502, "nobody says who calls, so nothing can be required of them")
                    .label(at.key("require").name(), "this would never hold")
                    .help("add `auth`, the policy that finds out"),
            );
            return None;
        }
        return Some(Auth::Anonymous);
    }
    let require = match require {
        Some(require) => Some(require?),
        None => None,
    };
    let shadow = policies.iter().all(|policy| policy.mode == Mode::Shadow);
    let hidden = policies.iter().filter(|policy| policy.hides).flat_map(|policy| policy.places.iter());
    Some(Auth::Asked(Box::new(Asked {
        anonymous,
        require,
        mode: if shadow { Mode::Shadow } else { Mode::Enforce },
        hidden_query: hidden
            .clone()
            .filter_map(|place| if let Place::Query(name) = place { Some(name.clone()) } else { None })
            .collect(),
        hidden: hidden.filter(|place| !matches!(place, Place::Query(_))).cloned().collect(),
        fields: policies.iter().flat_map(|policy| policy.fields.iter().cloned()).collect(),
        policies: policies.into(),
    })))
}

fn compile_require(config: &RequireConfig, at: &At, report: &mut Report) -> Option<Require> {
    let errors = report.errors();
    let strings = |list: &[String]| list.iter().map(|text| text.as_str().into()).collect::<Box<[Box<str>]>>();
    let listed = |list: &Option<OneOrMany<String>>| list.as_ref().map_or_else(Box::default, |list| strings(list));
    if config.scope.is_none() && config.role.is_none() && config.claims.is_none() && config.method.is_none() {
        let nothing = Diagnostic::new(Code::E0106, "`require` requires nothing").label(at, "here");
        report.push(nothing.help("write for example `{ scope = \"orders\" }`, or delete it"));
    }
    let scopes = listed(&config.scope);
    for (index, scope) in scopes.iter().enumerate() {
        let token = |byte: u8| matches!(byte, 0x21 | 0x23..=0x5B | 0x5D..=0x7E);
        if scope.is_empty() || !scope.bytes().all(token) {
            let label = "one word of visible ASCII (RFC 6749 section 3.3)";
            report.add(Code::E0108, &at.key("scope").index(index), format!("{scope:?} is not a scope"), label);
        }
    }
    let mut methods = Vec::new();
    for (role, list) in config.method.iter().flatten() {
        let mut own = Vec::new();
        for (index, text) in list.iter().enumerate() {
            match Method::from_bytes(text.as_bytes()) {
                Ok(method) => own.push(method),
                Err(_) => {
                    let place = at.key("method").key(role).index(index);
                    report.add(Code::E0108, &place, format!("{text:?} is not a method"), "here");
                }
            }
        }
        methods.push((role.as_str().into(), own.into()));
    }
    (report.errors() == errors).then_some(())?;
    let told = format!("Bearer error=\"insufficient_scope\", scope=\"{}\"", scopes.join(" "));
    Some(Require {
        mode: config.mode.unwrap_or_default(),
        insufficient: HeaderValue::from_str(&told).ok().filter(|_| !scopes.is_empty()),
        scopes,
        roles: listed(&config.role),
        claims: config.claims.iter().flatten().map(|(name, values)| (name.as_str().into(), strings(values))).collect(),
        methods: methods.into(),
    })
}
