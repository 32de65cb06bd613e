//! The operator's API: HTTP/1.1 and JSON on a unix socket, and on TCP where configured.
//!
//! Who may open the socket may operate. TCP shows, and changes something only for a bearer of the token.

mod api;
mod auth;
pub mod client;
mod door;
mod fault;
mod reserve;
mod rollouts;
mod server;
mod socket_file;
mod stream;
pub mod wire;

pub use door::DoorKeeper;
pub use server::{AdminError, Connections, Heritage, Server, Settings, check_token};
