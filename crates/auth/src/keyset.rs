//! Keys that signatures are checked with.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{
    Algorithm, AlgorithmFamily, DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, EllipticCurveKeyParameters, Jwk, PublicKeyUse},
};
use serde_json::Value;

/// How many keys of a set are looked at.
const MOST: usize = 100;

/// A set of keys. No two sets have the same `id`, so that what was found with one is not believed with another.
pub(crate) struct KeySet {
    keys: Vec<VerifyingKey>,
    pub(crate) id: u64,
}

/// One of them.
pub(crate) struct VerifyingKey {
    kid: Option<Box<str>>,
    /// What it can be used with: its type decides, never a token.
    algorithms: Box<[Algorithm]>,
    pub(crate) key: DecodingKey,
}

impl KeySet {
    fn new(keys: Vec<VerifyingKey>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self { keys, id: NEXT.fetch_add(1, Ordering::Relaxed) }
    }

    /// One secret, for HMAC.
    pub(crate) fn secret(secret: &[u8]) -> Self {
        let algorithms = AlgorithmFamily::Hmac.algorithms().into();
        Self::new(vec![VerifyingKey { kid: None, algorithms, key: DecodingKey::from_secret(secret) }])
    }

    /// One public key or certificate in PEM; `None` where it is neither.
    pub(crate) fn pem(pem: &[u8]) -> Option<Self> {
        let readers = [DecodingKey::from_rsa_pem, DecodingKey::from_ec_pem, DecodingKey::from_ed_pem];
        let key = readers.iter().find_map(|read| read(pem).ok())?;
        let curve = match key.try_get_as_bytes().map(<[u8]>::len) {
            Ok(P256_POINT) => Some(EllipticCurve::P256),
            Ok(P384_POINT) => Some(EllipticCurve::P384),
            _ => None,
        };
        let algorithms = fitting(key.family(), curve)?;
        Some(Self::new(vec![VerifyingKey { kid: None, algorithms, key }]))
    }

    /// A JSON Web Key Set (RFC 7517 section 5). Keys that are of no use here are passed over, as it asks for.
    pub(crate) fn jwks(text: &[u8]) -> Result<Self, String> {
        let document: Value = serde_json::from_slice(text).map_err(|_| "the set of keys is not JSON".to_owned())?;
        let list = document.get("keys").and_then(Value::as_array).ok_or("the set of keys has no `keys`")?;
        let keys: Vec<_> = list.iter().take(MOST).filter_map(of_jwk).collect();
        if keys.is_empty() { Err("none of its keys can be used".into()) } else { Ok(Self::new(keys)) }
    }

    /// The keys that a token with this `kid` may be signed with.
    pub(crate) fn for_token(&self, kid: Option<&str>, algorithm: Algorithm) -> impl Iterator<Item = &VerifyingKey> {
        let fits = move |key: &&VerifyingKey| {
            key.algorithms.contains(&algorithm)
                && match (kid, &key.kid) {
                    (Some(kid), Some(own)) => *kid == **own,
                    (_, None) | (None, _) => true,
                }
        };
        self.keys.iter().filter(fits)
    }

    /// The algorithms that its keys can be used with.
    pub(crate) fn algorithms(&self) -> impl Iterator<Item = Algorithm> {
        self.keys.iter().flat_map(|key| key.algorithms.iter().copied())
    }
}

/// How long an uncompressed point of P-256 is (SEC 1 section 2.3.3).
const P256_POINT: usize = 65;
const P384_POINT: usize = 97;

/// What a key of this type can be used with.
fn fitting(family: AlgorithmFamily, curve: Option<EllipticCurve>) -> Option<Box<[Algorithm]>> {
    Some(match (family, curve) {
        (AlgorithmFamily::Ec, Some(EllipticCurve::P256)) => [Algorithm::ES256].into(),
        (AlgorithmFamily::Ec, Some(EllipticCurve::P384)) => [Algorithm::ES384].into(),
        (AlgorithmFamily::Ec, _) => return None,
        (family, _) => family.algorithms().into(),
    })
}

fn of_jwk(value: &Value) -> Option<VerifyingKey> {
    let mut jwk: Jwk = serde_json::from_value(value.clone()).ok()?;
    if let AlgorithmParameters::EllipticCurve(point) = &mut jwk.algorithm {
        fill(point);
    }
    if matches!(jwk.common.public_key_use, Some(PublicKeyUse::Encryption | PublicKeyUse::Other(_))) {
        return None;
    }
    let curve = match &jwk.algorithm {
        AlgorithmParameters::EllipticCurve(point) => Some(point.curve.clone()),
        AlgorithmParameters::OctetKeyPair(point) if point.curve != EllipticCurve::Ed25519 => return None,
        // A secret that is published is none.
        AlgorithmParameters::OctetKey(_) | AlgorithmParameters::Other(_) => return None,
        _ => None,
    };
    let key = DecodingKey::from_jwk(&jwk).ok()?;
    let mut algorithms = fitting(key.family(), curve)?;
    if let Some(named) = value.get("alg").and_then(Value::as_str) {
        algorithms = algorithms.iter().copied().filter(|own| Ok(*own) == named.parse()).collect();
    }
    (!algorithms.is_empty()).then(|| VerifyingKey { kid: jwk.common.key_id.map(Into::into), algorithms, key })
}

/// Writes coordinates in full, as RFC 7518 section 6.2.1.2 asks for. Libraries that take them for numbers leave leading zeros
/// out, which one key in 128 has.
fn fill(point: &mut EllipticCurveKeyParameters) {
    let size = match point.curve {
        EllipticCurve::P256 => P256_POINT / 2,
        EllipticCurve::P384 => P384_POINT / 2,
        _ => return,
    };
    for coordinate in [&mut point.x, &mut point.y] {
        let Ok(short) = URL_SAFE_NO_PAD.decode(&*coordinate) else { continue };
        let zeros = size.saturating_sub(short.len());
        *coordinate = URL_SAFE_NO_PAD.encode([&vec![0; zeros][..], &short].concat());
    }
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeySet({} keys)", self.keys.len())
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
    use jsonwebtoken::{EncodingKey, Header, Validation, decode, encode};

    use super::*;

    #[test]
    fn a_coordinate_that_begins_with_zeros_may_be_written_without_them() {
        let pair = || EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let pair = std::iter::repeat_with(pair).find(|pair| pair.public_key().as_ref()[1] == 0).unwrap();
        let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let signed = {
            let key = EncodingKey::from_ec_der(pair.to_pkcs8v1().unwrap().as_ref());
            let claims = serde_json::json!({ "exp": 4_000_000_000_u64 });
            encode(&Header::new(Algorithm::ES256), &claims, &key).unwrap()
        };
        for x in [x, &x[1..]] {
            let set = serde_json::json!({ "keys": [{ "kty": "EC", "crv": "P-256", "x": text(x), "y": text(y) }] });
            let set = KeySet::jwks(set.to_string().as_bytes()).unwrap();
            let key = set.for_token(None, Algorithm::ES256).next().unwrap();
            decode::<Value>(&signed, &key.key, &Validation::new(Algorithm::ES256)).unwrap();
        }
    }
}
