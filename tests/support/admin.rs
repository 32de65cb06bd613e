//! The admin API as a program sees it: HTTP and JSON over the unix socket or over TCP.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::net::UnixStream,
};

use serde_json::Value;

use super::{
    PATIENCE, eventually,
    gate::Gate,
    message::{Message, Reader},
};

impl Gate {
    /// Asks the admin API over its unix socket.
    pub(crate) fn admin(&self, method: &str, path: &str, body: &str) -> Message {
        let stream = UnixStream::connect(self.socket()).expect("an admin socket");
        stream.set_read_timeout(Some(PATIENCE)).expect("an open socket");
        let copy = stream.try_clone().expect("an open socket");
        exchange(stream, copy, method, path, "host: localhost\r\n", body)
    }

    /// The JSON of `GET path`.
    pub(crate) fn admin_json(&self, path: &str) -> Value {
        let answer = self.admin("GET", path, "");
        assert_eq!(answer.status(), 200, "{path}: {}", answer.text());
        serde_json::from_slice(&answer.body).expect("JSON")
    }

    /// Sum of the series of a metric whose labels include all of `labels`.
    pub(crate) fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let answer = self.admin("GET", "/metrics", "");
        assert_eq!(answer.status(), 200, "{}", answer.text());
        sum_of(&answer.text(), name, labels)
    }

    /// Waits until so much is counted, by the counter [`Self::metric`] would give; fails if it is more. A client may have its
    /// answer a moment before it is counted.
    pub(crate) fn await_count(&self, name: &str, labels: &[(&str, &str)], wanted: u64) {
        let counted = eventually(&format!("{name} {labels:?} reaches {wanted}"), || {
            let counted = self.metric(name, labels).round() as u64;
            (counted >= wanted).then_some(counted)
        });
        assert_eq!(counted, wanted, "{name} {labels:?}");
    }

    /// Split of a route in percent, and where it came from.
    pub(crate) fn split_of(&self, route: &str) -> (Value, String) {
        let status = self.admin_json("/v1/status");
        let routes = status["routes"].as_array().expect("routes");
        let route = routes.iter().find(|entry| entry["name"] == route).expect("a known route");
        (route["split"].clone(), route["source"].as_str().expect("a source").to_owned())
    }

    /// The audit trail, oldest first.
    pub(crate) fn events(&self) -> Vec<Value> {
        let answer = self.admin_json("/v1/events?after=0&limit=1000");
        let list = answer.get("events").unwrap_or(&answer);
        list.as_array().unwrap_or_else(|| panic!("no list of events: {answer}")).clone()
    }
}

/// Asks the admin API over TCP, with header lines of the test's choice.
pub(crate) fn over_tcp(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &str,
    body: &str,
) -> Message {
    let stream = TcpStream::connect(address).expect("an admin listener");
    stream.set_read_timeout(Some(PATIENCE)).expect("an open socket");
    let copy = stream.try_clone().expect("an open socket");
    exchange(stream, copy, method, path, headers, body)
}

fn exchange(
    mut stream: impl Write,
    copy: impl Read + Send + 'static,
    method: &str,
    path: &str,
    headers: &str,
    body: &str,
) -> Message {
    let length = body.len();
    let json = "content-type: application/json\r\n";
    let head = format!("{method} {path} HTTP/1.1\r\n{headers}{json}content-length: {length}\r\n");
    stream.write_all(format!("{head}\r\n{body}").as_bytes()).expect("an open socket");
    let answer = Reader::new(copy, |_| {}).response(method, |_| {});
    answer.unwrap_or_else(|broken| panic!("{method} {path}: the answer is {broken}"))
}

fn sum_of(text: &str, name: &str, labels: &[(&str, &str)]) -> f64 {
    let fits = |series: &str| {
        let (given, inside) = series.split_once('{').unwrap_or((series, ""));
        let wanted =
            |(label, value): &(&str, &str)| inside.contains(&format!("{label}=\"{value}\""));
        given == name && labels.iter().all(wanted)
    };
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let series = lines.filter_map(|line| line.rsplit_once(' ')).filter(|(series, _)| fits(series));
    series.map(|(_, value)| value.parse::<f64>().expect("a number")).sum()
}
