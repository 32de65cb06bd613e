//! What helps when an address cannot be listened on.

use std::io::{self, ErrorKind};

/// The way out after `error`, to be put behind it; empty where the error says it all.
pub fn way_to_listen(error: &io::Error) -> &'static str {
    if error.kind() == ErrorKind::AddrInUse {
        "; another process has it, as `ss -ltnp` shows: stop that one, or choose another port"
    } else if error.kind() == ErrorKind::PermissionDenied {
        "; ports below 1024 need root or CAP_NET_BIND_SERVICE: give it that, or choose a higher one"
    } else if error.kind() == ErrorKind::AddrNotAvailable {
        "; this machine has no such address: choose one that `ip address` shows"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn each_reason_has_its_way_out() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let in_use = TcpListener::bind(taken.local_addr().unwrap()).unwrap_err();
        assert!(way_to_listen(&in_use).contains("stop that one"));
        // An address for documentation (RFC 5737), which no machine has.
        let foreign = TcpListener::bind("192.0.2.1:0").unwrap_err();
        assert!(way_to_listen(&foreign).contains("no such address"));
        assert!(way_to_listen(&ErrorKind::PermissionDenied.into()).contains("1024"));
        assert_eq!(way_to_listen(&ErrorKind::Other.into()), "");
    }
}
