//! Who may do what, over what: tokens, TLS, streams, sockets, the way through to what is managed.

mod client;
mod logs;
mod origin;
mod proxy;
mod sockets;
mod streams;
mod tls;
mod tokens;
