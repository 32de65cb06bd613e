//! Files as operators may leave them, and what clients see of them.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, RootCertStore, ServerConnection,
    pki_types::ServerName,
};

use super::*;
use crate::config::{self, Config};

/// An authority and a folder with what it signed.
struct House {
    folder: tempfile::TempDir,
    authority: CertifiedIssuer<'static, KeyPair>,
}

impl House {
    fn new() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let authority = CertifiedIssuer::self_signed(params, key).unwrap();
        let house = Self { folder: tempfile::tempdir().unwrap(), authority };
        house.write("ca.pem", house.authority.pem());
        house
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.at(name), content).unwrap();
    }

    /// Writes `NAME.crt` and `NAME.key`, good for `hosts`.
    fn sign(&self, name: &str, hosts: &[&str]) {
        self.sign_with(name, hosts, |_| {});
    }

    fn sign_with(&self, name: &str, hosts: &[&str], change: impl FnOnce(&mut CertificateParams)) {
        let hosts: Vec<_> = hosts.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(hosts).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.authority).unwrap();
        self.write(&format!("{name}.crt"), certificate.pem());
        self.write(&format!("{name}.key"), key.serialize_pem());
    }

    /// A listener with the certificates `names`, and `more` in its section.
    fn config(&self, names: &[&str], more: &str) -> Config {
        let certificate = |name: &&str| {
            let [cert, key] = ["crt", "key"].map(|end| self.at(&format!("{name}.{end}")));
            format!("[[listener.certificate]]\ncert = {cert:?}\nkey = {key:?}\n")
        };
        let certificates: String = names.iter().map(certificate).collect();
        parse(&format!("[[listener]]\nbind = \"127.0.0.1:8443\"\n{certificates}{more}"), "")
    }

    fn client(&self) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.as_ref().der().clone()).unwrap();
        let client = ClientConfig::builder_with_provider(provider().clone());
        let client = client.with_safe_default_protocol_versions().unwrap();
        Arc::new(client.with_root_certificates(roots).with_no_client_auth())
    }
}

fn parse(listener: &str, backend: &str) -> Config {
    let text = format!(
        "{listener}\n[backend.blue]\nendpoints = [\"127.0.0.1:9001\"]\n{backend}\n\
         [[route]]\nname = \"api\"\nsplit = {{ blue = 100 }}\n"
    );
    config::parse(&text, "tidegate.toml", &|_| None).unwrap_or_else(|faults| panic!("{faults}"))
}

fn server(material: &Material) -> &ServerTls {
    material.listener("127.0.0.1:8443".parse().unwrap()).unwrap()
}

/// A whole handshake, tickets included.
fn shake(
    server: &ServerTls,
    client: &Arc<ClientConfig>,
    name: &str,
) -> Result<(ClientConnection, ServerConnection), rustls::Error> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(client.clone(), name)?;
    let mut server = ServerConnection::new(server.config().clone())?;
    for _ in 0..10 {
        let mut bytes = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut bytes).unwrap();
        }
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            server.read_tls(&mut rest).unwrap();
            server.process_new_packets()?;
        }
        let mut bytes = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut bytes).unwrap();
        }
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            client.read_tls(&mut rest).unwrap();
            client.process_new_packets()?;
        }
    }
    Ok((client, server))
}

#[test]
fn the_certificate_is_the_one_that_has_the_name() {
    let house = House::new();
    house.sign("first", &["one.example"]);
    house.sign("second", &["two.example", "*.two.example"]);
    house.sign("third", &["exact.two.example"]);
    let config = house.config(&["first", "second", "third"], "");
    let material = Material::read(&config, None).unwrap();
    let names = material.certificates().iter().map(|certificate| certificate.names.as_slice());
    assert_eq!(names.collect::<Vec<_>>()[1], ["two.example", "*.two.example"]);
    for good in ["one.example", "two.example", "a.two.example", "exact.two.example"] {
        assert!(shake(server(&material), &house.client(), good).is_ok(), "{good}");
    }
    for bad in ["other.example", "a.b.two.example"] {
        assert!(shake(server(&material), &house.client(), bad).is_err(), "{bad}");
    }
    let (client, _) = shake(server(&material), &house.client(), "exact.two.example").unwrap();
    let shown = client.peer_certificates().unwrap();
    assert_eq!(shown[0], material.certificates()[2].der);
}

#[test]
fn sessions_go_on_over_a_new_certificate_but_not_over_other_rules_for_clients() {
    let house = House::new();
    house.sign("own", &["one.example"]);
    let config = house.config(&["own"], "");
    let client = house.client();
    let kind = |material: &Material| {
        let (client, _) = shake(server(material), &client, "one.example").unwrap();
        client.handshake_kind().unwrap()
    };
    let first = Material::read(&config, None).unwrap();
    assert_eq!((kind(&first), kind(&first)), (HandshakeKind::Full, HandshakeKind::Resumed));
    house.sign("own", &["one.example"]);
    let second = Material::read(&config, Some(&first)).unwrap();
    let [change] = first.changes(&second).try_into().unwrap();
    assert!(change.starts_with("listener 127.0.0.1:8443: certificate "), "{change}");
    assert_eq!(kind(&second), HandshakeKind::Resumed);
    let auth = format!("[listener.client_auth]\nca = {:?}\nrequired = false", house.at("ca.pem"));
    let third = Material::read(&house.config(&["own"], &auth), Some(&second)).unwrap();
    assert_eq!(kind(&third), HandshakeKind::Full);
}

#[test]
fn clients_without_a_certificate_are_refused_where_one_is_required() {
    let house = House::new();
    house.sign("own", &["one.example"]);
    for (required, taken) in [(true, false), (false, true)] {
        let ca = house.at("ca.pem");
        let auth = format!("[listener.client_auth]\nca = {ca:?}\nrequired = {required}");
        let material = Material::read(&house.config(&["own"], &auth), None).unwrap();
        let shaken = shake(server(&material), &house.client(), "one.example");
        assert_eq!(shaken.is_ok(), taken, "required = {required}");
    }
}

#[test]
fn each_fault_of_a_file_is_told_with_what_to_mend() {
    let house = House::new();
    house.sign("own", &["one.example"]);
    house.sign("other", &["one.example"]);
    house.write("empty", "");
    house.write(
        "locked",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMA==\n-----END ENCRYPTED PRIVATE KEY-----\n",
    );
    house.write("broken", "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n");
    let faults = |cert: &str, key: &str, more: &str| {
        let [cert, key] = [cert, key].map(|name| house.at(name));
        let listener = format!(
            "[[listener]]\nbind = \"127.0.0.1:8443\"\n[[listener.certificate]]\ncert = {cert:?}\n\
             key = {key:?}\n{more}"
        );
        Material::read(&parse(&listener, ""), None).unwrap_err().remove(0)
    };
    house.write("garbage", "0garbage");
    house.write("later", [0x30, 0x03, 0x0a, 0x01, 0x03]);
    let [ocsp, garbage, later] =
        ["own.crt", "garbage", "later"].map(|name| format!("ocsp = {:?}", house.at(name)));
    let auth = format!("[listener.client_auth]\nca = {:?}", house.at("empty"));
    for (cert, key, more, blamed, told) in [
        ("nowhere", "own.key", "", "cert", "cannot be read: No such file"),
        ("empty", "own.key", "", "cert", "holds no certificate in PEM form"),
        ("broken", "own.key", "", "cert", "broken with"),
        ("own.crt", "empty", "", "key", "holds no private key in PEM form"),
        ("own.crt", "locked", "", "key", "is locked with a password"),
        ("own.crt", "other.key", "", "key", "is not the key of the first certificate in"),
        ("own.crt", "own.key", &ocsp, "ocsp", "own.crt is no OCSP answer in DER form"),
        ("own.crt", "own.key", &garbage, "ocsp", "garbage is no OCSP answer in DER form"),
        ("own.crt", "own.key", &later, "ocsp", "to try later, and no answer"),
        ("own.crt", "own.key", &auth, "ca", "holds no certificate in PEM form"),
    ] {
        let fault = faults(cert, key, more);
        assert!(fault.message.contains(told), "{cert} {key}: {fault:?}");
        let table = if blamed == "ca" { "client_auth" } else { "certificate[0]" };
        assert_eq!(fault.key, format!("listener[0].{table}.{blamed}"), "{fault:?}");
        assert!(!fault.hint.is_empty(), "{fault:?}");
    }
}

#[test]
fn faults_of_a_backend_are_told_together() {
    let house = House::new();
    let backend = format!(
        "[backend.blue.tls]\nca = {:?}\nclient_cert = {:?}\nclient_key = {:?}",
        house.at("nowhere.pem"),
        house.at("no.crt"),
        house.at("no.key"),
    );
    let config = parse("[[listener]]\nbind = \"127.0.0.1:8443\"", &backend);
    let told = Material::read(&config, None).unwrap_err();
    assert_eq!(told.len(), 2, "{told:?}");
    assert_eq!(
        [&told[0].key, &told[1].key],
        ["backend.blue.tls.ca", "backend.blue.tls.client_cert"]
    );
}

#[test]
fn an_expired_certificate_is_odd_and_not_wrong() {
    let house = House::new();
    house.sign_with("old", &["one.example"], |params| {
        params.not_after = rcgen::date_time_ymd(2020, 2, 29);
    });
    let material = Material::read(&house.config(&["old"], ""), None).unwrap();
    let [certificate] = material.certificates() else { panic!("{material:?}") };
    assert_eq!(certificate.not_after_s, 1_582_934_400);
    let warning = |now_s| certificate.warnings(now_s).next();
    let told = warning(1_582_934_401).unwrap();
    assert!(told.ends_with("old.crt has expired on 2020-02-29"), "{told}");
    assert_eq!(warning(1_582_934_399), None);
    assert!(warning(0).unwrap().contains("not valid yet"));
}

#[test]
fn an_ocsp_answer_that_does_not_help_is_odd_and_not_wrong() {
    let house = House::new();
    house.sign_with("own", &["one.example"], |params| {
        params.serial_number = Some(vec![0x12, 0x34].into());
    });
    let told = |answer: &[u8], now_s| {
        house.write("ocsp.der", answer);
        let [cert, key, ocsp] = ["own.crt", "own.key", "ocsp.der"].map(|name| house.at(name));
        let listener = format!(
            "[[listener]]\nbind = \"127.0.0.1:8443\"\n[[listener.certificate]]\ncert = {cert:?}\n\
             key = {key:?}\nocsp = {ocsp:?}"
        );
        let material = Material::read(&parse(&listener, ""), None).unwrap();
        material.certificates()[0].warnings(now_s).next()
    };
    // 2027-01-31, noon.
    const NEXT: i64 = 1_801_396_800;
    let answer =
        |serial: &[u8], status| ocsp::tests::answer(serial, status, Some("20270131120000Z"));
    assert_eq!(told(&answer(&[0x12, 0x34], 0), NEXT), None);
    for (answer, now_s, odd) in [
        (answer(&[0x12, 0x34], 0), NEXT + 1, "ocsp.der is out of date since 2027-01-31"),
        (answer(&[0x12, 0x34], 1), NEXT, "ocsp.der does not stand by it: is it revoked?"),
        (answer(&[0x12, 0x35], 0), NEXT, "ocsp.der does not speak of it, and is not shown"),
    ] {
        let told = told(&answer, now_s).unwrap();
        assert!(told.contains("own.crt: its OCSP answer ") && told.contains(odd), "{told}");
    }
}

#[test]
fn the_digest_tells_every_change_of_a_file() {
    let house = House::new();
    house.sign("own", &["one.example"]);
    let config = house.config(&["own"], "");
    let material = Material::read(&config, None).unwrap();
    let (paths, same) = digest(&config);
    assert_eq!(same, material.digest());
    let named: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
    assert_eq!(named, [house.at("own.crt"), house.at("own.key")]);
    house.write("own.key", "");
    let (_, emptied) = digest(&config);
    fs::remove_file(house.at("own.key")).unwrap();
    let (_, gone) = digest(&config);
    assert!(same != emptied && emptied != gone && gone != same);
}

#[test]
fn a_name_for_an_endpoint_is_its_own_unless_another_is_given() {
    let house = House::new();
    let name = |more: &str, endpoint: &str| {
        let ca = format!("[backend.blue.tls]\nca = {:?}\n{more}", house.at("ca.pem"));
        let config = parse("[[listener]]\nbind = \"127.0.0.1:8443\"", &ca);
        let material = Material::read(&config, None).unwrap();
        let blue = material.backend(&config.backends[0].name).unwrap();
        blue.name_for(&endpoint.parse().unwrap()).unwrap().to_str().into_owned()
    };
    assert_eq!(name("", "green.internal:443"), "green.internal");
    assert_eq!(name("", "[::1]:443"), "::1");
    assert_eq!(name("server_name = \"app.example\"", "10.0.0.1:443"), "app.example");
}
