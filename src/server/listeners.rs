//! The listening sockets, all bound or none.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

use super::Config;

/// Sockets that listen, but from which nobody accepts yet.
#[derive(Debug)]
pub struct Listeners {
    pub(super) https: Vec<TcpListener>,
    pub(super) http: Vec<TcpListener>,
}

/// Binds every address of the configuration.
pub fn bind(config: &Config) -> Result<Listeners, BindError> {
    let all = |key: &'static str, addresses: &[SocketAddr]| {
        addresses
            .iter()
            .map(|&address| listen(address).map_err(|source| BindError { key, address, source }))
            .collect::<Result<Vec<_>, _>>()
    };
    Ok(Listeners { https: all("server.https", &config.https)?, http: all("server.http", &config.http)? })
}

/// An address that cannot be listened on.
#[derive(Debug)]
pub struct BindError {
    key: &'static str,
    address: SocketAddr,
    source: io::Error,
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, address, source } = self;
        match source.kind() {
            io::ErrorKind::AddrInUse => {
                write!(f, "{key}: {address} is in use by another program; stop it or choose another port")
            }
            io::ErrorKind::PermissionDenied => write!(
                f,
                "{key}: no permission to listen on {address}; ports below 1024 need CAP_NET_BIND_SERVICE"
            ),
            io::ErrorKind::AddrNotAvailable => {
                write!(f, "{key}: this machine has no address {}", address.ip())
            }
            _ => write!(f, "{key}: cannot listen on {address}: {source}"),
        }
    }
}

impl std::error::Error for BindError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // `[::]` takes IPv4 clients too; every other IPv6 address is just itself.
        socket.set_only_v6(address.ip() != IpAddr::V6(Ipv6Addr::UNSPECIFIED))?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Connections that may wait to be accepted; the kernel caps it at `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_taken_is_named() {
        let taken = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = taken.local_addr().unwrap();
        let error = BindError { key: "server.https", address, source: listen(address).unwrap_err() };
        assert_eq!(
            error.to_string(),
            format!("server.https: {address} is in use by another program; stop it or choose another port")
        );
    }
}
