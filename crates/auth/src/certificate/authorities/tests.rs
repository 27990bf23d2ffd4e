//! Whose certificates are whose.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};

use super::*;

const NOW: i64 = 1_795_000_000; // November 2026

/// Whoever issues certificates, with its own and those above it.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    chain: Vec<Vec<u8>>,
}

fn params(is_ca: IsCa, name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = is_ca;
    (params.not_before, params.not_after) = (date_time_ymd(2026, 1, 1), date_time_ymd(2027, 6, 1));
    params
}

fn authority(name: &str, above: Option<&Authority>) -> Authority {
    let mut params = params(IsCa::Ca(BasicConstraints::Unconstrained), name);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let key = KeyPair::generate().unwrap();
    match above {
        None => {
            let own = params.self_signed(&key).unwrap();
            Authority { pem: own.pem(), chain: Vec::new(), issuer: Issuer::new(params, key) }
        }
        Some(above) => {
            let own = params.signed_by(&key, &above.issuer).unwrap();
            let chain = std::iter::once(own.der().to_vec()).chain(above.chain.iter().cloned()).collect();
            Authority { pem: own.pem(), chain, issuer: Issuer::new(params, key) }
        }
    }
}

impl Authority {
    fn issue(&self, change: impl FnOnce(&mut CertificateParams)) -> ClientCertificate {
        let mut params = params(IsCa::NoCa, "orders");
        change(&mut params);
        let certificate = params.signed_by(&KeyPair::generate().unwrap(), &self.issuer).unwrap();
        ClientCertificate {
            subject: "CN=orders".into(),
            names: Box::default(),
            serial: "01".into(),
            fingerprint: "".into(),
            field: format!(":{}:", BASE64_STANDARD.encode(certificate.der())).try_into().unwrap(),
            intermediates: self.chain.iter().map(|der| der.as_slice().into()).collect(),
            shown: [0; 32],
        }
    }
}

fn read(pem: &str) -> Authorities {
    Authorities::read(pem.as_bytes(), NOW).unwrap()
}

#[test]
fn what_is_from_an_authority_is_good_until_the_first_on_its_way_ends() {
    let root = authority("root", None);
    let (between, other) = (authority("between", Some(&root)), authority("root", None));
    let both = read(&(other.pem.clone() + &root.pem));
    let ends = date_time_ymd(2027, 6, 1).unix_timestamp();
    assert_eq!(both.verify(&root.issue(|_| {}), NOW), Ok(ends));
    assert_eq!(read(&root.pem).verify(&between.issue(|_| {}), NOW), Ok(ends));
    assert_eq!(read(&between.pem).verify(&between.issue(|_| {}), NOW), Ok(ends));
    let short = between.issue(|params| params.not_after = date_time_ymd(2027, 1, 1));
    assert_eq!(both.verify(&short, NOW), Ok(date_time_ymd(2027, 1, 1).unix_timestamp()));
    // What is not on the way does not shorten it, and helps nobody.
    let mut more = root.issue(|_| {});
    more.intermediates = [vec![1, 2, 3].into()].into();
    assert_eq!(both.verify(&more, NOW), Ok(ends));
}

#[test]
fn whatever_a_handshake_would_refuse_is_refused() {
    let root = authority("root", None);
    let (between, other) = (authority("between", Some(&root)), authority("root", None));
    let trusted = read(&root.pem);
    assert_eq!(trusted.verify(&other.issue(|_| {}), NOW), Err(Doubt::Invalid), "of the same name, by another key");
    assert_eq!(read(&between.pem).verify(&root.issue(|_| {}), NOW), Err(Doubt::Invalid));
    let mut cut = between.issue(|_| {});
    cut.intermediates = Box::default();
    assert_eq!(trusted.verify(&cut, NOW), Err(Doubt::Invalid));
    let server = root.issue(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]);
    assert_eq!(trusted.verify(&server, NOW), Err(Doubt::Invalid));
    let ended = root.issue(|params| params.not_after = date_time_ymd(2026, 2, 1));
    assert_eq!(trusted.verify(&ended, NOW), Err(Doubt::Expired));
    let early = root.issue(|params| params.not_before = date_time_ymd(2027, 2, 1));
    assert_eq!(trusted.verify(&early, NOW), Err(Doubt::Invalid));
    let mut damaged = root.issue(|_| {});
    damaged.field = http::HeaderValue::from_static(":AAAA:");
    assert_eq!(trusted.verify(&damaged, NOW), Err(Doubt::Invalid));
}

#[test]
fn what_is_no_authority_is_not_read() {
    let refused = |pem: &str| Authorities::read(pem.as_bytes(), NOW).err().unwrap();
    let own = params(IsCa::ExplicitNoCa, "orders").self_signed(&KeyPair::generate().unwrap()).unwrap().pem();
    let good = authority("root", None).pem;
    assert_eq!(refused(""), "there is no certificate in it");
    assert!(refused(&(good.clone() + &own)).starts_with("certificate 2 is not that of an authority: `CN=orders`"));
    let damaged = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert_eq!(refused(damaged), "certificate 1 cannot be read");
    let later = date_time_ymd(2028, 1, 1).unix_timestamp();
    assert_eq!(Authorities::read(good.as_bytes(), later).err().unwrap(), "certificate 1 has expired");
}

#[test]
fn refusals_are_remembered_with_the_authorities_that_refused() {
    let (folder, followers) = (tempfile::tempdir().unwrap(), document::Followers::default());
    let (one, other) = (authority("root", None), authority("root", None));
    let path = folder.path().join("ca.pem");
    std::fs::write(&path, &one.pem).unwrap();
    let read = Box::new(|pem: &[u8]| Authorities::read(pem, NOW));
    let trusted = Trusted::new(Followed::open_bytes(&path, read, &followers).unwrap());
    let shown = other.issue(|_| {});
    for _ in 0..2 {
        assert_eq!(trusted.verify(&trusted.get(), &shown, NOW), Err(Doubt::Invalid));
    }
    std::fs::write(&path, format!("{}{}", one.pem, other.pem)).unwrap();
    assert_eq!(followers.look().into_iter().map(document::Changed::read).count(), 1);
    assert!(trusted.verify(&trusted.get(), &shown, NOW).is_ok());
}
