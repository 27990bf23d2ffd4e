//! Whose clients are let in, and the files that do not say so.

use std::fs;

use document::Report;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer, KeyIdMethod, KeyPair,
    KeyUsagePurpose, SerialNumber, date_time_ymd,
};
use tempfile::TempDir;

use super::*;
use crate::files::Files;

const NOW: i64 = 1_795_000_000; // November 2026

fn params(is_ca: IsCa) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, "Clients");
    params.is_ca = is_ca;
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    (params.not_before, params.not_after) = (date_time_ymd(2026, 1, 1), date_time_ymd(2027, 6, 1));
    params
}

fn authority() -> CertificateParams {
    params(IsCa::Ca(BasicConstraints::Unconstrained))
}

fn pem(params: &CertificateParams) -> String {
    params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem()
}

/// A revocation list that is good until this year begins.
fn list(until: i32) -> String {
    let params = CertificateRevocationListParams {
        this_update: date_time_ymd(until - 2, 1, 1),
        next_update: date_time_ymd(until, 1, 1),
        crl_number: SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: Vec::new(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    let issuer = Issuer::new(authority(), KeyPair::generate().unwrap());
    params.signed_by(&issuer).unwrap().pem().unwrap()
}

fn load(ca: &str, crl: Option<&str>) -> (Option<Trust>, Vec<(Code, String)>) {
    let folder: TempDir = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).display().to_string();
    fs::write(file("ca.pem"), ca).unwrap();
    let crl = crl.map(|text| {
        fs::write(file("crl.pem"), text).unwrap();
        file("crl.pem")
    });
    let written = Clients { ca: file("ca.pem"), auth: ClientAuth::Required, crl };
    let mut report = Report::new();
    let trust = compile(&written, &At::root(), &mut Reader { now: NOW, files: &mut Files::new(), report: &mut report });
    let place = format!("{}/", folder.path().display());
    let told = report.diagnostics().iter().map(|one| (one.code, one.message.replace(&place, ""))).collect();
    (trust, told)
}

/// The one thing that is told of files that are refused.
fn refused(ca: &str, crl: Option<&str>) -> String {
    let (trust, mut told) = load(ca, crl);
    assert!(trust.is_none());
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0].0, Code::E0401);
    told.remove(0).1
}

#[test]
fn authorities_and_lists_are_read() {
    let two = pem(&authority()) + &pem(&authority());
    let (trust, told) = load(&two, Some(&list(2028)));
    assert_eq!(told, []);
    let trust = trust.unwrap();
    assert_eq!(trust.verifier.root_hint_subjects().len(), 2);
    assert!(trust.verifier.client_auth_mandatory());
    assert_eq!(trust.ends.len(), 3);
}

#[test]
fn what_is_no_authority_is_refused() {
    assert_eq!(refused(&pem(&params(IsCa::NoCa)), None), "the certificate in `ca.pem` is not that of an authority");
    let second = pem(&authority()) + &pem(&params(IsCa::ExplicitNoCa));
    assert_eq!(refused(&second, None), "certificate 2 in `ca.pem` is not that of an authority");
    assert_eq!(refused(&list(2028), None), "`ca.pem` holds no certificate");
    let mut over = authority();
    over.not_after = date_time_ymd(2026, 2, 1);
    assert_eq!(refused(&pem(&over), None), "the certificate in `ca.pem` has expired");
}

#[test]
fn a_list_that_would_refuse_everybody_is_refused_itself() {
    let ca = pem(&authority());
    assert_eq!(refused(&ca, Some(&ca)), "`crl.pem` holds no revocation list");
    let second = list(2028) + &list(2026);
    assert_eq!(refused(&ca, Some(&second)), "revocation list 2 in `crl.pem` has expired");
    let damaged = "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n";
    assert_eq!(refused(&ca, Some(damaged)), "revocation list 1 in `crl.pem` cannot be read");
}
