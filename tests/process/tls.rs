//! TLS with programs that were written by others, and over the life of a process: curl, OpenSSL, a WebSocket library.

use std::{
    fs,
    io::Write as _,
    net::TcpStream,
    os::unix::fs::symlink,
    process::{Command, Output, Stdio},
};

use crate::{
    outside::{PLAN, finding},
    python::Script,
    support::{
        eventually,
        gate::{BINARY, Gate, run_with},
        setup::{NONE, Setup},
        tls::{Authority, TlsClient, answering},
        upstream::{Reserved, Upstream, ok},
    },
};

fn curl(authority: &Authority, arguments: &[&str]) -> Output {
    Command::new("curl")
        .args(["--silent", "--show-error", "--noproxy", "*", "--max-time", "60", "--cacert"])
        .arg(authority.path("ca.pem"))
        .args(arguments)
        .output()
        .expect("curl is installed by `make setup`")
}

/// Runs `openssl s_client` with one request as its input.
fn s_client(gate: &Gate, authority: &Authority, arguments: &[&str]) -> String {
    let mut child = Command::new("openssl")
        .args(["s_client", "-connect", &gate.address().to_string(), "-servername", "localhost"])
        .args(["-CAfile", &authority.path("ca.pem"), "-verify_return_error", "-ign_eof"])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("openssl: run `make setup`");
    let request = b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    // One that was refused reads nothing.
    child.stdin.take().unwrap().write_all(request).ok();
    let output = child.wait_with_output().unwrap();
    [output.stdout, output.stderr].map(|part| String::from_utf8_lossy(&part).into_owned()).concat()
}

fn gate(authority: &Authority) -> (Gate, Upstream) {
    authority.sign("own", &["localhost"]);
    let upstream = Upstream::answering(|request| ok(&request.body.len().to_string()));
    let setup = Setup::to(upstream.address()).listener(&authority.certificate("own"));
    (Gate::start(&setup), upstream)
}

#[test]
fn curl_gets_and_posts_with_each_version() {
    let authority = Authority::new();
    let (gate, _upstream) = gate(&authority);
    let url = format!("https://localhost:{}/a?b=c", gate.address().port());
    for version in [&["--tlsv1.3"][..], &["--tlsv1.2", "--tls-max", "1.2"]] {
        let posts = [version, &["--fail", "--data", "hello", &url, &url]].concat();
        let output = curl(&authority, &posts);
        assert!(output.status.success(), "{version:?}: {output:?}");
        assert_eq!(output.stdout, b"55", "{version:?}");
    }
    let file = authority.folder().join("large");
    fs::write(&file, vec![7; 5_000_000]).unwrap();
    let body = format!("@{}", file.display());
    let output = curl(&authority, &["--fail", "--http1.1", "--data-binary", &body, &url]);
    assert_eq!(output.stdout, b"5000000", "{output:?}");
    let stranger = Authority::new();
    assert_eq!(curl(&stranger, &[&url]).status.code(), Some(60), "an authority it does not know");
}

#[test]
fn openssl_speaks_both_versions_and_no_older_one() {
    let authority = Authority::new();
    let (gate, _upstream) = gate(&authority);
    for (version, name) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        let said = s_client(&gate, &authority, &[version]);
        assert!(said.contains(name) && said.contains("HTTP/1.1 200 OK"), "{said}");
        assert!(said.contains("Verification: OK"), "{said}");
    }
    let said = s_client(&gate, &authority, &["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"]);
    assert!(!said.contains("HTTP/1.1 200 OK"), "{said}");
    let said = s_client(&gate, &authority, &["-alpn", "http/1.1"]);
    assert!(said.contains("ALPN protocol: http/1.1"), "{said}");
}

#[test]
fn openssl_goes_on_with_its_session() {
    let authority = Authority::new();
    let (gate, _upstream) = gate(&authority);
    let session = authority.path("session.pem");
    for version in ["-tls1_2", "-tls1_3"] {
        let first = s_client(&gate, &authority, &[version, "-sess_out", &session]);
        assert!(first.contains("New, TLS"), "{first}");
        let second = s_client(&gate, &authority, &[version, "-sess_in", &session]);
        assert!(second.contains("Reused, TLS"), "{second}");
    }
}

#[test]
fn an_ocsp_answer_is_shown_with_its_certificate() {
    let authority = Authority::new();
    authority.sign("own", &["localhost"]);
    authority.write_ocsp("own", "ocsp.der");
    let upstream = Upstream::saying("blue");
    let ocsp = format!("ocsp = \"{}\"\n", authority.path("ocsp.der"));
    let lines = authority.certificate("own") + &ocsp;
    let gate = Gate::start(&Setup::to(upstream.address()).listener(&lines));
    let said = s_client(&gate, &authority, &["-status"]);
    assert!(said.contains("OCSP Response Status: successful (0x0)"), "{said}");
    assert!(said.contains("Cert Status: good"), "{said}");
    let config = gate.config_path();
    let checked = gate.run_ok(&["check", "-c", config.to_str().unwrap()]);
    assert!(!checked.contains("warning"), "{checked}");

    // What begins like one is none, and the one before stays in use.
    authority.replace("ocsp.der", "0garbage");
    let refused = gate.run(&["reload"]);
    assert_eq!(refused.code, 65, "{refused:?}");
    assert!(refused.stderr.contains("ocsp.der is no OCSP answer in DER form"), "{refused:?}");
    let said = s_client(&gate, &authority, &["-status"]);
    assert!(said.contains("Cert Status: good"), "{said}");

    // After a renewal it speaks of another certificate.
    authority.write_ocsp("own", "ocsp.der");
    authority.sign("own", &["localhost"]);
    gate.run_ok(&["reload"]);
    let said = s_client(&gate, &authority, &["-status"]);
    assert!(said.contains("OCSP response: no response sent"), "{said}");
    let checked = gate.run_ok(&["check", "-c", config.to_str().unwrap()]);
    assert!(checked.contains("ocsp.der does not speak of it, and is not shown"), "{checked}");
}

#[test]
fn websockets_pass_under_tls_on_both_sides() {
    let authority = Authority::new();
    authority.sign("own", &["localhost"]);
    let (_server, address) = Script::echo_server("blue");
    let inner = Setup::to(address).listener(&authority.certificate("own"));
    let inner = Gate::start(&inner);
    let tls = format!(
        "[backend.blue.tls]\nca = \"{}\"\nserver_name = \"localhost\"",
        authority.path("ca.pem")
    );
    let outer = Setup::empty()
        .backend("blue", inner.address(), &tls)
        .route("app", "split = { blue = 100 }", NONE)
        .listener(&authority.certificate("own"));
    let outer = Gate::start(&outer);
    let url = format!("wss://localhost:{}/chat", outer.address().port());
    let mut client = Script::client_trusting(&url, &authority.path("ca.pem"));
    for round in 0..10 {
        assert_eq!(client.ask(&format!("hello {round}")), format!("blue hello {round}"));
    }
    assert_eq!(client.ask("big"), (8 * 1024 * 1024).to_string());
    assert_eq!(client.ask("close"), "closed 1000");
}

#[test]
fn a_certificate_swapped_by_a_link_to_its_folder_is_taken() {
    // As Kubernetes mounts a secret: each file is a link through `..data`, which is a link to a folder with a date.
    let authority = Authority::new();
    let place = |dated: &str| {
        authority.sign("own", &["localhost"]);
        let folder = authority.folder();
        fs::create_dir(folder.join(dated)).unwrap();
        for name in ["own.crt", "own.key"] {
            fs::rename(folder.join(name), folder.join(dated).join(name)).unwrap();
        }
        symlink(dated, folder.join("..data.new")).unwrap();
        fs::rename(folder.join("..data.new"), folder.join("..data")).unwrap();
    };
    place("..2026_01");
    let [cert, key] = ["own.crt", "own.key"].map(|name| {
        let link = authority.folder().join(format!("link.{name}"));
        symlink(format!("..data/{name}"), &link).unwrap();
        link.display().to_string()
    });
    let lines = format!("[[listener.certificate]]\ncert = \"{cert}\"\nkey = \"{key}\"\n");
    let upstream = Upstream::saying("blue");
    let gate = Gate::start(&Setup::to(upstream.address()).listener(&lines));
    let shown = || {
        let client = TlsClient::connect(gate.address(), &authority.client(), "localhost").unwrap();
        client.session(|session| session.peer_certificates().unwrap()[0].to_vec())
    };
    for dated in ["..2026_02", "..2026_03"] {
        let before = shown();
        place(dated);
        eventually("the new certificate is shown", || (shown() != before).then_some(()));
    }
    let rejected = gate.events().into_iter().any(|event| event["kind"] == "reload_rejected");
    assert!(!rejected, "{:?}", gate.events());
}

#[test]
fn check_reads_the_files_and_warns_of_what_has_expired() {
    let authority = Authority::new();
    authority.sign("own", &["localhost"]);
    authority.sign("other", &["localhost"]);
    authority.sign_until("old", &["localhost"], 2020);
    let upstream = Upstream::saying("blue");
    let check = |lines: &str| {
        let setup = Setup::to(upstream.address()).listener(lines);
        let path = authority.folder().join("tidegate.toml");
        fs::write(&path, setup.text(authority.folder())).unwrap();
        run_with(&["check", "-c", path.to_str().unwrap()], &[])
    };
    let good = check(&authority.certificate("own"));
    assert_eq!(good.code, 0, "{good:?}");
    assert!(!good.stdout.contains("warning: "), "{good:?}");
    let expired = check(&authority.certificate("old"));
    assert_eq!(expired.code, 0, "{expired:?}");
    assert!(expired.stdout.contains("old.crt has expired on 2020-01-01"), "{expired:?}");
    let mixed = authority.certificate("own").replace("own.key", "other.key");
    let mixed = check(&mixed);
    assert_eq!(mixed.code, 78, "{mixed:?}");
    assert!(
        mixed.stderr.contains("other.key is not the key of the first certificate in"),
        "{mixed:?}"
    );
    // As any fault, with line, column and key; and with what to do.
    let lines = fs::read_to_string(authority.folder().join("tidegate.toml")).unwrap();
    let line = lines.lines().position(|line| line.starts_with("key = ")).unwrap() + 1;
    let place = format!("tidegate.toml:{line}:7: listener[0].certificate[0].key: ");
    assert!(mixed.stderr.contains(&place) && mixed.stderr.contains("hint: "), "{mixed:?}");
}

#[test]
fn the_admin_api_is_encrypted_and_takes_the_token_then() {
    let authority = Authority::new();
    authority.sign("admin", &["localhost"]);
    fs::write(authority.folder().join("token"), "let-me-in").unwrap();
    let upstream = Upstream::saying("blue");
    let [cert, key, token] = ["admin.crt", "admin.key", "token"].map(|name| authority.path(name));
    let reserved = Reserved::bind();
    let port = reserved.address.port();
    drop(reserved);
    let plain =
        format!("listen = \"0.0.0.0:{port}\"\ntoken_file = \"{token}\"\nhosts = [\"localhost\"]\n");
    let refused = Setup::to(upstream.address()).admin(&plain);
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("tidegate.toml"), refused.text(folder.path())).unwrap();
    let path = folder.path().join("tidegate.toml");
    let ran = run_with(&["check", "-c", path.to_str().unwrap()], &[]);
    assert_eq!(ran.code, 78, "{ran:?}");
    assert!(ran.stderr.contains("[admin.tls]"), "{ran:?}");

    let tls = format!("{plain}[admin.tls]\ncert = \"{cert}\"\nkey = \"{key}\"\n");
    let gate = Gate::start(&Setup::to(upstream.address()).admin(&tls));
    let url = |path: &str| format!("https://localhost:{port}{path}");
    let output = curl(&authority, &["--fail", &url("/healthz")]);
    assert!(output.status.success(), "{output:?}");
    let json = "content-type: application/json";
    let split = url("/v1/routes/app/split");
    let put = ["-X", "PUT", "-H", json, "-d", "{\"blue\": 100}", &split];
    let output = curl(&authority, &[&["--fail"][..], &put].concat());
    assert_eq!(output.status.code(), Some(22), "without the token: {output:?}");
    let bearer = ["-H", "authorization: Bearer let-me-in"];
    let output = curl(&authority, &[&["--fail"][..], &bearer, &put].concat());
    assert!(output.status.success(), "{output:?}");
    let output = curl(&authority, &[&format!("http://localhost:{port}/healthz")]);
    assert!(!output.status.success(), "in the clear: {output:?}");
    assert_eq!(gate.client().get("/").status(), 200);
}

#[test]
fn endpoints_are_believed_by_the_word_of_the_platform() {
    let authority = Authority::new();
    authority.sign("app", &["localhost"]);
    let address = answering(authority.server("app", false), |_| ok("fine"));
    let tls = "[backend.blue.tls]\nserver_name = \"localhost\"";
    let setup = Setup::empty().backend("blue", address, tls);
    let setup = setup.route("app", "split = { blue = 100 }", NONE);
    let stranger = Authority::new();
    for (trusted, status) in [(authority.path("ca.pem"), 200), (stranger.path("ca.pem"), 502)] {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("tidegate.toml"), setup.text(folder.path())).unwrap();
        let gate = Gate::start_by(Command::new(BINARY), folder, |command| {
            command.env_remove("SSL_CERT_DIR").env("SSL_CERT_FILE", trusted);
        });
        assert_eq!(gate.client().get("/").status(), status);
    }
}

#[test]
fn a_drain_waits_for_clients_that_are_shaking_hands() {
    let authority = Authority::new();
    let (mut gate, _upstream) = gate(&authority);
    let stream = TcpStream::connect(gate.address()).unwrap();
    eventually("it is accepted", || {
        (gate.metric("tidegate_connections", &[]) == 1.0).then_some(())
    });
    gate.signal("TERM");
    eventually("it drains", || (gate.admin("GET", "/readyz", "").status() == 503).then_some(()));
    let mut client = TlsClient::over(stream, &authority.client(), "localhost").unwrap();
    let answer = client.get("/");
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers.only("connection"), Some("close"));
    assert!(gate.wait().success());
}

#[test]
fn a_preflight_and_its_checks_reach_what_is_encrypted() {
    let authority = Authority::new();
    authority.sign("app", &["app.example"]);
    authority.sign("own", &["localhost"]);
    let sides = [1, 2].map(|_| answering(authority.server("app", false), |_| ok("a page")));
    let ca = authority.path("ca.pem");
    let backend = |name: &str, name_shown: &str| {
        let server_name = format!("server_name = \"{name_shown}\"");
        format!("[backend.{name}.tls]\nca = \"{ca}\"\n{server_name}")
    };
    let more = format!(
        "{PLAN}[[rollout.app.check]]\nname = \"page\"\nrequest = {{ path = \"/page\" }}\n\
         target = \"both\"\nexpect = {{ body_contains = \"page\" }}\n\
         [[rollout.app.check]]\nname = \"through\"\nrequest = {{}}\ntarget = \"proxy\"\n"
    );
    let setup = |green: &str| {
        Setup::empty()
            .listener("redirect_to_https = true")
            .listener(&authority.certificate("own"))
            .backend("blue", sides[0], &backend("blue", "app.example"))
            .backend("green", sides[1], &backend("green", green))
            .route("app", "split = { blue = 100, green = 0 }", NONE)
            .more(&more)
    };
    let gate = Gate::start(&setup("app.example"));
    for name in [
        "page",
        "through",
        "certificates last",
        "certificates of endpoints are taken",
        "the route is reached through the listener",
        "canary answers without errors",
    ] {
        let (result, detail) = finding(&gate, name);
        assert_eq!(result, "pass", "{name}: {detail}");
    }
    gate.replace_config(&setup("other.example"));
    gate.run_ok(&["reload"]);
    let (result, detail) = finding(&gate, "certificates of endpoints are taken");
    assert!(result == "fail" && detail.contains("not valid for name"), "{result}: {detail}");
}

#[test]
fn an_idle_connection_costs_little() {
    const CONNECTIONS: u64 = 500;
    let authority = Authority::new();
    let (gate, _upstream) = gate(&authority);
    let config = authority.client();
    let open = || TlsClient::connect(gate.address(), &config, "localhost").unwrap();
    for _ in 0..50 {
        assert_eq!(open().get("/").status(), 200);
    }
    let before = gate.memory("VmRSS");
    let mut idle: Vec<_> = (0..CONNECTIONS).map(|_| open()).collect();
    for client in idle.iter_mut().step_by(2) {
        assert_eq!(client.get("/").status(), 200);
    }
    // Within a second or two each of them gives back what it needs for a request alone.
    eventually("an idle connection costs at most 20 KiB", || {
        let each = gate.memory("VmRSS").saturating_sub(before) / CONNECTIONS;
        (each <= 20 * 1024).then_some(())
    });
    assert_eq!(idle[0].get("/").status(), 200);
}
