//! Sockets: one per worker and address, opened and closed as the table says.

use std::{
    io,
    net::{SocketAddr, TcpListener},
};

use socket2::{Domain, Protocol, Socket, Type};

/// Opens a socket for each worker on one address. The kernel spreads connections over them.
///
/// # Errors
/// When another program has the address: sockets of a group would otherwise quietly share it with any
/// program of the same user, so the first one is tried alone.
pub(crate) fn open(address: SocketAddr, workers: usize, backlog: u32) -> io::Result<Vec<TcpListener>> {
    // Alone, without the group option: fails if anybody listens there.
    let probe = socket(address)?;
    probe.bind(&address.into())?;
    probe.listen(1)?;
    let address = probe.local_addr()?.as_socket().unwrap_or(address);
    drop(probe);
    join(address, workers, backlog)
}

/// Opens so many sockets more in the group of an address that this program has.
///
/// # Errors
/// The address is another program's, or there are no descriptors.
pub(crate) fn join(address: SocketAddr, count: usize, backlog: u32) -> io::Result<Vec<TcpListener>> {
    (0..count)
        .map(|_| {
            let socket = socket(address)?;
            socket.set_reuse_port(true)?;
            // Linux hands it on to every connection that is accepted: a call less for each.
            socket.set_tcp_nodelay(true)?;
            socket.bind(&address.into())?;
            socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
            Ok(socket.into())
        })
        .collect()
}

fn socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

/// An open socket of a proxy, to be handed to the process that takes over from this one. While any process has it, the
/// kernel queues connections for it.
#[derive(Debug)]
pub struct ListeningSocket {
    /// As the table names it.
    pub address: SocketAddr,
    /// It is the one at which gateways are told apart by host name.
    pub virtual_hosts: bool,
    /// One of a group that shares the address.
    pub socket: TcpListener,
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpListener};

    #[test]
    fn a_taken_address_is_refused_even_if_its_owner_shares() {
        let first = super::open("127.0.0.1:0".parse().expect("address"), 2, 16).expect("free");
        assert_eq!(first.len(), 2);
        let address = first[0].local_addr().expect("bound");
        assert_eq!(address, first[1].local_addr().expect("bound"));
        let error = super::open(address, 1, 16).expect_err("taken by the first group");
        assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
        drop(first);
        super::open(address, 1, 16).expect("free again");
        let other = TcpListener::bind::<SocketAddr>("127.0.0.1:0".parse().expect("address")).expect("free");
        assert!(super::open(other.local_addr().expect("bound"), 1, 16).is_err());
    }
}
