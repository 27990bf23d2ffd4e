//! Tokens that are good, and every classic attack on those who read them.

use jsonwebtoken::{EncodingKey, crypto::sign};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519};
use serde_json::json;

use super::*;

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

fn part(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

fn good() -> Value {
    json!({ "sub": "u-19", "iss": "https://issuer.test/", "aud": ["other", "api"], "exp": now() + 300, "iat": now(),
            "scope": "orders read", "realm": { "roles": ["admin", "editor"] }, "plan": 7 })
}

fn signed(header: &Value, claims: &Value, key: &EncodingKey, algorithm: Algorithm) -> String {
    raw(&part(header), &part(claims), key, algorithm)
}

fn raw(header: &str, claims: &str, key: &EncodingKey, algorithm: Algorithm) -> String {
    let message = format!("{header}.{claims}");
    let signature = sign(message.as_bytes(), key, algorithm).unwrap();
    format!("{message}.{signature}")
}

fn hs256(header: &Value, claims: &Value) -> String {
    signed(header, claims, &EncodingKey::from_secret(SECRET), Algorithm::HS256)
}

fn jwt(keys: Trusted, algorithms: &[Algorithm]) -> Jwt {
    Jwt {
        policy: "customers".into(),
        keys,
        rules: Rules {
            algorithms: algorithms.into(),
            typ: None,
            claims: claims::Rules {
                issuer: Some("https://issuer.test/".into()),
                audience: ["api".into()].into(),
                leeway: 60,
            },
        },
        told: Told { user: "sub".into(), roles: "realm.roles".into(), plan: None },
        forward: Forward::default(),
        verdicts: Verdicts::new(1024),
    }
}

fn by_secret() -> Jwt {
    jwt(Trusted::Fixed(KeySet::secret(SECRET)), &[Algorithm::HS256])
}

#[test]
fn a_good_token_vouches_for_its_subject_the_second_time_as_well() {
    let (jwt, token) = (by_secret(), hs256(&json!({ "alg": "HS256" }), &good()));
    let first = jwt.verify(&token).unwrap();
    assert_eq!(first.user.as_deref(), Some("u-19"));
    assert!(first.has_scope("orders") && first.has_scope("read") && !first.has_scope("orders read"));
    assert!(first.has_role("admin") && first.has_role("editor"));
    assert_eq!(first.claim("plan").map(|claim| claim.as_str()), Some("7"));
    assert_eq!(first.claim("aud").map(|claim| claim.as_str()), Some("other,api"));
    assert!(Arc::ptr_eq(&first, &jwt.verify(&token).unwrap()), "the verdict is remembered");
}

#[test]
fn a_plan_is_what_one_claim_says_where_it_says_one() {
    let plan = |name: Option<&str>, own: Value| {
        let mut jwt = by_secret();
        jwt.told.plan = name.map(Into::into);
        let mut claims = good();
        claims["own"] = own;
        jwt.verify(&hs256(&json!({ "alg": "HS256" }), &claims)).unwrap().plan.clone()
    };
    // Whatever is claimed, where nobody has said that it is a plan.
    assert_eq!(plan(None, json!("pro")), None);
    assert_eq!(plan(Some("other"), json!("pro")), None);
    for (own, expected) in [
        (json!("pro"), Some("pro")),
        (json!(7), Some("7")),
        (json!(""), None),
        (json!(["pro"]), None),
        (json!([]), None),
        (json!({ "pro": true }), None),
        (Value::Null, None),
    ] {
        assert_eq!(plan(Some("own"), own.clone()).as_deref(), expected, "{own}");
    }
    assert_eq!(plan(Some("own.name"), json!({ "name": "pro" })).as_deref(), Some("pro"));
}

#[test]
fn claims_that_do_not_hold_are_refused() {
    let jwt = by_secret();
    let refused = |name: &str, value: Value| {
        let mut claims = good();
        match value {
            Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
            value => claims[name] = value,
        }
        jwt.verify(&hs256(&json!({ "alg": "HS256" }), &claims)).err()
    };
    for (name, value, doubt) in [
        ("exp", Value::Null, Doubt::Invalid),
        ("exp", json!("tomorrow"), Doubt::Invalid),
        ("exp", json!(now() - 61), Doubt::Expired),
        ("nbf", json!(now() + 120), Doubt::Invalid),
        ("nbf", json!("now"), Doubt::Invalid),
        ("iat", json!(now() + 120), Doubt::Invalid),
        ("iss", Value::Null, Doubt::Invalid),
        ("iss", json!("https://issuer.test"), Doubt::Invalid),
        ("iss", json!(["https://issuer.test/"]), Doubt::Invalid),
        ("aud", Value::Null, Doubt::Invalid),
        ("aud", json!("other"), Doubt::Invalid),
        ("aud", json!([["api"]]), Doubt::Invalid),
        ("sub", json!({ "admin": true }), Doubt::Invalid),
    ] {
        assert_eq!(refused(name, value.clone()), Some(doubt), "{name} {value}");
    }
    for (name, value) in [
        ("exp", json!(now() - 59)),
        ("nbf", json!(now() + 59)),
        ("aud", json!("api")),
        ("exp", json!(now() as f64 + 9.5)),
    ] {
        assert_eq!(refused(name, value.clone()), None, "{name} {value}");
    }
}

#[test]
fn a_header_chooses_nothing() {
    let jwt = by_secret();
    let verdict = |header: Value| jwt.verify(&hs256(&header, &good())).err();
    for header in [
        json!({}),
        json!({ "alg": "none" }),
        json!({ "alg": "None" }),
        json!({ "alg": "hs256" }),
        json!({ "alg": ["HS256"] }),
        json!({ "alg": "HS384" }),
        json!({ "alg": "RS256" }),
        json!({ "alg": "HS256", "crit": ["exp"] }),
        json!({ "alg": "HS256", "crit": [] }),
        json!({ "alg": "HS256", "b64": false, "crit": ["b64"] }),
        json!({ "alg": "HS256", "kid": 7 }),
    ] {
        assert_eq!(verdict(header.clone()), Some(Doubt::Invalid), "{header}");
    }
    // What a header says of keys is neither fetched nor believed, nor does it do harm.
    for header in [
        json!({ "alg": "HS256", "kid": "../../../../dev/null" }),
        json!({ "alg": "HS256", "kid": "' OR 1=1 --" }),
        json!({ "alg": "HS256", "jku": "http://127.0.0.1:1/keys", "x5u": "http://127.0.0.1:1/c.pem" }),
    ] {
        assert_eq!(verdict(header.clone()), None, "{header}");
    }
}

#[test]
fn signatures_are_neither_missing_nor_changed_nor_of_others() {
    let jwt = by_secret();
    let token = hs256(&json!({ "alg": "HS256" }), &good());
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let unsigned = format!("{}.{}.", part(&json!({ "alg": "none" })), part(&good()));
    let other =
        raw(&part(&json!({ "alg": "HS256" })), &part(&good()), &EncodingKey::from_secret(b"x"), Algorithm::HS256);
    let mut changed = good();
    changed["sub"] = json!("admin");
    let forged = format!("{}.{}.{signature}", part(&json!({ "alg": "HS256" })), part(&changed));
    let long = hs256(&json!({ "alg": "HS256" }), &json!({ "exp": now() + 60, "x": "a".repeat(9000) }));
    for wrong in [
        "",
        ".",
        "..",
        "a.b.c",
        signed,
        &unsigned,
        &other,
        &forged,
        &long,
        &format!("{signed}."),
        &format!("{token}."),
        &format!("{token}.{signature}"),
        &format!(" {token}"),
        &format!("{token}="),
    ] {
        assert_eq!(jwt.verify(wrong).err(), Some(Doubt::Invalid), "{wrong}");
    }
}

#[test]
fn a_name_that_is_used_twice_is_refused() {
    let jwt = by_secret();
    let key = EncodingKey::from_secret(SECRET);
    let claims = good().to_string().replacen('{', r#"{"sub":"admin","#, 1);
    let twice = raw(&part(&json!({ "alg": "HS256" })), &URL_SAFE_NO_PAD.encode(claims), &key, Algorithm::HS256);
    assert_eq!(jwt.verify(&twice).err(), Some(Doubt::Invalid));
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","alg":"HS256"}"#);
    assert_eq!(jwt.verify(&raw(&header, &part(&good()), &key, Algorithm::HS256)).err(), Some(Doubt::Invalid));
}

#[test]
fn a_public_key_is_never_a_secret() {
    let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let pem = pair.public_key_pem();
    let signing = EncodingKey::from_ec_pem(pair.serialize_pem().as_bytes()).unwrap();
    // Even where somebody has allowed both, which a configuration cannot.
    let jwt = jwt(Trusted::Fixed(KeySet::pem(pem.as_bytes()).unwrap()), &[Algorithm::ES256, Algorithm::HS256]);
    let good_one = signed(&json!({ "alg": "ES256" }), &good(), &signing, Algorithm::ES256);
    assert!(jwt.verify(&good_one).is_ok());
    let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let der = base64::engine::general_purpose::STANDARD.decode(body).unwrap();
    let lines = pem.replace("\r\n", "\n");
    let encodings: [&[u8]; 6] =
        [pem.as_bytes(), lines.as_bytes(), lines.trim_end().as_bytes(), &der, pair.public_key_raw(), b""];
    for secret in encodings {
        let forged = signed(&json!({ "alg": "HS256" }), &good(), &EncodingKey::from_secret(secret), Algorithm::HS256);
        assert_eq!(jwt.verify(&forged).err(), Some(Doubt::Invalid));
    }
    // r and s of zero (CVE-2022-21449).
    let (message, _) = good_one.rsplit_once('.').unwrap();
    assert_eq!(jwt.verify(&format!("{message}.{}", URL_SAFE_NO_PAD.encode([0; 64]))).err(), Some(Doubt::Invalid));
}

#[test]
fn the_type_of_a_key_says_what_it_is_good_for() {
    let pair = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let x = URL_SAFE_NO_PAD.encode(pair.public_key_raw());
    let set = json!({ "keys": [
        { "kty": "OKP", "crv": "Ed25519", "x": x, "kid": "one", "use": "sig" },
        { "kty": "oct", "k": URL_SAFE_NO_PAD.encode(SECRET), "kid": "two", "alg": "HS256" },
        { "kty": "OKP", "crv": "Ed25519", "x": x, "kid": "three", "use": "enc" },
        { "kty": "new", "kid": "four" },
    ]});
    let keys = KeySet::jwks(set.to_string().as_bytes()).unwrap();
    assert_eq!(keys.algorithms().collect::<Vec<_>>(), [Algorithm::EdDSA]);
    let jwt = jwt(Trusted::Fixed(keys), &[Algorithm::EdDSA, Algorithm::HS256]);
    let signing = EncodingKey::from_ed_pem(pair.serialize_pem().as_bytes()).unwrap();
    let with_kid = |kid: Value| signed(&json!({ "alg": "EdDSA", "kid": kid }), &good(), &signing, Algorithm::EdDSA);
    assert!(jwt.verify(&with_kid(json!("one"))).is_ok());
    assert_eq!(jwt.verify(&with_kid(json!("three"))).err(), Some(Doubt::Invalid));
    let embedded = json!({ "alg": "EdDSA", "jwk": { "kty": "OKP", "crv": "Ed25519", "x": x } });
    let stranger = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let stranger = EncodingKey::from_ed_pem(stranger.serialize_pem().as_bytes()).unwrap();
    assert_eq!(jwt.verify(&signed(&embedded, &good(), &stranger, Algorithm::EdDSA)).err(), Some(Doubt::Invalid));
    assert_eq!(jwt.verify(&hs256(&json!({ "alg": "HS256", "kid": "two" }), &good())).err(), Some(Doubt::Invalid));
    for wrong in ["", "[]", "{}", r#"{"keys":[]}"#, r#"{"keys":[{"kty":"oct","k":"YQ"}]}"#] {
        assert!(KeySet::jwks(wrong.as_bytes()).is_err(), "{wrong}");
    }
}

#[test]
fn a_token_of_another_kind_is_refused_where_one_is_asked_for() {
    let mut jwt = by_secret();
    jwt.rules.typ = Some("at+jwt".into());
    let verdict = |header: Value| jwt.verify(&hs256(&header, &good())).err();
    assert_eq!(verdict(json!({ "alg": "HS256", "typ": "application/AT+JWT" })), None);
    for typ in [json!("JWT"), Value::Null, json!(1)] {
        assert_eq!(verdict(json!({ "alg": "HS256", "typ": typ })), Some(Doubt::Invalid));
    }
    assert_eq!(verdict(json!({ "alg": "HS256" })), Some(Doubt::Invalid));
}
