//! What it costs to find out who calls, where that is known: every scheme, and a hundred thousand keys beside ten.
#![allow(missing_docs, clippy::unwrap_used, reason = "a bench")]

use std::{
    fmt::Write as _,
    hint::black_box,
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    path::Path,
    sync::Arc,
};

use auth::{Auth, Config, Kind, Source, keys::Fresh};
use criterion::{Criterion, criterion_group, criterion_main};
use document::{At, Followers, OneOrMany, Report, Secret};
use filter::{AlternativeName, Client, ClientCertificate, TlsFacts};
use jsonwebtoken::{EncodingKey, Header, encode};
use maitred_auth as auth;
use testkit::Caller;

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

/// A service that lets everybody in, as an issuer and as one that decides.
fn service() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut stream = stream;
            let answer =
                "HTTP/1.1 200 OK\r\nContent-Length: 28\r\nConnection: close\r\n\r\n{\"active\":true,\"sub\":\"u-19\"}";
            let (mut head, mut byte) = (Vec::new(), [0]);
            while !head.ends_with(b"\r\n\r\n") && stream.read_exact(&mut byte).is_ok() {
                head.push(byte[0]);
            }
            // Its content is not looked at, and need not be waited for.
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    address
}

/// What a client shows that has a certificate.
fn certified() -> Client {
    let shown = ClientCertificate {
        subject: "CN=orders".into(),
        serial: "01".into(),
        fingerprint: "ab".repeat(32).into(),
        names: vec![AlternativeName::Dns("orders.partner.example".into())].into(),
        field: http::HeaderValue::from_static(""),
        intermediates: Box::default(),
        shown: [7; 32],
    };
    let tls = TlsFacts { version: "TLSv1.3", cipher: "-", server_name: None, client: Some(Box::new(shown)) };
    Client { tls: Some(Arc::new(tls)), ..Client::local("public".into()) }
}

fn bench(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut measure = |name: &str, auth: &Auth, field: &'static str, value: &str| {
        let mut caller = Caller { client: certified(), ..Caller::new() };
        caller.head.insert_header(field, value).unwrap();
        let view = caller.view();
        // Whoever has to be asked is asked before anything is timed.
        runtime.block_on(auth.admit(&view));
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
    let (users, hash) = (folder.path().join("users.toml"), auth::password_hash("a good password").unwrap());
    std::fs::write(&users, format!("[users.bench]\npassword = \"{hash}\"\n")).unwrap();
    let users = users.to_str().map(Into::into);
    let auth = policy(Config { r#type: Some(Kind::Basic), users, ..Config::default() });
    // `bench:a good password`
    measure("password, known", &auth, "authorization", "Basic YmVuY2g6YSBnb29kIHBhc3N3b3Jk");
    let auth = policy(Config { r#type: Some(Kind::Mtls), ..Config::default() });
    measure("certificate, known", &auth, "x-none", "-");
    let url = Some(format!("http://{}/ask", service()));
    let cache = Some(document::Duration::seconds(3600));
    let (id, secret) = (Some("a".into()), Some(Secret::new("b")));
    let asked = Config { url, cache, ..Config::default() };
    let issuer = Config { r#type: Some(Kind::Introspection), client_id: id, client_secret: secret, ..asked.clone() };
    measure("introspected token, known", &policy(issuer), "authorization", &format!("Bearer {token}"));
    let decider = Config { r#type: Some(Kind::Forward), ..asked };
    measure("decision, known", &policy(decider), "authorization", &format!("Bearer {token}"));
}

criterion_group!(benches, bench);
criterion_main!(benches);
