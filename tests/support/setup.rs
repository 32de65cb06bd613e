//! A configuration, put together from the parts that matter to a test.

use std::{
    fmt::{Display, Write as _},
    net::SocketAddr,
    path::Path,
};

/// Text of a configuration; paths of sockets and state are added when the gate starts.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    process: String,
    admin: String,
    log: String,
    listeners: Vec<String>,
    backends: Vec<String>,
    routes: Vec<String>,
    more: String,
}

impl Setup {
    /// One worker, one listener at a free port, and nothing behind it.
    pub(crate) const fn empty() -> Self {
        Self {
            process: String::new(),
            admin: String::new(),
            log: String::new(),
            listeners: Vec::new(),
            backends: Vec::new(),
            routes: Vec::new(),
            more: String::new(),
        }
    }

    /// All requests to one upstream: backend `blue`, route `app`.
    pub(crate) fn to(upstream: SocketAddr) -> Self {
        Self::empty().backend("blue", upstream, "").route("app", "split = { blue = 100 }", NONE)
    }

    /// Route `app` divided between two upstreams, with keys to tell sessions apart.
    pub(crate) fn blue_green(
        (blue, green): (SocketAddr, SocketAddr),
        green_percent: u32,
        affinity: &str,
    ) -> Self {
        let split =
            format!("split = {{ blue = {}, green = {green_percent} }}", 100 - green_percent);
        Self::empty()
            .backend("blue", blue, "")
            .backend("green", green, "")
            .route("app", &split, affinity)
    }

    /// More lines of `[process]`.
    pub(crate) fn process(mut self, lines: &str) -> Self {
        self.process += &format!("{lines}\n");
        self
    }

    /// More lines of `[admin]`.
    pub(crate) fn admin(mut self, lines: &str) -> Self {
        self.admin += &format!("{lines}\n");
        self
    }

    /// Lines of `[log]`.
    pub(crate) fn log(mut self, lines: &str) -> Self {
        self.log += &format!("{lines}\n");
        self
    }

    /// Another listener at a free port, with more lines.
    pub(crate) fn listener(mut self, lines: &str) -> Self {
        self.listeners.push(lines.to_owned());
        self
    }

    /// A backend with one endpoint: its address, or `unix:` and a path.
    pub(crate) fn backend(self, name: &str, upstream: impl Display, lines: &str) -> Self {
        self.backend_of(name, &[upstream], lines)
    }

    pub(crate) fn backend_of(
        mut self,
        name: &str,
        upstreams: &[impl Display],
        lines: &str,
    ) -> Self {
        let endpoints: Vec<_> = upstreams.iter().map(|address| format!("\"{address}\"")).collect();
        let endpoints = endpoints.join(", ");
        self.backends.push(format!("[backend.{name}]\nendpoints = [{endpoints}]\n{lines}\n"));
        self
    }

    /// A route; `tables` are the tables below it, as [`NONE`].
    pub(crate) fn route(mut self, name: &str, lines: &str, tables: &str) -> Self {
        self.routes.push(format!("[[route]]\nname = \"{name}\"\n{lines}\n{tables}\n"));
        self
    }

    /// A rollout of route `app` from `blue` to `green`, of the same name; `lines` are the rest of its table, and the tables
    /// below it.
    pub(crate) fn rollout(self, lines: &str) -> Self {
        let roles = "route = \"app\"\nbaseline = \"blue\"\ncanary = \"green\"";
        self.more(&format!("[rollout.app]\n{roles}\n{lines}\n"))
    }

    /// More sections at the end of the file.
    pub(crate) fn more(mut self, sections: &str) -> Self {
        self.more += sections;
        self
    }

    /// Takes a route out.
    pub(crate) fn without_route(mut self, name: &str) -> Self {
        let head = format!("[[route]]\nname = \"{name}\"\n");
        self.routes.retain(|route| !route.starts_with(&head));
        self
    }

    /// The whole file, with its sockets and state in `folder`.
    pub(crate) fn text(&self, folder: &Path) -> String {
        let folder = folder.display();
        let workers = if self.process.contains("workers") { "" } else { "workers = 1\n" };
        let mut text = format!("[process]\n{workers}{}\n", self.process);
        let admin = format!("[admin]\nsocket = \"{folder}/admin.sock\"\n{}\n", self.admin);
        let state = format!("[state]\nfile = \"{folder}/tidegate.db\"\n");
        text += &format!("{admin}{state}[log]\n{}\n", self.log);
        let one = [String::new()];
        let listeners = if self.listeners.is_empty() { &one[..] } else { &self.listeners[..] };
        for lines in listeners {
            let bind = if lines.contains("bind") { "" } else { "bind = \"127.0.0.1:0\"\n" };
            write!(text, "[[listener]]\n{bind}{lines}\n").expect("memory");
        }
        text + &self.backends.concat() + &self.routes.concat() + &self.more
    }
}

/// Each request by itself.
pub(crate) const NONE: &str = "[route.affinity]\nby = \"none\"";

/// The application's cookie `sid` names the session.
pub(crate) const BY_SID: &str = "[route.affinity]\nby = \"app_cookie\"\nname = \"sid\"";

/// A cookie that Tidegate issues.
pub(crate) const BY_COOKIE: &str = "[route.affinity]\nby = \"cookie\"";
