//! Many, slow and large: memory stays bounded, and others are served meanwhile.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    process::Command,
};

use crate::{
    load::Lean,
    support::{
        PATIENCE, eventually,
        gate::{BINARY, Gate},
        message::{Framing, Reader},
        setup::Setup,
        upstream::{Upstream, ok},
    },
};

const MIB: u64 = 1024 * 1024;
const GIB: u64 = 1024 * MIB;

/// Shows or sets the limits of a process.
pub(crate) fn prlimit(process_id: u32, arguments: &[&str]) -> String {
    let id = process_id.to_string();
    let output = Command::new("prlimit").args(["--pid", &id]).args(arguments).output();
    let output = output.expect("prlimit is installed by `make setup`");
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Allows this process and its children more open files, as far as the machine's hard limit goes.
fn raise_file_limit() {
    let id = std::process::id();
    let hard = prlimit(id, &["--nofile", "--output=HARD", "--noheadings"]);
    prlimit(id, &[&format!("--nofile={hard}:{hard}")]);
}

#[test]
fn five_thousand_idle_connections_cost_little_and_hinder_nobody() {
    const CONNECTIONS: u64 = 5_000;
    raise_file_limit();
    let upstream = Lean::saying("blue");
    let gate = Gate::start(&Setup::to(upstream.address));
    assert_eq!(gate.client().get("/").status(), 200);
    let before = gate.memory("VmRSS");
    let mut idle: Vec<_> = (0..CONNECTIONS).map(|_| gate.client()).collect();
    for client in idle.iter_mut().step_by(2) {
        assert_eq!(client.get("/").status(), 200);
    }
    let each = gate.memory("VmRSS").saturating_sub(before) / CONNECTIONS;
    assert!(each <= 20 * 1024, "{each} bytes a connection");
    for _ in 0..100 {
        assert_eq!(gate.client().get("/").status(), 200);
    }
    assert_eq!(idle[0].get("/").status(), 200);
    assert_eq!(idle[1].get("/").status(), 200);
}

#[test]
fn slow_heads_end_in_time_and_hinder_nobody() {
    const CLIENTS: usize = 500;
    raise_file_limit();
    let upstream = Lean::saying("blue");
    let gate = Gate::start(&Setup::to(upstream.address).listener("header_timeout = \"3s\""));
    let mut slow: Vec<_> = (0..CLIENTS).map(|_| gate.client()).collect();
    let mut others = gate.client();
    for byte in b"GET / HTTP/1.1\r\n" {
        for client in &mut slow {
            // A late byte may meet a connection that has been closed.
            client.stream().write_all(&[*byte]).ok();
        }
        assert_eq!(others.get("/").status(), 200);
    }
    for client in &mut slow {
        let answer = client.reader().response("GET", |_| {});
        assert!(answer.is_ok_and(|answer| answer.status() == 408));
    }
    assert_eq!(others.get("/").status(), 200);
}

#[test]
fn clients_that_do_not_read_cost_little() {
    const CLIENTS: u64 = 100;
    let upstream = Upstream::scripted(|peer| {
        peer.request();
        peer.write("HTTP/1.1 200 OK\r\ncontent-length: 1073741824\r\n\r\n").ok();
        let block = vec![b'x'; 1 << 16];
        while peer.write(&block).is_ok() {}
    });
    let gate = Gate::start(&Setup::to(upstream.address()).process("workers = 1"));
    let before = gate.memory("VmRSS");
    let mut stalled: Vec<_> = (0..CLIENTS).map(|_| gate.client()).collect();
    for client in &mut stalled {
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        client.reader().response_head("GET").unwrap();
    }
    let grown = gate.memory("VmHWM").saturating_sub(before);
    assert!(grown <= CLIENTS * MIB, "{grown} bytes for {CLIENTS} stalled clients");
}

#[test]
fn two_gibibytes_down_pass_in_little_memory() {
    const LENGTH: u64 = 2 * GIB;
    let upstream = Upstream::scripted(|peer| {
        let block = vec![b'x'; 1 << 20];
        while let Some(request) = peer.request() {
            let length = if request.target() == "/warm" { WARM } else { LENGTH };
            peer.write(format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n")).ok();
            for _ in 0..length >> 20 {
                peer.write(&block).ok();
            }
        }
    });
    let gate = Gate::start(&Setup::to(upstream.address()).process("workers = 1"));
    let mut client = gate.client();
    assert_eq!(client.get("/warm").body.len() as u64, WARM);
    let before = gate.memory("VmHWM");
    client.send("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    client.reader().response_head("GET").unwrap();
    let ahead = client.reader().ahead().len() as u64;
    assert_eq!(ahead + drain(client.stream()), LENGTH);
    assert_little(&gate, before);
}

#[test]
fn two_gibibytes_up_pass_in_little_memory() {
    const LENGTH: u64 = 2 * GIB;
    let gate = Gate::start(&Setup::to(sink()).process("workers = 1"));
    let mut client = gate.client();
    let mut upload = |length: u64| {
        client.send(format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n"));
        let block = vec![b'x'; 1 << 20];
        for _ in 0..length >> 20 {
            client.send(&block);
        }
        assert_eq!(client.answer_to("POST").text(), length.to_string());
    };
    upload(WARM);
    let before = gate.memory("VmHWM");
    upload(LENGTH);
    assert_little(&gate, before);
}

/// So much passes first: what is large is measured once the code for it is paged in.
const WARM: u64 = 16 * MIB;

/// An upstream that takes requests whose length is announced, each on a connection of its own, and answers with the bytes
/// that it got.
fn sink() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut reader = Reader::new(stream.try_clone().unwrap(), |_| {});
            // A connection that only looked whether there is anybody.
            let Ok(Some(head)) = reader.request_head() else { continue };
            let Framing::Length(length) = head.framing else { panic!("{head:?}") };
            let mut got = reader.ahead().len() as u64;
            let mut block = vec![0; 1 << 20];
            while got < length {
                got += stream.read(&mut block).unwrap() as u64;
            }
            let answer = String::from_utf8(ok(&got.to_string())).unwrap();
            let answer = answer.replacen("\r\n", "\r\nconnection: close\r\n", 1);
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    address
}

fn drain(stream: &mut TcpStream) -> u64 {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut block = vec![0; 1 << 20];
    let mut whole = 0;
    loop {
        match stream.read(&mut block).unwrap() {
            0 => return whole,
            count => whole += count as u64,
        }
    }
}

fn assert_little(gate: &Gate, before: u64) {
    let grown = gate.memory("VmHWM").saturating_sub(before);
    assert!(grown <= 16 * MIB, "{grown} bytes of memory for a body");
}

#[test]
fn without_file_descriptors_it_waits_and_operators_are_still_heard() {
    const LIMIT: usize = 64;
    let upstream = Lean::saying("blue");
    let gate = Gate::start(&Setup::to(upstream.address));
    let mut first = gate.client();
    assert_eq!(first.get("/").status(), 200);
    prlimit(gate.process_id(), &[&format!("--nofile={LIMIT}:{LIMIT}")]);
    let crowd: Vec<_> = (0..2 * LIMIT).map(|_| gate.client()).collect();
    eventually("the lack is told", || {
        crate::state::kinds(&gate).iter().any(|kind| kind == "accept_failed").then_some(())
    });
    for _ in 0..20 {
        gate.run_ok(&["status"]);
    }
    assert_eq!(first.get("/").status(), 200, "a connection that stands goes on");
    // Not a wait for something: the time in which the work is measured.
    let before = gate.processor_ticks();
    std::thread::sleep(std::time::Duration::from_secs(1));
    let spent = gate.processor_ticks() - before;
    assert!(spent <= 20, "{spent} hundredths of a second of work in a second");
    drop(crowd);
    assert_eq!(gate.client().get("/").status(), 200, "what waited is taken");
}

#[test]
fn without_file_descriptors_no_backend_is_blamed() {
    const LIMIT: usize = 64;
    let upstream = Upstream::scripted(|peer| {
        peer.request();
        peer.write("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").ok();
    });
    let gate = Gate::start(&Setup::to(upstream.address()));
    let mut first = gate.client();
    assert_eq!(first.get("/").status(), 200);
    prlimit(gate.process_id(), &[&format!("--nofile={LIMIT}:{LIMIT}")]);
    let crowd: Vec<_> = (0..2 * LIMIT).map(|_| gate.client()).collect();
    eventually("the lack is told", || {
        crate::state::kinds(&gate).iter().any(|kind| kind == "accept_failed").then_some(())
    });
    // Descriptors that are given back are taken by those who wait, until there is none to connect with.
    eventually("there is nothing to connect with", || {
        (first.get("/").status() == 500).then_some(())
    });
    drop(crowd);
    gate.await_count("tidegate_errors_total", &[("reason", "internal")], 1);
    let failed = gate.metric("tidegate_requests_total", &[("class", "failure")]);
    assert!(failed < 0.5, "{failed} failures were counted against the backend");
}

#[test]
fn a_shells_soft_limit_is_raised() {
    let upstream = Lean::saying("blue");
    let folder = tempfile::tempdir().unwrap();
    let setup = Setup::to(upstream.address);
    std::fs::write(folder.path().join("tidegate.toml"), setup.text(folder.path())).unwrap();
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -S -n 64; exec \"$0\" \"$@\"", BINARY]);
    let gate = Gate::start_by(shell, folder, |_| {});
    let mut clients: Vec<_> = (0..200).map(|_| gate.client()).collect();
    for client in &mut clients {
        assert_eq!(client.get("/").status(), 200);
    }
}
