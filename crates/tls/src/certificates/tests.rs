//! Which certificate a server name gets.

use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, SignatureAlgorithm};

use super::*;
use crate::{certificate::Validity, server};

fn certificate(file: &str, names: &[&str], algorithm: &'static SignatureAlgorithm) -> Certificate {
    let key = KeyPair::generate_for(algorithm).unwrap();
    let params = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
    let der = params.self_signed(&key).unwrap().der().clone();
    let key = CertifiedKey::from_der(vec![der], key.into(), &server::provider()).unwrap();
    Certificate {
        file: file.into(),
        names: names.iter().map(|name| (*name).into()).collect(),
        validity: Validity { not_before: 0, not_after: i64::MAX },
        key: Arc::new(key),
    }
}

fn ecdsa(file: &str, names: &[&str]) -> Certificate {
    certificate(file, names, &PKCS_ECDSA_P256_SHA256)
}

const ANY: &[SignatureScheme] = &[SignatureScheme::ECDSA_NISTP256_SHA256, SignatureScheme::ED25519];

fn chosen<'c>(certificates: &'c Certificates, name: Option<&str>) -> &'c str {
    certificates.select(name, ANY).unwrap().file()
}

#[test]
fn exact_before_wildcard_before_the_first() {
    let certificates = Certificates::new(vec![
        ecdsa("default", &["default.test"]),
        ecdsa("wildcard", &["*.example.com"]),
        ecdsa("exact", &["api.example.com", "example.com"]),
    ]);
    for (name, file) in [
        ("api.example.com", "exact"),
        ("API.example.com", "exact"),
        ("api.example.com.", "exact"),
        ("www.example.com", "wildcard"),
        ("example.com", "exact"),
        ("a.b.example.com", "default"),
        ("other.test", "default"),
        ("com", "default"),
        ("", "default"),
    ] {
        assert_eq!(chosen(&certificates, Some(name)), file, "{name}");
    }
    assert_eq!(chosen(&certificates, None), "default");
}

#[test]
fn a_client_is_given_what_it_can_verify() {
    let certificates =
        Certificates::new(vec![certificate("ed25519", &["a.test"], &PKCS_ED25519), ecdsa("ecdsa", &["a.test"])]);
    let only_ecdsa = &[SignatureScheme::ECDSA_NISTP256_SHA256];
    assert_eq!(chosen(&certificates, Some("a.test")), "ed25519");
    for name in [Some("a.test"), Some("b.test"), None] {
        assert_eq!(certificates.select(name, only_ecdsa).unwrap().file(), "ecdsa");
    }
    // Nothing fits: the handshake fails with the alert that says so, instead of one that says nothing.
    assert_eq!(certificates.select(Some("a.test"), &[]).unwrap().file(), "ed25519");
}

#[test]
fn what_is_covered() {
    let certificates = Certificates::new(vec![ecdsa("a", &["example.com", "*.example.com", "2001:db8::1"])]);
    for host in ["example.com", "Example.COM", "www.example.com", "*.example.com", "2001:db8::1"] {
        assert!(certificates.covers(host), "{host}");
    }
    for host in ["a.b.example.com", "*.test", "example.org", "com", "", "192.0.2.1"] {
        assert!(!certificates.covers(host), "{host}");
    }
}
