//! Tokens of libraries that nobody here wrote (PyJWT, and npm's jose), and issuers that are away, slow, lying or changing their keys.

use std::{
    process::Stdio,
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::{Value, json};
use testkit::{Answer, Origin, Proxy, Request, maitred, tool, within, within_limit};
use tokio::{io::AsyncWriteExt, process::Command};

use crate::setting::BOTH;

/// Makes keys, and a good token with each: what PyJWT says a key set and a token are.
const MAKE: &str = r#"
import json, sys, time, jwt
from cryptography.hazmat.primitives import serialization as s
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
asked = json.load(sys.stdin)
claims = {"iss": asked["issuer"], "aud": "api", "sub": "u-19", "exp": time.time() + 600, "iat": time.time(), "scope": "orders"}
claims.update(asked.get("claims", {}))
from jwt.algorithms import RSAAlgorithm, ECAlgorithm, OKPAlgorithm
pairs = {
    "RS256": (rsa.generate_private_key(65537, 2048), RSAAlgorithm), "ES256": (ec.generate_private_key(ec.SECP256R1()), ECAlgorithm),
    "ES384": (ec.generate_private_key(ec.SECP384R1()), ECAlgorithm), "EdDSA": (ed25519.Ed25519PrivateKey.generate(), OKPAlgorithm),
}
pairs["PS256"] = pairs["RS256"]
keys, tokens, pems = [], {}, {}
for name in asked["algorithms"]:
    private, algorithm = pairs[name]
    kid = asked["prefix"] + name
    if name != "EdDSA":
        key = json.loads(algorithm.to_jwk(private.public_key()))
    else:
        import base64
        raw = private.public_key().public_bytes(s.Encoding.Raw, s.PublicFormat.Raw)
        key = {"kty": "OKP", "crv": "Ed25519", "x": base64.urlsafe_b64encode(raw).rstrip(b"=").decode()}
    key.pop("key_ops", None)
    keys.append({**key, "kid": kid, "use": "sig"})
    pems[name] = private.public_key().public_bytes(s.Encoding.PEM, s.PublicFormat.SubjectPublicKeyInfo).decode()
    tokens[name] = jwt.encode(claims, private, algorithm=name, headers={"kid": kid})
tokens["HS256"] = jwt.encode(claims, asked.get("secret", "x" * 32), algorithm="HS256")
print(json.dumps({"keys": keys, "tokens": tokens, "pems": pems}))
"#;

/// Makes keys whose names are their thumbprints (RFC 7638), and with each a good token, a forged one and an old one: what jose
/// says they are.
const MAKE_BY_JOSE: &str = r#"
const jose = require("jose"), crypto = require("crypto"), now = Math.floor(Date.now() / 1000);
(async () => {
    const asked = JSON.parse(require("fs").readFileSync(0));
    const claims = (token, end) => token.setIssuer(asked.issuer).setAudience("api").setSubject("u-19").setIssuedAt().setExpirationTime(end);
    const signed = (header, key, end = "10m") => claims(new jose.SignJWT({ scope: "orders" }).setProtectedHeader(header), end).sign(key);
    const made = { keys: [], tokens: {}, forged: {}, old: {}, pems: {} };
    for (const alg of asked.algorithms) {
        const [own, other] = [await jose.generateKeyPair(alg), await jose.generateKeyPair(alg)];
        const key = await jose.exportJWK(own.publicKey);
        const kid = await jose.calculateJwkThumbprint(key);
        made.keys.push({ ...key, kid, alg, use: "sig" });
        made.pems[alg] = await jose.exportSPKI(own.publicKey);
        made.tokens[alg] = await signed({ alg, kid }, own.privateKey);
        made.forged[alg] = await signed({ alg, kid }, other.privateKey);
        made.old[alg] = await signed({ alg, kid }, own.privateKey, now - 3600);
    }
    const [alg, secret, other] = ["HS256", ...[0, 1].map(() => crypto.randomBytes(32).toString("hex"))];
    const bytes = text => new TextEncoder().encode(text);
    made.secret = secret;
    made.tokens[alg] = await signed({ alg }, bytes(secret));
    made.forged[alg] = await signed({ alg }, bytes(other));
    made.old[alg] = await signed({ alg }, bytes(secret), now - 3600);
    made.unsigned = claims(new jose.UnsecuredJWT({ scope: "orders" }), "10m").encode();
    console.log(JSON.stringify(made));
})();
"#;

/// What PyJWT makes of the wish.
pub async fn made(wish: Value) -> Value {
    // Debian's own interpreter, which has Debian's modules.
    let mut command = tool("/usr/bin/python3", "python3-jwt python3-cryptography");
    command.args(["-c", MAKE]);
    made_by(command, wish).await
}

/// What jose makes of it.
async fn made_by_jose(wish: Value) -> Value {
    drop(tool("/usr/share/nodejs/jose/package.json", "node-jose"));
    let mut command = tool("node", "nodejs");
    // Debian's node looks there by itself; others have to be told.
    command.env("NODE_PATH", "/usr/share/nodejs").args(["-e", MAKE_BY_JOSE]);
    made_by(command, wish).await
}

async fn made_by(mut library: Command, wish: Value) -> Value {
    library.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = library.spawn().unwrap();
    child.stdin.take().unwrap().write_all(wish.to_string().as_bytes()).await.unwrap();
    let output = within("a library to make tokens", child.wait_with_output()).await.unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

/// An issuer whose documents a test can change.
struct Issuer {
    origin: Origin,
    keys: Arc<Mutex<Value>>,
}

impl Issuer {
    fn script(
        keys: &Arc<Mutex<Value>>,
        host: Arc<Mutex<String>>,
    ) -> impl Fn(&testkit::Seen) -> Answer + Send + Sync + 'static {
        let keys = keys.clone();
        move |seen| {
            let issuer = format!("{}/", host.lock().unwrap());
            let document = match seen.target.as_str() {
                "/.well-known/openid-configuration" => json!({ "issuer": issuer, "jwks_uri": format!("{issuer}keys") }),
                "/keys" if keys.lock().unwrap().is_null() => return Answer::hang(),
                "/keys" => json!({ "keys": *keys.lock().unwrap() }),
                _ => return Answer::status(404),
            };
            Answer::text(document.to_string()).header("Content-Type", "application/json")
        }
    }

    async fn start() -> Self {
        let (keys, host) = (Arc::new(Mutex::new(json!([]))), Arc::new(Mutex::new(String::new())));
        let origin = Origin::start(Self::script(&keys, host.clone())).await;
        *host.lock().unwrap() = origin.to_string();
        Self { origin, keys }
    }

    fn url(&self) -> String {
        format!("{}/", self.origin)
    }

    fn publish(&self, made: &Value) {
        *self.keys.lock().unwrap() = made["keys"].clone();
    }

    fn asked_for_keys(&self) -> usize {
        self.origin.requests().iter().filter(|seen| seen.target == "/keys").count()
    }
}

fn bearer(token: &Value) -> Request {
    Request::get("/a").header("Authorization", &format!("Bearer {}", token.as_str().unwrap()))
}

async fn guarded(policy: &str) -> (Origin, Proxy) {
    let origin = Origin::echo().await;
    let text = format!(
        "{BOTH}[auth.customers]\ntype = \"jwt\"\nforward = {{ sub = \"X-User\", scope = \"X-Scopes\" }}\n{policy}\n\
         [routes.app]\npath = \"/*\"\nauth = \"customers\"\nrequire = {{ scope = \"orders\" }}\nupstream = \"{origin}\"\n"
    );
    let proxy = Proxy::start(text).await;
    (origin, proxy)
}

#[tokio::test]
async fn tokens_of_pyjwt_are_accepted_with_keys_found_by_discovery() {
    let issuer = Issuer::start().await;
    let all = ["RS256", "PS256", "ES256", "EdDSA"];
    let made = made(json!({ "issuer": issuer.url(), "algorithms": all, "prefix": "a-" })).await;
    issuer.publish(&made);
    let (_origin, proxy) = guarded(&format!("issuer = \"{}\"\naudience = \"api\"", issuer.url())).await;
    assert_eq!(issuer.asked_for_keys(), 1, "keys are there before the first request");
    let h2 = proxy.h2c().await;
    for name in all {
        let answer = proxy.fetch(bearer(&made["tokens"][name])).await.expect(200);
        assert_eq!((answer.seen("x-user").as_deref(), answer.seen("authorization")), (Some("u-19"), None), "{name}");
        h2.fetch(bearer(&made["tokens"][name])).await.expect(200);
    }
    // A token by a secret is none here, whatever the secret.
    assert_eq!(proxy.logged("/a").await["user"], "u-19");
    let refused = proxy.fetch(bearer(&made["tokens"]["HS256"])).await.expect_problem(401, "auth_invalid");
    let told = refused.headers.all("www-authenticate");
    assert_eq!(
        told,
        ["Bearer realm=\"customers\", error=\"invalid_token\", error_description=\"The token is not valid\""]
    );
    assert_eq!(proxy.get("/a").await.expect(401).headers.all("www-authenticate"), ["Bearer realm=\"customers\""]);
}

#[tokio::test]
async fn tokens_of_jose_are_accepted_with_keys_named_by_their_thumbprints() {
    let issuer = Issuer::start().await;
    let all = ["RS256", "PS256", "ES256", "EdDSA"];
    let made = made_by_jose(json!({ "issuer": issuer.url(), "algorithms": all })).await;
    issuer.publish(&made);
    let found = format!("issuer = \"{}\"\naudience = \"api\"", issuer.url());
    let named = format!("jwks = \"{}keys\"\naudience = \"api\"", issuer.url());
    for policy in [found, named] {
        let (_origin, proxy) = guarded(&policy).await;
        let h2 = proxy.h2c().await;
        for name in all {
            let answer = proxy.fetch(bearer(&made["tokens"][name])).await.expect(200);
            assert_eq!(
                (answer.seen("x-user").as_deref(), answer.seen("authorization")),
                (Some("u-19"), None),
                "{name}"
            );
            h2.fetch(bearer(&made["tokens"][name])).await.expect(200);
            // By another key of the same name.
            proxy.fetch(bearer(&made["forged"][name])).await.expect_problem(401, "auth_invalid");
            h2.fetch(bearer(&made["forged"][name])).await.expect_problem(401, "auth_invalid");
            proxy.fetch(bearer(&made["old"][name])).await.expect_problem(401, "auth_expired");
        }
        for token in [&made["tokens"]["HS256"], &made["unsigned"]] {
            proxy.fetch(bearer(token)).await.expect_problem(401, "auth_invalid");
        }
    }
}

#[tokio::test]
async fn tokens_of_jose_are_accepted_with_the_right_key_and_refused_with_another() {
    let all = ["RS256", "PS256", "ES256", "EdDSA"];
    let made = made_by_jose(json!({ "issuer": "me", "algorithms": all })).await;
    let folder = tempfile::tempdir().unwrap();
    let by_key = all.map(|name| {
        let file = folder.path().join(name);
        std::fs::write(&file, made["pems"][name].as_str().unwrap()).unwrap();
        (name, format!("public_key = {file:?}"))
    });
    let by_secret = ("HS256", format!("secret = {}", made["secret"]));
    for (own, policy) in by_key.into_iter().chain([by_secret]) {
        let (_origin, proxy) = guarded(&format!("{policy}\nalgorithms = \"{own}\"")).await;
        proxy.fetch(bearer(&made["tokens"][own])).await.expect(200);
        proxy.fetch(bearer(&made["old"][own])).await.expect_problem(401, "auth_expired");
        proxy.fetch(bearer(&made["forged"][own])).await.expect_problem(401, "auth_invalid");
        proxy.fetch(bearer(&made["unsigned"])).await.expect_problem(401, "auth_invalid");
        for other in all.into_iter().chain(["HS256"]).filter(|other| *other != own) {
            let refused = proxy.fetch(bearer(&made["tokens"][other])).await;
            assert_eq!((refused.status, refused.reason().as_deref()), (401, Some("auth_invalid")), "{other} for {own}");
        }
    }
}

#[tokio::test]
async fn what_would_become_of_a_token_is_told_without_the_token() {
    let made =
        made(json!({ "issuer": "https://issuer.test/", "prefix": "", "algorithms": [], "secret": "s".repeat(32) }))
            .await;
    let (_origin, proxy) = guarded(&format!("secret = \"{}\"\naudience = \"api\"", "s".repeat(32))).await;
    let token = made["tokens"]["HS256"].as_str().unwrap();
    let explained =
        proxy.command(["explain", "/a", "-H", &format!("Authorization: Bearer {token}")]).await.expect(0).stdout;
    assert!(explained.contains("customers: user `u-19`") && explained.contains("upstream"), "{explained}");
    assert!(!explained.contains(token), "{explained}");
    let weak = made["tokens"]["HS256"].as_str().unwrap().replace('.', "x.");
    let explained = proxy.command(["explain", "/a", "-H", &format!("Authorization: Bearer {weak}")]).await.stdout;
    assert!(explained.contains("customers: refuses with 401") && explained.contains("auth_invalid"), "{explained}");
}

#[tokio::test]
async fn a_token_may_come_in_the_cookie_that_is_named() {
    let secret = "0123456789abcdef0123456789abcdef";
    let made = made(json!({ "issuer": "me", "algorithms": [], "prefix": "", "secret": secret })).await;
    let token = made["tokens"]["HS256"].as_str().unwrap();
    let (_origin, proxy) = guarded(&format!("secret = \"{secret}\"\ncookie = \"token\"")).await;
    let with_cookie = |cookie: &str| Request::get("/a").header("Cookie", cookie);
    let h2 = proxy.h2c().await;
    let good = || with_cookie(&format!("theme=dark; token={token}; lang=de"));
    for answer in [proxy.fetch(good()).await.expect(200), h2.fetch(good()).await.expect(200)] {
        assert_eq!(answer.seen_all("cookie"), ["theme=dark; lang=de"]);
        assert_eq!(answer.seen("x-user").as_deref(), Some("u-19"));
    }
    proxy.fetch(bearer(&made["tokens"]["HS256"])).await.expect(200);
    for cookie in [format!("token={token}x"), format!("token={token}; token={token}")] {
        let refused = proxy.fetch(with_cookie(&cookie)).await.expect_problem(401, "auth_invalid");
        assert!(refused.headers.all("www-authenticate")[0].starts_with("Bearer realm=\"customers\", error="));
    }
    proxy.fetch(with_cookie("theme=dark")).await.expect_problem(401, "auth_missing");
    let field = format!("Cookie: token={token}");
    let explained = proxy.command(["explain", "/a", "-H", &field]).await.expect(0).stdout;
    assert!(explained.contains("customers: user `u-19`") && !explained.contains(token), "{explained}");
    proxy.logged("/a").await;
    assert!(!proxy.lines().iter().any(|line| line.contains(token)), "{:?}", proxy.lines());
}

#[tokio::test]
async fn a_short_token_whose_claims_are_long_is_none() {
    let secret = "0123456789abcdef0123456789abcdef";
    let (_origin, proxy) = guarded(&format!("secret = \"{secret}\"")).await;
    let members: serde_json::Map<String, Value> = (0..100).map(|number| (format!("a{number}"), json!(1))).collect();
    // By the name of the object each of its members is called.
    for (name, status) in [("n".repeat(10), 200), ("n".repeat(1000), 401)] {
        let claims = json!({ name.as_str(): members });
        let wish = json!({ "issuer": "me", "algorithms": [], "prefix": "", "secret": secret, "claims": claims });
        let answer = proxy.fetch(bearer(&made(wish).await["tokens"]["HS256"])).await.expect(status);
        assert_eq!(answer.reason().is_some_and(|reason| reason == "auth_invalid"), status == 401);
    }
}

#[tokio::test]
async fn clients_are_told_where_it_is_written_how_tokens_are_had_rfc_9728_5_1() {
    let secret = "0123456789abcdef0123456789abcdef";
    let wish =
        json!({ "issuer": "me", "algorithms": [], "prefix": "", "secret": secret, "claims": { "scope": "read" } });
    let token = made(wish).await["tokens"]["HS256"].clone();
    let url = "https://api.example.com/.well-known/oauth-protected-resource";
    let (_origin, proxy) = guarded(&format!("secret = \"{secret}\"\nresource_metadata = \"{url}\"")).await;
    let h2 = proxy.h2c().await;
    let invalid = "error=\"invalid_token\", error_description=\"The token is not valid\"";
    for (token, status, told) in [
        (Value::Null, 401, "Bearer realm=\"customers\"".to_owned()),
        (json!("x.y.z"), 401, format!("Bearer realm=\"customers\", {invalid}")),
        (token, 403, "Bearer error=\"insufficient_scope\", scope=\"orders\"".to_owned()),
    ] {
        let request = || if token.is_null() { Request::get("/a") } else { bearer(&token) };
        for answer in [proxy.fetch(request()).await.expect(status), h2.fetch(request()).await.expect(status)] {
            assert_eq!(answer.headers.all("www-authenticate"), [format!("{told}, resource_metadata=\"{url}\"")]);
        }
    }
}

#[tokio::test]
async fn secrets_and_public_keys_are_taken_from_the_configuration() {
    let secret = "0123456789abcdef0123456789abcdef";
    let wish = json!({ "issuer": "me", "algorithms": ["RS256", "ES256", "ES384", "EdDSA"], "prefix": "", "secret": secret,
                       "claims": { "scope": "read" } });
    let made = made(wish).await;
    let (_origin, proxy) = guarded(&format!("secret = \"{secret}\"")).await;
    let weak = proxy.fetch(bearer(&made["tokens"]["HS256"])).await.expect_problem(403, "forbidden");
    let told = weak.headers.all("www-authenticate");
    assert_eq!(told, ["Bearer error=\"insufficient_scope\", scope=\"orders\""]);
    proxy.fetch(bearer(&made["tokens"]["RS256"])).await.expect_problem(401, "auth_invalid");
    for name in ["RS256", "ES256", "ES384", "EdDSA"] {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), made["pems"][name].as_str().unwrap()).unwrap();
        let (_origin, proxy) = guarded(&format!("public_key = {:?}", file.path())).await;
        proxy.fetch(bearer(&made["tokens"][name])).await.expect_problem(403, "forbidden");
        proxy.fetch(bearer(&made["tokens"]["HS256"])).await.expect_problem(401, "auth_invalid");
    }
}

#[tokio::test]
async fn an_issuer_that_is_away_or_lies_lets_nobody_in_and_its_keys_outlive_its_absence() {
    let issuer = Issuer::start().await;
    let wish = |prefix: &str| json!({ "issuer": issuer.url(), "algorithms": ["ES256"], "prefix": prefix });
    let (old, new) = (made(wish("old-")).await, made(wish("new-")).await);
    // Nothing that could be a key: nobody can tell, which is not the client's fault.
    let (_origin, proxy) = guarded(&format!("issuer = \"{}\"", issuer.url())).await;
    let unknown = proxy.fetch(bearer(&old["tokens"]["ES256"])).await.expect_problem(503, "auth_unavailable");
    assert_eq!(unknown.header("www-authenticate"), None);
    issuer.publish(&old);
    let served = async { while proxy.fetch(bearer(&old["tokens"]["ES256"])).await.status != 200 {} };
    within("keys to be fetched", served).await;
    // One key that nobody knows is looked for, and then none for a while, however many ask.
    let before = issuer.asked_for_keys();
    for _ in 0..5 {
        proxy.fetch(bearer(&new["tokens"]["ES256"])).await.expect_problem(401, "auth_invalid");
    }
    assert!(issuer.asked_for_keys() <= before + 1);
    let Issuer { origin, .. } = issuer;
    drop(origin);
    proxy.fetch(bearer(&old["tokens"]["ES256"])).await.expect(200);
    assert!(proxy.metric("auth_total", &[("auth", "customers"), ("result", "error")]).await >= 1.0);
}

#[tokio::test]
async fn an_issuer_that_says_nothing_is_not_waited_for_as_long_as_it_likes() {
    let issuer = Issuer::start().await;
    let made = made(json!({ "issuer": issuer.url(), "algorithms": ["ES256"], "prefix": "" })).await;
    *issuer.keys.lock().unwrap() = Value::Null;
    let (_origin, proxy) = guarded(&format!("issuer = \"{}\"", issuer.url())).await;
    // The client has its answer within the time that a test waits for one, and it is not the client's fault.
    proxy.fetch(bearer(&made["tokens"]["ES256"])).await.expect_problem(503, "auth_unavailable");
    issuer.publish(&made);
    let served = async { while proxy.fetch(bearer(&made["tokens"]["ES256"])).await.status != 200 {} };
    within_limit(Duration::from_secs(30), "keys to be fetched", served).await;
}

#[tokio::test]
async fn policies_of_tokens_that_cannot_be_meant_are_refused() {
    let text = r#"
        listen = "127.0.0.1:0"
        [auth.nobody]
        type = "jwt"
        [auth.both]
        type = "jwt"
        secret = "${SECRET:-0123456789abcdef0123456789abcdef}"
        jwks = "https://a.test/keys"
        [auth.short]
        type = "jwt"
        secret = "${SECRET:-hush}"
        [auth.confused]
        type = "jwt"
        issuer = "https://a.test/"
        algorithms = ["HS256", "none", "RS256"]
        keys = "keys.toml"
        leeway = "1h"
        [auth.nowhere]
        type = "jwt"
        jwks = "ftp://a.test/keys"
        public_key = "nowhere.pem"
        [auth.file]
        type = "jwt"
        public_key = "maitred.toml"
        [auth.plain]
        type = "jwt"
        jwks = "http://a.test/keys"
        resource_metadata = "http://a.test/metadata"
        [auth.quoted]
        type = "jwt"
        jwks = "https://a.test/keys"
        resource_metadata = 'https://a.test/#"x"'
        [auth.keys]
        type = "api_key"
        keys = "maitred.toml"
        resource_metadata = "https://a.test/metadata"
    "#;
    let starter = Proxy::with(text);
    let refused = maitred(starter.folder(), ["check", "-c", "maitred.toml"]).await.expect(3);
    let told = format!("{}{}", refused.stdout, refused.stderr);
    for expected in [
        "error[E0106]: the policy `nobody` trusts nobody's tokens",
        "error[E0107]: the policy `both` trusts two kinds of keys",
        "error[E0103]: the secret is too short for HS256",
        "error[E0107]: `HS256` does not go with these keys",
        "error[E0108]: \"none\" is not a way of signing that is trusted",
        "error[E0107]: `keys` means nothing to `type = \"jwt\"`",
        "error[E0103]: `leeway` is more than clocks differ",
        "error[E0107]: the policy `nowhere` trusts two kinds of keys",
        "error[E0501]: `maitred.toml` is not a public key that tokens can be checked with",
        "warning[W0701]: this service is asked unencrypted",
        "error[E0108]: this is not where clients can read about the resource",
        "clients have to get it over https",
        "error[E0107]: `resource_metadata` means nothing to `type = \"api_key\"`",
    ] {
        assert!(told.contains(expected), "{expected}\n{told}");
    }
    assert!(!told.contains("hush\""), "{told}");
}
