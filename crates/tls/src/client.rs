//! What a verified client certificate says.

use std::{fmt::Write, net::IpAddr};

use aws_lc_rs::digest::{Context, SHA256, digest};
use base64::{Engine, prelude::BASE64_STANDARD};
use filter::{AlternativeName, ClientCertificate};
use rustls_pki_types::CertificateDer;
use x509_parser::{
    certificate::X509Certificate,
    extensions::GeneralName,
    prelude::FromDer,
    x509::{AttributeTypeAndValue, X509Name},
};

/// How many certificates of authorities are kept of what a client sends: more than a path may have (RFC 5280 section 6.1).
const MOST: usize = 8;

/// Reads a certificate that the handshake has verified, the first of a `chain`; `None` when it cannot be read, which ends
/// the connection.
pub fn client_certificate(chain: &[CertificateDer<'_>]) -> Option<ClientCertificate> {
    let (der, above) = chain.split_first()?;
    let above = &above[..above.len().min(MOST)];
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    // RFC 9440 section 2.1: the DER as a byte sequence (RFC 8941 section 3.3.5).
    let field = format!(":{}:", BASE64_STANDARD.encode(der));
    Some(ClientCertificate {
        subject: subject(certificate.subject()).into(),
        names: names(&certificate),
        serial: hex(certificate.raw_serial()).into(),
        fingerprint: hex(digest(&SHA256, der).as_ref()).into(),
        field: field.try_into().ok()?,
        intermediates: above.iter().map(|der| Box::from(&**der)).collect(),
        shown: sum(der, above)?,
    })
}

/// One sum over all, each with its length, so that no two chains have the same.
fn sum(der: &CertificateDer<'_>, above: &[CertificateDer<'_>]) -> Option<[u8; 32]> {
    let mut context = Context::new(&SHA256);
    for der in std::iter::once(der).chain(above) {
        context.update(&der.len().to_be_bytes());
        context.update(der);
    }
    context.finish().as_ref().try_into().ok()
}

fn names(certificate: &X509Certificate<'_>) -> Box<[AlternativeName]> {
    let Ok(Some(alternatives)) = certificate.subject_alternative_name() else { return Box::default() };
    alternatives.value.general_names.iter().filter_map(name).collect()
}

fn name(name: &GeneralName<'_>) -> Option<AlternativeName> {
    Some(match name {
        GeneralName::DNSName(name) => AlternativeName::Dns(name.to_ascii_lowercase().into()),
        GeneralName::RFC822Name(address) => AlternativeName::Email((*address).into()),
        GeneralName::URI(uri) => AlternativeName::Uri((*uri).into()),
        GeneralName::IPAddress(bytes) => AlternativeName::Address(match bytes.len() {
            4 => IpAddr::from(<[u8; 4]>::try_from(*bytes).ok()?),
            _ => IpAddr::from(<[u8; 16]>::try_from(*bytes).ok()?),
        }),
        _ => return None,
    })
}

/// As RFC 4514 section 2 writes it: the most specific part first, and nothing in a value that could pass for a part.
fn subject(name: &X509Name<'_>) -> String {
    let parts: Vec<String> =
        name.iter_rdn().map(|part| part.iter().map(attribute).collect::<Vec<_>>().join("+")).collect();
    parts.iter().rev().map(String::as_str).collect::<Vec<_>>().join(",")
}

fn attribute(attribute: &AttributeTypeAndValue<'_>) -> String {
    let oid = attribute.attr_type().to_id_string();
    // The table of RFC 4514 section 3.
    let short = match oid.as_str() {
        "2.5.4.3" => "CN",
        "2.5.4.7" => "L",
        "2.5.4.8" => "ST",
        "2.5.4.10" => "O",
        "2.5.4.11" => "OU",
        "2.5.4.6" => "C",
        "2.5.4.9" => "STREET",
        "0.9.2342.19200300.100.1.25" => "DC",
        "0.9.2342.19200300.100.1.1" => "UID",
        other => other,
    };
    match attribute.as_str() {
        Ok(value) => format!("{short}={}", escaped(value)),
        Err(_) => format!("{short}=#{}", hex(attribute.as_slice())),
    }
}

/// RFC 4514 section 2.4; control characters are written in hexadecimal as well, as it allows.
fn escaped(value: &str) -> String {
    let last = value.chars().count().saturating_sub(1);
    let mut out = String::with_capacity(value.len());
    for (at, character) in value.chars().enumerate() {
        let edge = (character == ' ' && (at == 0 || at == last)) || (character == '#' && at == 0);
        if edge || matches!(character, '"' | '+' | ',' | ';' | '<' | '>' | '\\') {
            out.push('\\');
            out.push(character);
        } else if character.is_control() {
            let mut bytes = [0; 4];
            character.encode_utf8(&mut bytes).bytes().for_each(|byte| {
                let _ = write!(out, "\\{byte:02x}");
            });
        } else {
            out.push(character);
        }
    }
    out
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType, SerialNumber};

    use super::*;

    fn of(change: impl FnOnce(&mut CertificateParams)) -> ClientCertificate {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name = DistinguishedName::new();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        client_certificate(&[params.self_signed(&key).unwrap().der().clone()]).unwrap()
    }

    #[test]
    fn what_a_certificate_says_is_read() {
        let read = of(|params| {
            params.distinguished_name.push(DnType::CountryName, "DE");
            params.distinguished_name.push(DnType::OrganizationName, "Partner, Inc.");
            params.distinguished_name.push(DnType::CommonName, "orders");
            params.serial_number = Some(SerialNumber::from_slice(&[0x0A, 0xFF]));
            params.subject_alt_names = vec![
                SanType::DnsName("Orders.partner.example".try_into().unwrap()),
                SanType::URI("spiffe://partner/orders".try_into().unwrap()),
                SanType::Rfc822Name("ops@partner.example".try_into().unwrap()),
                SanType::IpAddress("192.0.2.7".parse().unwrap()),
            ];
        });
        assert_eq!(&*read.subject, "CN=orders,O=Partner\\, Inc.,C=DE");
        assert_eq!(&*read.serial, "0aff");
        assert_eq!((read.fingerprint.len(), read.field.as_bytes()[0]), (64, b':'));
        let expected = [
            AlternativeName::Dns("orders.partner.example".into()),
            AlternativeName::Uri("spiffe://partner/orders".into()),
            AlternativeName::Email("ops@partner.example".into()),
            AlternativeName::Address("192.0.2.7".parse().unwrap()),
        ];
        assert_eq!(&*read.names, expected);
    }

    #[test]
    fn what_came_with_it_is_kept_within_bounds_and_told_apart() {
        let key = KeyPair::generate().unwrap();
        let one = CertificateParams::new(Vec::new()).unwrap().self_signed(&key).unwrap().der().clone();
        let read = |count: usize| client_certificate(&vec![one.clone(); count]).unwrap();
        assert!(client_certificate(&[]).is_none());
        assert_eq!([1, 3, 50].map(|count| read(count).intermediates.len()), [0, 2, MOST]);
        assert_ne!(read(1).shown, read(2).shown);
        assert_eq!((read(2).shown, read(1).fingerprint), (read(2).shown, read(2).fingerprint));
    }

    #[test]
    fn no_value_can_pass_for_another_part_of_the_subject() {
        for (value, written) in [
            ("a,O=evil", "CN=a\\,O\\=evil".replace("\\=", "=")),
            ("a+CN=b", "CN=a\\+CN=b".into()),
            (" a ", "CN=\\ a\\ ".into()),
            ("#41", "CN=\\#41".into()),
            ("a\nb\\", "CN=a\\0ab\\\\".into()),
            ("grün", "CN=grün".into()),
        ] {
            let read = of(|params| params.distinguished_name.push(DnType::CommonName, value));
            assert_eq!(&*read.subject, written, "{value:?}");
        }
    }
}
