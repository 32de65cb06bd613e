//! Notifications over encrypted connections: to those whom the system trusts, and to nobody else.

use std::{fs, path::Path, process::Command};

use serde_json::Value;

use crate::{
    outside::{PLAN, setup, sides},
    python::Script,
    support::{
        eventually,
        gate::{BINARY, Gate},
    },
};

/// A certificate for `localhost` with its key in one file, made by OpenSSL.
fn certificate(folder: &Path) -> String {
    let [key, certificate, both] =
        ["key", "crt", "pem"].map(|end| folder.join(format!("mail.{end}")));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"])
        .args(["-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output()
        .expect("openssl: run `make setup`");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let text = [certificate, key].map(|file| fs::read_to_string(file).unwrap()).concat();
    fs::write(&both, text).unwrap();
    both.display().to_string()
}

#[test]
fn mail_and_webhooks_are_encrypted_with_a_certificate_that_is_checked() {
    let folder = tempfile::tempdir().unwrap();
    let certificate = certificate(folder.path());
    let password = folder.path().join("password");
    fs::write(&password, "let-me-in\n").unwrap();
    let [starttls, tls] =
        ["starttls", "tls"].map(|how| Script::smtp_server(&format!("{how},{certificate}")));
    let https = Script::https_server(&certificate);
    let sides = sides();
    let sink = |name: &str, smtp: String, more: &str| {
        format!(
            "[notify.{name}]\nkind = \"email\"\nsmtp = \"{smtp}\"\nfrom = \"tidegate@example.com\"\n\
             to = [\"oncall@example.com\"]\nevents = [\"started\"]\n{more}\n"
        )
    };
    let login = format!("user = \"tidegate\"\npassword_file = \"{}\"", password.display());
    let (first, second) = (starttls.line(), tls.line());
    let more = [
        PLAN.to_owned(),
        sink("one", format!("starttls://localhost:{first}"), &login),
        sink("two", format!("smtps://localhost:{second}"), ""),
        format!(
            "[notify.web]\nkind = \"webhook\"\nurl = \"https://localhost:{}/\"\n",
            https.line()
        ),
    ];
    let config = setup(&sides, &more.concat());
    let start = |trusted: Option<&str>| {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("tidegate.toml"), config.text(folder.path())).unwrap();
        Gate::start_by(Command::new(BINARY), folder, |command| {
            command.env_remove("SSL_CERT_DIR").env_remove("SSL_CERT_FILE");
            command.envs(trusted.map(|file| ("SSL_CERT_FILE", file)));
        })
    };
    let gate = start(Some(&certificate));
    gate.run_ok(&["start", "app"]);
    for (server, login) in [(&starttls, "tidegate".into()), (&tls, Value::Null)] {
        let message: Value = serde_json::from_str(&server.line()).unwrap();
        assert_eq!(message["encrypted"], true, "{message}");
        assert_eq!(message["login"], login);
        assert_eq!(message["from"], "tidegate@example.com");
        assert!(message["text"].as_str().unwrap().contains("Rollout: app"), "{message}");
    }
    let body: Value = serde_json::from_str(&https.line()).unwrap();
    assert_eq!((&body["kind"], &body["rollout"]), (&"started".into(), &"app".into()));
    drop(gate);

    let gate = start(None);
    gate.run_ok(&["start", "app"]);
    let refused = eventually("a certificate that nobody vouches for is refused", || {
        let events = gate.events().into_iter().filter(|event| event["kind"] == "notify_failed");
        let refused: Vec<_> = events.collect();
        (refused.len() == 3).then_some(refused)
    });
    for event in refused {
        assert!(event["message"].to_string().contains("ertificate"), "{event}");
    }
}
