//! Certificates made on the spot.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};

use super::dir::give;

/// What a server shows of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ServerCertificate {
    /// For `localhost` and 127.0.0.1, valid now.
    Valid,
    /// For another host.
    WrongHost,
    /// For the right host, expired years ago.
    Expired,
}

/// Writes `ca.pem`, `server.crt`, `server.key` of one authority into a directory, and `other-ca.pem` of another.
pub fn write(directory: &Path, kind: ServerCertificate) {
    let (ca, issuer) = authority();
    let (other, _) = authority();
    let names = match kind {
        ServerCertificate::WrongHost => vec!["elsewhere.example".to_owned()],
        _ => vec!["localhost".to_owned(), "127.0.0.1".to_owned()],
    };
    let mut params = CertificateParams::new(names).expect("names of hosts");
    params.distinguished_name.push(DnType::CommonName, "server of a test");
    if kind == ServerCertificate::Expired {
        params.not_before = date_time_ymd(2015, 1, 1);
        params.not_after = date_time_ymd(2016, 1, 1);
    }
    let key = KeyPair::generate().expect("a key");
    let server = params.signed_by(&key, &issuer).expect("a signed certificate");
    for (name, text) in
        [("ca.pem", ca), ("other-ca.pem", other), ("server.crt", server.pem()), ("server.key", key.serialize_pem())]
    {
        let path = directory.join(name);
        fs::write(&path, text).expect("the directory is writable");
        let mode = if name == "server.key" { 0o600 } else { 0o644 };
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("our own file");
        give(&path);
    }
}

fn authority() -> (String, Issuer<'static, KeyPair>) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "authority of a test");
    let key = KeyPair::generate().expect("a key");
    let certificate = params.self_signed(&key).expect("a self-signed certificate");
    (certificate.pem(), Issuer::new(params, key))
}
