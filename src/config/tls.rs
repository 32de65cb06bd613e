//! The sections that speak of encryption: their keys, what they mean together, and how they are told.

use std::{fmt, path::PathBuf};

use super::{
    facts::{Fact, fact, list},
    fault::Refusal,
    model::{BackendTls, CertificateFiles, ClientAuth, Listener, ListenerTls},
    patterns::HostName,
    raw as file,
    reader::{At, Reader},
    section::section,
    source::Span,
    units::format_duration,
    validate::refuse_empty,
};

pub(super) mod raw {
    //! Key by key.

    use super::*;

    section! {
        /// A certificate with its key.
        Certificate {
            /// PEM file with the certificate, and those that lead from it towards a root.
            required cert: PathBuf;
            /// PEM file with its private key.
            required key: PathBuf;
            /// File with the authority's OCSP answer (DER), to be shown with the certificate.
            optional ocsp: PathBuf;
        }
    }

    section! {
        /// Clients that show a certificate.
        ClientAuth {
            /// PEM file with the authorities whose clients are taken.
            required ca: PathBuf;
            /// Without a certificate there is no connection; false: it may be left out, but not be
            /// a wrong one.
            default required: bool = true;
        }
    }

    section! {
        /// Encrypted connections to a backend's endpoints.
        BackendTls {
            /// PEM file with the authorities whose endpoints are taken; the platform's without it.
            optional ca: PathBuf;
            /// The name that the endpoints' certificates must have; without it each endpoint's own. Those
            /// on unix sockets have none.
            optional server_name: HostName;
            /// PEM file with the certificate that is shown to endpoints that ask for one.
            optional client_cert: PathBuf;
            /// PEM file with its private key.
            optional client_key: PathBuf;
            /// Take any certificate: whoever is on the way can read and change everything.
            default insecure: bool = false;
        }
    }

    section! {
        /// The operator's side over TLS.
        AdminTls {
            /// PEM file with the certificate, and those that lead from it towards a root.
            required cert: PathBuf;
            /// PEM file with its private key.
            required key: PathBuf;
        }
    }
}

/// What a listener says of encryption, with the keys that make no sense without it.
pub(super) fn listener(
    section: &file::Listener,
    place: &str,
    reader: &mut Reader<'_>,
) -> Option<ListenerTls> {
    let certificates = &section.certificate.value.0;
    if certificates.is_empty() {
        let keys = [
            ("client_auth", section.client_auth.as_ref().map(|auth| auth.span)),
            ("handshake_timeout", written(&section.handshake_timeout)),
            ("max_handshakes", written(&section.max_handshakes)),
        ];
        for (key, span) in keys {
            let Some(span) = span else { continue };
            let refusal = Refusal::new("has no effect without [[listener.certificate]]")
                .hint("add cert and key of a certificate, or leave this out");
            reader.fault(span, format!("{place}.{key}"), refusal);
        }
        return None;
    }
    let own = |(at, section): (usize, &At<raw::Certificate>)| {
        let key = format!("{place}.certificate[{at}]");
        let raw::Certificate { cert, key: private, ocsp } = &section.value;
        files(cert.as_ref(), private.as_ref(), ocsp.as_ref(), &key, ["cert", "key"], reader)
    };
    let certificates = certificates.iter().enumerate().filter_map(own).collect();
    let client_auth = section.client_auth.as_ref().and_then(|auth| {
        let ca = auth.value.ca.as_ref()?;
        refuse_empty(ca, &format!("{place}.client_auth.ca"), reader);
        Some(ClientAuth { ca: ca.value.clone(), required: auth.value.required.value })
    });
    Some(ListenerTls {
        certificates,
        client_auth,
        handshake_timeout: section.handshake_timeout.value,
        max_handshakes: section.max_handshakes.value.0 as u32,
    })
}

/// The port that clients are sent to, if they are.
pub(super) fn redirect(
    section: &file::Listener,
    place: &str,
    reader: &mut Reader<'_>,
) -> Option<u16> {
    let redirects = section.redirect_to_https.value;
    if redirects && !section.certificate.value.0.is_empty() {
        let refusal = Refusal::new("this listener has certificates: it is https already")
            .hint("write it for the listener without certificates, on port 80");
        let span = section.redirect_to_https.span;
        reader.fault(span, format!("{place}.redirect_to_https"), refusal);
    }
    redirects.then_some(section.https_port.value.0 as u16)
}

/// What a backend says of encryption.
pub(super) fn backend(
    section: &raw::BackendTls,
    place: &str,
    reader: &mut Reader<'_>,
) -> BackendTls {
    let raw::BackendTls { ca, server_name, client_cert, client_key, insecure } = section;
    if let Some(ca) = ca {
        refuse_empty(ca, &format!("{place}.ca"), reader);
        if insecure.value {
            let refusal = Refusal::new("any certificate is taken, whatever authority stands here")
                .hint("leave out ca, or better: insecure");
            reader.fault(insecure.span, format!("{place}.insecure"), refusal);
        }
    }
    let client = match (client_cert, client_key) {
        (None, None) => None,
        (cert, key) => {
            files(cert.as_ref(), key.as_ref(), None, place, ["client_cert", "client_key"], reader)
        }
    };
    BackendTls {
        ca: ca.as_ref().map(|ca| ca.value.clone()),
        server_name: server_name.as_ref().map(|name| name.value.0.clone()),
        client,
        insecure: insecure.value,
    }
}

/// What the operator's side says of encryption.
pub(super) fn admin(
    section: &At<raw::AdminTls>,
    reader: &mut Reader<'_>,
) -> Option<CertificateFiles> {
    let raw::AdminTls { cert, key } = &section.value;
    files(cert.as_ref(), key.as_ref(), None, "admin.tls", ["cert", "key"], reader)
}

/// A certificate with its key: neither is of use alone.
fn files(
    cert: Option<&At<PathBuf>>,
    key: Option<&At<PathBuf>>,
    ocsp: Option<&At<PathBuf>>,
    place: &str,
    names: [&str; 2],
    reader: &mut Reader<'_>,
) -> Option<CertificateFiles> {
    let given = [cert, key].into_iter().zip(names).chain([(ocsp, "ocsp")]);
    for (path, name) in given.filter_map(|(path, name)| Some((path?, name))) {
        refuse_empty(path, &format!("{place}.{name}"), reader);
    }
    match (cert, key) {
        (Some(cert), Some(key)) => Some(CertificateFiles {
            cert: cert.value.clone(),
            key: key.value.clone(),
            ocsp: ocsp.map(|ocsp| ocsp.value.clone()),
        }),
        (Some(alone), None) | (None, Some(alone)) => {
            let name = format!("{place}.{}", if cert.is_some() { names[0] } else { names[1] });
            let refusal = Refusal::new(format!("{} and {} go together", names[0], names[1]));
            // What is required and missing has been told already.
            if names[0] != "cert" {
                reader.fault(
                    alone.span,
                    name,
                    refusal.hint("add the other one, or leave both out"),
                );
            }
            None
        }
        (None, None) => None,
    }
}

fn written<T>(key: &At<T>) -> Option<Span> {
    key.written.then_some(key.span)
}

/// The facts of a listener that speak of encryption.
pub(super) fn facts(listener: &Listener) -> Vec<Fact<'static>> {
    let port = listener.redirect_to_https;
    let redirect = port.map_or_else(|| "no".to_owned(), |port| format!("to port {port}"));
    let Some(ListenerTls { certificates, client_auth, handshake_timeout, max_handshakes }) =
        &listener.tls
    else {
        return vec![
            fact("certificate", &"none"),
            fact("client_auth", &"none"),
            fact("handshake_timeout", &"none"),
            fact("max_handshakes", &"none"),
            fact("redirect_to_https", &redirect),
        ];
    };
    vec![
        fact("certificate", &list(certificates.iter())),
        fact("client_auth", &list(client_auth.iter())),
        fact("handshake_timeout", &format_duration(*handshake_timeout)),
        fact("max_handshakes", max_handshakes),
        fact("redirect_to_https", &redirect),
    ]
}

impl fmt::Display for CertificateFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cert, key, ocsp } = self;
        write!(f, "{} with key {}", cert.display(), key.display())?;
        ocsp.iter().try_for_each(|ocsp| write!(f, " and OCSP answer {}", ocsp.display()))
    }
}

impl fmt::Display for ClientAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.required { "required" } else { "wanted" };
        write!(f, "{word}, by an authority of {}", self.ca.display())
    }
}

impl fmt::Display for BackendTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ca, server_name, client, insecure } = self;
        match (insecure, ca) {
            (true, _) => f.write_str("any certificate")?,
            (false, Some(ca)) => write!(f, "authorities of {}", ca.display())?,
            (false, None) => f.write_str("authorities of the platform")?,
        }
        server_name.iter().try_for_each(|name| write!(f, ", as {name}"))?;
        client.iter().try_for_each(|client| write!(f, ", showing {client}"))
    }
}
