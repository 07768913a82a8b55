//! The listening sockets, passed in or bound here: all or none.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

use super::Config;
use super::inherited::Inherited;

/// Sockets that listen, but from which nobody accepts yet.
#[derive(Debug)]
pub struct Listeners {
    pub(super) https: Vec<TcpListener>,
    pub(super) http: Vec<TcpListener>,
}

/// Binds every address of the configuration for which no socket is inherited.
pub fn bind(config: &Config, inherited: &mut Inherited) -> Result<Listeners, BindError> {
    let mut all = |key: &'static str, name: &str, addresses: &[SocketAddr]| {
        addresses
            .iter()
            .map(|&address| match inherited.take(name, address) {
                Some(listener) => Ok(listener),
                None => listen(address).map_err(|source| BindError { key, address, source }),
            })
            .collect::<Result<Vec<_>, _>>()
    };
    let https = all("server.https", "https", &config.https)?;
    Ok(Listeners { https, http: all("server.http", "http", &config.http)? })
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
