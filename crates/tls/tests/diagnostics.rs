//! What mistaken certificates are told.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use document::{At, Document, OneOrMany, Report, Vocabulary};
use insta::assert_snapshot;
use maitred_tls::{CertificateConfig, TicketKeys, Written, compile};
use rcgen::{CertificateParams, KeyPair};
use tempfile::TempDir;

/// The report on a document's certificates, with the folder of their files left out.
fn report(folder: &TempDir, text: &str) -> String {
    let (mut document, mut report) = (Document::new(), Report::new());
    let folder = folder.path().to_str().unwrap();
    let tree = document.read("maitred.toml", &text.replace("FOLDER", folder), &mut report);
    document.merge(tree, &mut report);
    let at = At::root().key("tls");
    let written: OneOrMany<CertificateConfig> = document.decode(&at, &Vocabulary::default(), &mut report).unwrap();
    let written = Written { certificates: written.0, ..Written::default() };
    compile(written, &At::root(), &TicketKeys::default(), &mut report);
    document.render(&report, false).replace(folder, "FOLDER")
}

fn write(folder: &Path, name: &str, text: &str, mode: u32) {
    let path = folder.join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// `a.pem` with `a.key`, and `b.key`, which belongs to another certificate and can be read by everybody.
fn folder() -> TempDir {
    let folder = tempfile::Builder::new().prefix("").rand_bytes(6).tempdir_in("/tmp").unwrap();
    let key = KeyPair::generate().unwrap();
    let cert = CertificateParams::new(vec!["a.test".to_owned()]).unwrap().self_signed(&key).unwrap();
    write(folder.path(), "a.pem", &cert.pem(), 0o644);
    write(folder.path(), "a.key", &key.serialize_pem(), 0o600);
    write(folder.path(), "b.key", &KeyPair::generate().unwrap().serialize_pem(), 0o644);
    folder
}

#[test]
fn files() {
    assert_snapshot!(report(
        &folder(),
        r#"
tls = [
  { cert = "FOLDER/none.pem", key = "FOLDER/a.key" },
  { cert = "FOLDER/a.pem" },
  { cert = "FOLDER/a.key", key = "FOLDER/a.pem" },
  { key = "FOLDER/a.key" },
]
"#
    ), @r##"
error[E0601]: `FOLDER/none.pem` cannot be read
 --> maitred.toml:3:12
  |
3 |   { cert = "FOLDER/none.pem", key = "FOLDER/a.key" },
  |            ^^^^^^^^^^^^^^^^^^^^^^ no such file

error[E0106]: a certificate needs `key`, the file with its private key
 --> maitred.toml:4:3
  |
4 |   { cert = "FOLDER/a.pem" },
  |   ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ `key` is missing here, and `cert` holds no private key either

error[E0401]: `FOLDER/a.key` holds no certificate
 --> maitred.toml:5:12
  |
5 |   { cert = "FOLDER/a.key", key = "FOLDER/a.pem" },
  |            ^^^^^^^^^^^^^^^^^^^ no `CERTIFICATE` section in this file

error[E0401]: `FOLDER/a.pem` holds no private key
 --> maitred.toml:5:39
  |
5 |   { cert = "FOLDER/a.key", key = "FOLDER/a.pem" },
  |                                       ^^^^^^^^^^^^^^^^^^^ no `PRIVATE KEY`, `RSA PRIVATE KEY` or `EC PRIVATE KEY` section
  |
  = help: it holds a certificate: perhaps `cert` and `key` are the wrong way round

error[E0106]: a certificate needs `cert`, the file that holds it
 --> maitred.toml:6:3
  |
6 |   { key = "FOLDER/a.key" },
  |   ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ `cert` is missing here
"##);
}

#[test]
fn a_key_of_another_certificate() {
    assert_snapshot!(report(&folder(), "tls = { cert = \"FOLDER/a.pem\", key = \"FOLDER/b.key\" }\n"), @r##"
warning[W0602]: the private key in `FOLDER/b.key` can be read by every user
 --> maitred.toml:1:43
  |
1 | tls = { cert = "FOLDER/a.pem", key = "FOLDER/b.key" }
  |                                           ^^^^^^^^^^^^^^^^^^^ its mode is 0644
  |
  = help: run `chmod o-rwx FOLDER/b.key`

error[E0401]: `FOLDER/b.key` is not the key of the certificate in `FOLDER/a.pem`
 --> maitred.toml:1:43
  |
1 | tls = { cert = "FOLDER/a.pem", key = "FOLDER/b.key" }
  |                -------------------        ^^^^^^^^^^^^^^^^^^^ this key belongs to another certificate
  |                |
  |                the certificate
"##);
}
