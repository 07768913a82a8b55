//! `[tls]` and `[[tls.certificate]]`: protocol versions and certificate files.
//!
//! The files are not opened here: whether they exist, fit and hold is the server's to say.

use std::path::Path;

use crate::server::{CertificateFiles, TlsConfig, TlsVersion};

use super::path::file_in;
use super::problem::Wrong;
use super::read::Section;

/// Reads `[tls]`; files are relative to `folder`.
pub(super) fn read(root: &mut Section<'_>, folder: &Path) -> TlsConfig {
    root.within("tls", |section| {
        let versions = [("1.2", TlsVersion::Tls12), ("1.3", TlsVersion::Tls13)];
        let min_version = section.one_of("min_version", TlsVersion::Tls12, &versions, &[]);
        let certificates = section.each("certificate", |section| read_certificate(section, folder));
        if certificates.is_empty() && section.is_sound(&["certificate"]) {
            let wrong = Wrong::new("there is no certificate, but `server.https` needs one");
            section.refuse("certificate", wrong.help("add `[[tls.certificate]]` with `cert` and `key`"));
        }
        TlsConfig { min_version, certificates: certificates.into_iter().flatten().collect() }
    })
}

fn read_certificate(section: &mut Section<'_>, folder: &Path) -> Option<CertificateFiles> {
    let cert = section.required("cert", "\"certs/gateway.pem\"", |text| file_in(folder, text));
    let key = section.required("key", "\"certs/gateway.key\"", |text| file_in(folder, text));
    Some(CertificateFiles { cert: cert?, key: key? })
}
