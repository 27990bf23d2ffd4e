//! Reading PEM files for one part of the configuration, and saying what is wrong with them.

use std::{io, path::Path};

use document::{At, Code, Diagnostic, Report};
use rustls_pki_types::CertificateDer;
use x509_parser::{certificate::X509Certificate, prelude::FromDer, time::ASN1Time};

use crate::{
    certificate::Validity,
    files::Files,
    pem::{self, Sections},
};

/// How long before its end something is warned about: 14 days, in seconds.
const SOON: i64 = 14 * DAY;
const DAY: i64 = 86_400;

/// Reads files as they are at the time `now`, in seconds since the Unix epoch.
pub(crate) struct Reader<'a> {
    pub now: i64,
    pub files: &'a mut Files,
    pub report: &'a mut Report,
}

impl Reader<'_> {
    /// The PEM sections of a file.
    pub(crate) fn sections(&mut self, file: &str, at: &At) -> Option<Sections> {
        let text = match self.files.read(file) {
            Ok(text) => text,
            Err(error) => {
                let problem = Diagnostic::new(Code::E0601, format!("`{file}` cannot be read"));
                self.report.push(problem.label(at, reason(&error)));
                return None;
            }
        };
        match pem::read(&text) {
            Ok(sections) if sections.encrypted => {
                self.report.push(
                    Diagnostic::new(Code::E0401, format!("the private key in `{file}` is encrypted"))
                        .label(at, "nobody is there to type its passphrase")
                        .help(format!("decrypt it once: `openssl pkey -in {file} -out {file}.plain`")),
                );
                None
            }
            Ok(sections) => Some(sections),
            Err(problem) => {
                self.unusable(format!("`{file}` {problem}"), at, "not a PEM file that can be read");
                None
            }
        }
    }

    /// The certificates of a file, parsed; `None` when there is none or one is damaged.
    pub(crate) fn parsed<'d>(
        &mut self,
        file: &str,
        at: &At,
        certificates: &'d [CertificateDer<'static>],
    ) -> Option<Vec<X509Certificate<'d>>> {
        if certificates.is_empty() {
            self.unusable(format!("`{file}` holds no certificate"), at, "no `CERTIFICATE` section in this file");
            return None;
        }
        let mut parsed = Vec::with_capacity(certificates.len());
        for (index, der) in certificates.iter().enumerate() {
            let Ok((_, certificate)) = X509Certificate::from_der(der) else {
                self.unusable(format!("{} cannot be read", nth(index, file)), at, "not an X.509 certificate");
                return None;
            };
            parsed.push(certificate);
        }
        Some(parsed)
    }

    /// Whether `what` is valid now; its end is warned of when it is near.
    pub(crate) fn check_dates(&mut self, what: &str, at: &At, validity: Validity) -> bool {
        let Validity { not_before: begins, not_after: ends } = validity;
        let left = ends - self.now;
        if left < 0 {
            let label = format!("it ended on {}, {} ago", date(ends), days(-left));
            self.unusable(format!("{what} has expired"), at, label);
            return false;
        }
        if begins > self.now {
            let label = format!("it begins on {}, in {}", date(begins), days(begins - self.now));
            self.unusable(format!("{what} is not valid yet"), at, label);
            return false;
        }
        if left < SOON {
            let label = format!("it ends on {}, in {}", date(ends), days(left));
            self.report.add(Code::W0401, at, format!("{what} expires soon"), label);
        }
        true
    }

    pub(crate) fn unusable(&mut self, message: impl Into<String>, at: &At, label: impl Into<String>) {
        self.report.add(Code::E0401, at, message, label);
    }
}

/// `the certificate in …` for the first of a file, `certificate 2 in …` for those after it.
pub(crate) fn nth(index: usize, file: &str) -> String {
    let file = Path::new(file).display();
    if index == 0 { format!("the certificate in `{file}`") } else { format!("certificate {} in `{file}`", index + 1) }
}

/// Why a file could not be read, without the number that `io::Error` appends.
fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such file".into(),
        io::ErrorKind::PermissionDenied => "this user may not read it".into(),
        io::ErrorKind::IsADirectory => "this is a directory".into(),
        _ => error.to_string(),
    }
}

fn date(seconds: i64) -> String {
    ASN1Time::from_timestamp(seconds).map_or_else(|_| "a day long ago".into(), |t| t.to_datetime().date().to_string())
}

fn days(seconds: i64) -> String {
    match seconds / DAY {
        0 => "less than a day".into(),
        1 => "1 day".into(),
        days => format!("{days} days"),
    }
}
