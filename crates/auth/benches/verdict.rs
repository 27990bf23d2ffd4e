//! What it costs to find out who calls, where that is known: every scheme, and a hundred thousand keys beside ten.
#![allow(missing_docs, clippy::unwrap_used, reason = "a bench")]

use std::{fmt::Write as _, hint::black_box, path::Path};

use auth::{Auth, Config, Kind, Source, keys::Fresh};
use criterion::{Criterion, criterion_group, criterion_main};
use document::{At, Followers, OneOrMany, Report, Secret};
use filter::{Captures, Client, View};
use jsonwebtoken::{EncodingKey, Header, encode};
use maitred_auth as auth;
use pingora_http::RequestHeader;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// A file of so many keys, and the last of them.
fn keys(path: &Path, count: usize) -> String {
    let (mut text, mut last) = (String::new(), String::new());
    for number in 0..count {
        let fresh = Fresh::new().unwrap();
        let _ = writeln!(text, "[keys.{}]\nconsumer = \"c-{number}\"\nsha256 = \"{}\"", fresh.id, fresh.sha256);
        last = fresh.text;
    }
    std::fs::write(path, text).unwrap();
    last
}

fn policy(config: Config) -> Auth {
    let (followers, state, mut report) = (Followers::default(), auth::State::default(), Report::new());
    let source = Source { followers: &followers, state: &state };
    let written = OneOrMany(vec![auth::Written::from(config)]);
    auth::compile(Some(&written), None, "bench", &At::root(), &|_| None, source, &mut report).unwrap()
}

fn bench(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    let (client, captures) = (Client::local("public".into()), Captures::new());
    let mut measure = |name: &str, auth: &Auth, field: &'static str, value: &str| {
        let mut head = RequestHeader::build("GET", b"/", None).unwrap();
        head.insert_header(field, value).unwrap();
        let view = View {
            generation: 1,
            head: &head,
            client: &client,
            identity: None,
            host: "",
            path: "/",
            query: None,
            captures: &captures,
        };
        let verdict = auth.judge(&view, None).unwrap();
        assert!(verdict.refusal.is_none() != name.contains("wrong"), "{name}");
        criterion.bench_function(name, |bencher| bencher.iter(|| black_box(auth.judge(&view, None))));
    };
    for count in [10, 100_000] {
        let path = folder.path().join(format!("{count}.toml"));
        let key = keys(&path, count);
        let config = Config { r#type: Some(Kind::ApiKey), keys: path.to_str().map(Into::into), ..Config::default() };
        let auth = policy(config);
        measure(&format!("api key, one of {count}"), &auth, "x-api-key", &key);
        measure(&format!("wrong api key, none of {count}"), &auth, "x-api-key", "mtd_00000000_no");
    }
    let secret = Some(Secret::new(SECRET));
    let auth = policy(Config { r#type: Some(Kind::Jwt), secret, ..Config::default() });
    let claims = serde_json::json!({ "sub": "u-19", "scope": "orders", "exp": 4_000_000_000_u64 });
    let token = encode(&Header::default(), &claims, &EncodingKey::from_secret(SECRET.as_bytes())).unwrap();
    measure("token, known", &auth, "authorization", &format!("Bearer {token}"));
    measure("wrong token", &auth, "authorization", &format!("Bearer {}x", &token[..token.len() - 1]));
}

criterion_group!(benches, bench);
criterion_main!(benches);
