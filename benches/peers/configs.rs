//! What each peer is told: the same job, in its own words.
//!
//! One worker, access logs off, keep-alive on both sides, session cookie hashed to a 90/10 split,
//! `X-Forwarded-For`, `X-Forwarded-Proto` and a request id added. Where a default would make a peer
//! do more than the others (Nginx's temporary files for large bodies, of answers and of requests), it is turned off.

use std::{fmt::Write, net::SocketAddr, path::Path};

/// What a configuration has to name.
pub(crate) struct Wiring<'a> {
    /// Where the peer listens.
    pub(crate) listen: SocketAddr,
    /// Where it does so under TLS, with the certificate `bench.crt`, its key `bench.key` and both in `bench.pem`.
    pub(crate) encrypted: SocketAddr,
    /// Blue and green.
    pub(crate) upstreams: [SocketAddr; 2],
    /// A directory of the peer's own.
    pub(crate) dir: &'a Path,
    /// Routes; only Tidegate is given more than one.
    pub(crate) routes: usize,
}

/// `nginx.conf`.
pub(crate) fn nginx(wiring: &Wiring<'_>) -> String {
    let Wiring { listen, encrypted, upstreams: [blue, green], dir, .. } = wiring;
    let dir = dir.display();
    format!(
        r#"daemon off;
worker_processes 1;
pid {dir}/nginx.pid;
error_log {dir}/error.log error;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    client_body_temp_path {dir}/body;
    proxy_temp_path {dir}/proxy;
    fastcgi_temp_path {dir}/fastcgi;
    uwsgi_temp_path {dir}/uwsgi;
    scgi_temp_path {dir}/scgi;
    keepalive_timeout 75s;
    keepalive_requests 100000000;
    tcp_nodelay on;

    split_clients "$cookie_session" $backend {{
        10% green;
        *   blue;
    }}
    upstream blue {{
        server {blue};
        keepalive 256;
        keepalive_requests 100000000;
    }}
    upstream green {{
        server {green};
        keepalive 256;
        keepalive_requests 100000000;
    }}
    server {{
        listen {listen} backlog=4096;
        listen {encrypted} ssl http2 backlog=4096;
        ssl_certificate {dir}/bench.crt;
        ssl_certificate_key {dir}/bench.key;
        ssl_protocols TLSv1.2 TLSv1.3;
        location / {{
            proxy_pass http://$backend;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header X-Request-ID $request_id;
            proxy_max_temp_file_size 0;
            proxy_request_buffering off;
        }}
    }}
}}
"#
    )
}

/// `haproxy.cfg`.
pub(crate) fn haproxy(wiring: &Wiring<'_>) -> String {
    let Wiring { listen, encrypted, upstreams: [blue, green], dir, .. } = wiring;
    let dir = dir.display();
    format!(
        r#"global
    nbthread 1
    maxconn 6000

defaults
    mode http
    timeout connect 1s
    timeout client 75s
    timeout server 60s
    timeout http-keep-alive 75s
    option forwardfor
    http-reuse always

frontend bench
    bind {listen} backlog 4096
    bind {encrypted} ssl crt {dir}/bench.pem alpn h2,http/1.1 backlog 4096
    unique-id-format %[uuid()]
    unique-id-header x-request-id
    http-request set-header x-forwarded-proto http
    use_backend green if {{ req.cook(session),xxh32,mod(100) -m int lt 10 }}
    default_backend blue

backend blue
    server blue {blue} maxconn 1024
backend green
    server green {green} maxconn 1024
"#
    )
}

/// `tidegate.toml`.
pub(crate) fn tidegate(wiring: &Wiring<'_>) -> String {
    let Wiring { listen, encrypted, upstreams: [blue, green], dir, routes } = wiring;
    let dir = dir.display();
    let mut text = format!(
        r#"[process]
workers = 1
shutdown_timeout = "1s"
[admin]
socket = "{dir}/admin.sock"
[state]
file = "{dir}/state.db"
[log]
level = "warn"
summary_every = "off"
[log.access]
path = "off"
[[listener]]
bind = "{listen}"
[[listener]]
bind = "{encrypted}"
[[listener.certificate]]
cert = "{dir}/bench.crt"
key = "{dir}/bench.key"
[backend.blue]
endpoints = ["{blue}"]
pool_idle = 256
[backend.green]
endpoints = ["{green}"]
pool_idle = 256
"#
    );
    for number in 0..*routes {
        let path = if *routes == 1 { "/".to_owned() } else { format!("/r{number}") };
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            r#"[[route]]
name = "r{number}"
path = "{path}"
split = {{ blue = 90, green = 10 }}
[route.affinity]
by = "app_cookie"
name = "session"
"#
        );
    }
    text
}
