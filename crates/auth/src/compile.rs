//! From policies as written to policies as run.

mod require;
mod suits;

use std::{path::Path, sync::Arc};

use document::{At, Code, Diagnostic, Followed, Followers, OneOrMany, Report};
use fetch::Url;
use filter::Mode;
use http::{HeaderName, header};

use crate::{
    ANONYMOUS, Auth, Config, Kind, Policy, RequireConfig, State, Written,
    api_key::ApiKeys,
    asking,
    auth::Asked,
    basic::{Basic, Users},
    certificate::{self, Authorities, Certificates, Pattern, Trusted},
    jwt,
    keys::{File, Keys, hash_of},
    oidc::{self, Cookies},
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

/// A policy that is being compiled: what is written of it, and where.
#[derive(Clone, Copy)]
pub(crate) struct Draft<'a> {
    pub config: &'a Config,
    /// Its name.
    pub policy: &'a Arc<str>,
    pub forward: &'a Forward,
    pub at: &'a At,
    pub source: Source<'a>,
}

impl<'a> Draft<'a> {
    /// The file that it cannot do without, named by its `key`; `help` says how one is made.
    fn file(&self, path: Option<&'a str>, key: &str, help: &'static str, report: &mut Report) -> Option<&'a str> {
        if path.is_none() {
            let missing = Diagnostic::new(Code::E0106, format!("the policy `{}` has no `{key}`", self.policy));
            report.push(missing.label(self.at, format!("`{key}`, the file of {key}, is missing")).help(help));
        }
        path
    }
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
    suits::suits(kind, config, at, report);
    let realm = realm(config, name, at, report);
    let metadata = metadata(config, &at.key("resource_metadata"), report);
    let forward = forward(config, &at.key("forward"), report);
    let name: Arc<str> = name.into();
    let draft = Draft { config, policy: &name, forward: &forward, at, source };
    let (scheme, places, challenges) = match kind {
        Kind::ApiKey => (
            api_keys(draft, report).map(Scheme::ApiKey),
            key_places(config, at, report),
            Challenges::plain("ApiKey", realm),
        ),
        Kind::Jwt => (
            jwt::compile::compile(draft, report).map(Box::new).map(Scheme::Jwt),
            token_places(config, at, report),
            Challenges::bearer(realm, metadata),
        ),
        Kind::Basic => (
            users(draft, report).map(Box::new).map(Scheme::Basic),
            vec![Place::Authorization("Basic")],
            Challenges::basic(realm),
        ),
        Kind::Mtls => (
            certificates(draft, report).map(Box::new).map(Scheme::Certificate),
            Vec::new(),
            Challenges::plain("ClientCertificate", realm),
        ),
        Kind::Introspection => (
            asking::introspection(draft, report).map(Box::new).map(Scheme::Introspection),
            token_places(config, at, report),
            Challenges::bearer(realm, metadata),
        ),
        Kind::Forward => (
            asking::external(draft, report).map(Box::new).map(Scheme::Forward),
            Vec::new(),
            Challenges::plain("External", realm),
        ),
        Kind::Oidc => (
            oidc::compile::compile(draft, report).map(Arc::new).map(Scheme::Oidc),
            vec![Place::Session(Cookies::new(&name))],
            Challenges::plain("OpenIDConnect", realm),
        ),
    };
    (report.errors() == errors).then_some(())?;
    let scheme = scheme?;
    let external = if let Scheme::Forward(external) = &scheme { Some(external) } else { None };
    let told = external.into_iter().flat_map(|external| external.fields());
    Some(Policy {
        fields: forward.0.iter().map(|(_, field)| field).chain(told).cloned().collect(),
        name,
        mode: config.mode.unwrap_or_default(),
        scheme,
        places: places.into(),
        hides: config.hide_credentials != Some(false),
        challenges: challenges?,
        metadata: metadata.map(Into::into),
    })
}

/// The paths of pages that such a policy answers by itself: its routes have to take them.
pub fn pages(config: &Config) -> Option<[&str; 2]> {
    (config.r#type == Some(Kind::Oidc)).then(|| oidc::compile::own(config))
}

/// The protection space, which stands between quotes.
fn realm<'c>(config: &'c Config, name: &'c str, at: &At, report: &mut Report) -> &'c str {
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
    realm
}

/// Where clients read how they get a token. They trust what is written there, and so it has to come from where it says.
fn metadata<'c>(config: &'c Config, at: &At, report: &mut Report) -> Option<&'c str> {
    let text = config.resource_metadata.as_deref()?;
    let quotable = text.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"\\#".contains(&byte));
    let why = match Url::parse(text) {
        Err(why) => why,
        Ok(_) if !quotable => "visible ASCII without quotes, backslashes and `#`".into(),
        Ok(url) if !url.is_secure() && !url.is_local() => "clients have to get it over https".into(),
        Ok(_) => return Some(text),
    };
    report.push(
        Diagnostic::new(Code::E0108, "this is not where clients can read about the resource").label(at, why).help(
            "write for example `resource_metadata = \"https://api.example.com/.well-known/oauth-protected-resource\"`",
        ),
    );
    None
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
    places.extend(cookie(config, at, report));
    places
}

fn token_places(config: &Config, at: &At, report: &mut Report) -> Vec<Place> {
    let written = config.header.as_deref().unwrap_or("Authorization");
    let header = field(written, at, report).into_iter();
    header.chain(parameter(config, at, report)).chain(cookie(config, at, report)).collect()
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

fn cookie(config: &Config, at: &At, report: &mut Report) -> Option<Place> {
    let name = config.cookie.as_deref()?;
    // RFC 6265 section 4.1.1: a token.
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(token) {
        report.add(Code::E0108, &at.key("cookie"), format!("{name:?} is not the name of a cookie"), "here");
        return None;
    }
    Some(Place::Cookie(name.into()))
}

fn api_keys(draft: Draft<'_>, report: &mut Report) -> Option<ApiKeys> {
    let help = "`maitred key add NAME --file keys.toml` makes one";
    let path = draft.file(draft.config.keys.as_deref(), "keys", help, report)?;
    let (policy, forward) = (draft.policy.clone(), draft.forward.clone());
    let read = move |text: &str| Keys::new(&File::parse(text)?, &policy, &forward);
    follow(path, Box::new(read), "keys", &draft.at.key("keys"), draft.source.followers, report).map(ApiKeys)
}

fn users(draft: Draft<'_>, report: &mut Report) -> Option<Basic> {
    let help = "write `[users.NAME]` and `password = \"…\"` into one; `maitred hash` makes the password's hash";
    let path = draft.file(draft.config.users.as_deref(), "users", help, report)?;
    let (policy, forward) = (draft.policy.clone(), draft.forward.clone());
    let read = move |text: &str| Users::parse(text, &policy, &forward);
    follow(path, Box::new(read), "users", &draft.at.key("users"), draft.source.followers, report).map(Basic::new)
}

fn certificates(draft: Draft<'_>, report: &mut Report) -> Option<Certificates> {
    let Draft { config, policy, forward, at, .. } = draft;
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
    let trusted = authorities(draft, report);
    (report.errors() == errors).then(|| Certificates {
        policy: policy.clone(),
        trusted,
        names: config.san.iter().flat_map(|all| all.iter()).map(|text| Pattern::new(text)).collect(),
        commons: config.cn.iter().flat_map(|all| all.iter()).map(|text| text.as_str().into()).collect(),
        fingerprints: fingerprints.into(),
        forward: forward.clone(),
        verdicts: Verdicts::new(certificate::REMEMBERED),
    })
}

/// The authorities that certificates have to be from; `None` where that is for the listener to say, or where they cannot be
/// read, which is reported.
fn authorities(draft: Draft<'_>, report: &mut Report) -> Option<Trusted> {
    let path = Path::new(draft.config.ca.as_deref()?);
    let at = draft.at.key("ca");
    document::guard(path, &at, report);
    let read = |pem: &[u8]| Authorities::read(pem, jiff::Timestamp::now().as_second());
    match Followed::open_bytes(path, Box::new(read), draft.source.followers) {
        Ok(file) => Some(Trusted::new(file)),
        Err(why) => {
            let message = format!("the authorities in `{}` cannot be used", path.display());
            report.push(
                Diagnostic::new(Code::E0401, message)
                    .label(&at, why)
                    .help("name the file with the authorities that issue these clients' certificates, in PEM"),
            );
            None
        }
    }
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
    let require = require.map(|require| self::require::compile(require, &policies, &at.key("require"), report));
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
    let exposed = policies.iter().filter(|policy| !policy.hides).flat_map(|policy| {
        // `Authorization` has rules of its own (RFC 9111 section 3.5), and a session can be read by nobody else.
        let places = policy.places.iter().filter(|place| !matches!(place, Place::Authorization(_) | Place::Session(_)));
        places.map(|place| (policy.name.clone(), place.clone()))
    });
    Some(Auth::Asked(Box::new(Asked {
        anonymous,
        require,
        mode: if shadow { Mode::Shadow } else { Mode::Enforce },
        hidden_query: hidden
            .clone()
            .filter_map(|place| if let Place::Query(name) = place { Some(name.clone()) } else { None })
            .collect(),
        hidden: hidden.filter(|place| !matches!(place, Place::Query(_))).cloned().collect(),
        exposed: exposed.collect(),
        fields: policies.iter().flat_map(|policy| policy.fields.iter().cloned()).collect(),
        policies: policies.into(),
    })))
}
