//! How many connections each client has at a listener, over all workers.
//!
//! Asked once for a connection, never for a request; nothing is kept of a client without connections.

use std::{
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
};

use dashmap::{DashMap, Entry};

/// Connections by client, as many at most as the listener has.
#[derive(Debug, Default)]
pub(super) struct Clients(DashMap<IpAddr, u32>);

/// A connection's place among its client's; given back when it is dropped.
pub(super) struct ClientPlace {
    clients: Arc<Clients>,
    client: IpAddr,
}

impl Clients {
    /// A place for one more connection from `address`; `None` when it has `most` already.
    pub(super) fn enter(self: &Arc<Self>, address: IpAddr, most: u32) -> Option<ClientPlace> {
        let client = client(address);
        let mut count = self.0.entry(client).or_insert(0);
        if *count >= most {
            return None;
        }
        *count += 1;
        drop(count);
        Some(ClientPlace { clients: self.clone(), client })
    }
}

impl Drop for ClientPlace {
    fn drop(&mut self) {
        if let Entry::Occupied(mut entry) = self.clients.0.entry(self.client) {
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }
}

/// One who has an IPv6 address has at least the 2^64 of its network.
fn client(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let network = u128::from(address) & !u128::from(u64::MAX);
            Ipv6Addr::from(network).into()
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_has_its_places_and_no_more_and_leaves_nothing_behind() {
        let clients = Arc::<Clients>::default();
        let enter = |text: &str| clients.enter(text.parse().unwrap(), 2);
        let held = [enter("10.0.0.1"), enter("::ffff:10.0.0.1"), enter("10.0.0.2")];
        assert!(held.iter().all(Option::is_some));
        assert!(enter("10.0.0.1").is_none());
        let six = [enter("2001:db8::1"), enter("2001:db8::ffff:1")];
        assert!(six.iter().all(Option::is_some));
        assert!(enter("2001:db8:0:0:9::").is_none(), "the same network");
        assert!(enter("2001:db8:0:1::").is_some());
        drop(held);
        assert!(enter("10.0.0.1").is_some());
        drop(six);
        assert!(clients.0.is_empty());
    }
}
