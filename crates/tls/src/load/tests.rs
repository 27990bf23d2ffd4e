//! Certificates that load, and the reports of those that do not.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use document::Report;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, PKCS_RSA_SHA256, RsaKeySize, date_time_ymd,
};
use tempfile::TempDir;

use super::*;

const NOW: i64 = 1_795_000_000; // November 2026

/// A folder of test files.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path.to_str().unwrap().into()
    }
}

fn params(names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.not_before = date_time_ymd(2026, 1, 1);
    params.not_after = date_time_ymd(2027, 6, 1);
    params
}

/// A self-signed certificate and its key, in PEM.
fn pair(params: &CertificateParams) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

fn written(cert: &str, key: Option<&str>) -> CertificateConfig {
    CertificateConfig { cert: Some(cert.into()), key: key.map(Into::into) }
}

fn load_at(written: &[CertificateConfig], now: i64, report: &mut Report) -> Option<Certificates> {
    certificates(written, &At::root().key("tls"), &mut Reader { now, files: &mut crate::files::Files::new(), report })
}

fn load(written: &[CertificateConfig]) -> (Option<Certificates>, Report) {
    let mut report = Report::new();
    let loaded = load_at(written, NOW, &mut report);
    (loaded, report)
}

/// The one diagnostic of a certificate that is refused.
fn refused(written: CertificateConfig) -> Diagnostic {
    let (certificates, report) = load(&[written]);
    assert!(certificates.is_none());
    assert_eq!(report.diagnostics().len(), 1, "{report:?}");
    report.diagnostics()[0].clone()
}

#[test]
fn a_good_pair_is_loaded_without_a_word() {
    let files = Files::new();
    let (cert, key) = pair(&params(&["Example.com", "*.example.com", "192.0.2.7"]));
    let (cert, key) = (files.write("a.pem", &cert), files.write("a.key", &key));
    let (certificates, report) = load(&[written(&cert, Some(&key))]);
    assert!(report.diagnostics().is_empty(), "{report:?}");
    let certificates = certificates.unwrap();
    let only = certificates.iter().next().unwrap();
    assert_eq!(only.names().collect::<Vec<_>>(), ["example.com", "*.example.com", "192.0.2.7"]);
    assert_eq!(only.not_after(), date_time_ymd(2027, 6, 1).unix_timestamp());
    assert_eq!(only.file(), cert);
}

#[test]
fn one_file_may_hold_both() {
    let files = Files::new();
    let (cert, key) = pair(&params(&["example.com"]));
    let both = files.write("both.pem", &format!("{key}\nsome remark\n{cert}"));
    assert!(load(&[written(&both, None)]).0.is_some());
}

#[test]
fn keys_of_every_form_are_read() {
    let files = Files::new();
    for (name, cert, key) in openssl_forms() {
        let (cert, key) = (files.write("c.pem", &cert), files.write("c.key", &key));
        let (certificates, report) = load(&[written(&cert, Some(&key))]);
        assert!(certificates.is_some(), "{name}: {report:?}");
    }
}

/// The same keys in PKCS #8, and unwrapped into PKCS #1 and SEC 1.
fn openssl_forms() -> Vec<(&'static str, String, String)> {
    let rsa = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
    let ec = KeyPair::generate().unwrap();
    let cert = |key: &KeyPair| params(&["example.com"]).self_signed(key).unwrap().pem();
    vec![
        ("PKCS #8, RSA", cert(&rsa), rsa.serialize_pem()),
        ("PKCS #1", cert(&rsa), armour("RSA PRIVATE KEY", inner_key(rsa.serialized_der()))),
        ("PKCS #8, ECDSA", cert(&ec), ec.serialize_pem()),
        ("SEC 1", cert(&ec), armour("EC PRIVATE KEY", inner_key(ec.serialized_der()))),
    ]
}

/// The OCTET STRING of a PKCS #8 key (RFC 5208 section 5).
fn inner_key(der: &[u8]) -> &[u8] {
    use x509_parser::der_parser::der::parse_der_sequence;
    let (_, sequence) = parse_der_sequence(der).unwrap();
    sequence.as_sequence().unwrap()[2].as_slice().unwrap()
}

fn armour(label: &str, der: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in der.chunks(3) {
        let bits = chunk.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for digit in 0..4 {
            let known = digit <= chunk.len();
            text.push(if known { DIGITS[(bits >> (18 - 6 * digit)) as usize & 63] as char } else { '=' });
        }
    }
    let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

#[test]
fn a_missing_file_names_itself() {
    let files = Files::new();
    let key = files.write("a.key", &pair(&params(&["example.com"])).1);
    let problem = refused(written("/nowhere/a.pem", Some(&key)));
    assert_eq!(problem.code, Code::E0601);
    assert_eq!(problem.message, "`/nowhere/a.pem` cannot be read");
    assert_eq!(problem.labels[0].text, "no such file");
}

#[test]
fn every_mistake_of_every_certificate_is_reported() {
    let files = Files::new();
    let empty = files.write("empty", "");
    let (certificates, report) = load(&[
        written("/nowhere/a.pem", Some("/nowhere/a.key")),
        written(&empty, Some(&empty)),
        CertificateConfig::default(),
    ]);
    assert!(certificates.is_none());
    let found: Vec<_> = report.diagnostics().iter().map(|one| one.code).collect();
    assert_eq!(found, [Code::E0601, Code::E0601, Code::E0401, Code::E0401, Code::E0106]);
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let files = Files::new();
    let (cert, _) = pair(&params(&["example.com"]));
    let (_, key) = pair(&params(&["example.com"]));
    let (cert, key) = (files.write("a.pem", &cert), files.write("b.key", &key));
    let problem = refused(written(&cert, Some(&key)));
    assert_eq!(problem.code, Code::E0401);
    assert_eq!(problem.message, format!("`{key}` is not the key of the certificate in `{cert}`"));
}

#[test]
fn dates_are_checked() {
    let files = Files::new();
    let verdict = |begins, ends: (i32, u8, u8)| {
        let mut params = params(&["example.com"]);
        params.not_before = begins;
        params.not_after = date_time_ymd(ends.0, ends.1, ends.2);
        let (cert, key) = pair(&params);
        let (cert, key) = (files.write("a.pem", &cert), files.write("a.key", &key));
        let mut report = Report::new();
        let now = date_time_ymd(2026, 11, 20).unix_timestamp();
        let loaded = load_at(&[written(&cert, Some(&key))], now, &mut report);
        (loaded.is_some(), report.diagnostics().first().map(|one| (one.code, one.labels[0].text.clone())))
    };
    let past = date_time_ymd(2026, 1, 1);
    assert_eq!(verdict(past, (2026, 12, 31)), (true, None));
    let soon = (Code::W0401, "it ends on 2026-11-25, in 5 days".to_owned());
    assert_eq!(verdict(past, (2026, 11, 25)), (true, Some(soon)));
    let over = (Code::E0401, "it ended on 2026-11-10, 10 days ago".to_owned());
    assert_eq!(verdict(past, (2026, 11, 10)), (false, Some(over)));
    let early = (Code::E0401, "it begins on 2026-11-21, in 1 day".to_owned());
    assert_eq!(verdict(date_time_ymd(2026, 11, 21), (2027, 11, 21)), (false, Some(early)));
}

/// A certificate, the one that issued it, and the key of the first.
fn issued() -> (String, String, String, String) {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.distinguished_name.push(DnType::CommonName, "Test Authority");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.not_after = date_time_ymd(2030, 1, 1);
    let authority_key = KeyPair::generate().unwrap();
    let authority_cert = authority.self_signed(&authority_key).unwrap();
    let issuer = Issuer::from_params(&authority, &authority_key);
    let key = KeyPair::generate().unwrap();
    let cert = params(&["example.com"]).signed_by(&key, &issuer).unwrap();
    (cert.pem(), key.serialize_pem(), authority_cert.pem(), authority_key.serialize_pem())
}

#[test]
fn a_chain_in_order_is_served_whole_and_ends_with_its_first_end() {
    let files = Files::new();
    let (cert, key, authority, _) = issued();
    let (cert, key) = (files.write("a.pem", &format!("{cert}{authority}")), files.write("a.key", &key));
    let certificates = load(&[written(&cert, Some(&key))]).0.unwrap();
    let only = certificates.iter().next().unwrap();
    assert_eq!(only.key.cert.len(), 2);
    assert_eq!(only.not_after(), date_time_ymd(2027, 6, 1).unix_timestamp());
}

#[test]
fn a_chain_out_of_order_says_so_and_whose_key_it_is() {
    let files = Files::new();
    let (cert, key, authority, _) = issued();
    let (cert, key) = (files.write("a.pem", &format!("{authority}{cert}")), files.write("a.key", &key));
    let (certificates, report) = load(&[written(&cert, Some(&key))]);
    assert!(certificates.is_none());
    let [order, _names_no_host, mismatch] = report.diagnostics() else { panic!("{report:?}") };
    assert_eq!(order.message, format!("the chain in `{cert}` is not in order"));
    assert_eq!(mismatch.notes, ["it is the key of certificate 2 of the file"]);
}

#[test]
fn a_key_that_others_can_read_is_warned_about() {
    let files = Files::new();
    let (cert, key) = pair(&params(&["example.com"]));
    let (cert, key) = (files.write("a.pem", &cert), files.write("a.key", &key));
    fs::set_permissions(Path::new(&key), fs::Permissions::from_mode(0o644)).unwrap();
    let (certificates, report) = load(&[written(&cert, Some(&key))]);
    assert!(certificates.is_some());
    let [only] = report.diagnostics() else { panic!("{report:?}") };
    assert_eq!((only.code, only.labels[0].text.as_str()), (Code::W0602, "its mode is 0644"));
}

#[test]
fn a_certificate_without_names_is_warned_about() {
    let files = Files::new();
    let mut params = params(&[]);
    params.distinguished_name.push(DnType::CommonName, "example.com");
    let (cert, key) = pair(&params);
    let (cert, key) = (files.write("a.pem", &cert), files.write("a.key", &key));
    let (certificates, report) = load(&[written(&cert, Some(&key))]);
    assert!(!certificates.unwrap().covers("example.com"));
    assert_eq!(report.diagnostics()[0].code, Code::W0401);
}

#[test]
fn damage_is_named() {
    let files = Files::new();
    let (cert, key) = pair(&params(&["example.com"]));
    let key = files.write("a.key", &key);
    let cases = [
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned(), "cannot be read"),
        (cert[..cert.len() / 2].to_owned(), "breaks off inside a PEM section"),
        (cert.replacen("-----BEGIN CERTIFICATE-----\n", "-----BEGIN CERTIFICATE-----\n(!)", 1), "not base64"),
        ("hello".to_owned(), "holds no certificate"),
    ];
    for (text, expected) in cases {
        let cert = files.write("a.pem", &text);
        let problem = refused(written(&cert, Some(&key)));
        assert_eq!(problem.code, Code::E0401);
        assert!(problem.message.contains(expected), "{}", problem.message);
    }
}

#[test]
fn an_encrypted_key_is_named() {
    let files = Files::new();
    let (cert, _) = pair(&params(&["example.com"]));
    let cert = files.write("a.pem", &cert);
    let key =
        files.write("a.key", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n");
    let problem = refused(written(&cert, Some(&key)));
    assert_eq!(problem.message, format!("the private key in `{key}` is encrypted"));
}

proptest::proptest! {
    /// No file makes loading panic.
    #[test]
    fn any_file_is_loaded_or_refused(text in "(-----(BEGIN|END) (CERTIFICATE|PRIVATE KEY|EC PRIVATE KEY)-----\n|[A-Za-z0-9+/=]{0,40}\n|.){0,12}") {
        let files = Files::new();
        let file = files.write("a.pem", &text);
        let _ = load(&[written(&file, None), written(&file, Some(&file))]);
    }
}
