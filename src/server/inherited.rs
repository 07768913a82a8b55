//! Listening sockets that whoever started us keeps open (systemd's `LISTEN_FDS`).
//!
//! Such a socket outlives the process: while one gateway ends and the next begins, clients wait in its
//! queue, and none is refused. Leaves accepting to `acceptor`, which never shuts a socket down for that
//! reason. Invariant: every socket that was passed in is used, or the start fails: one that nobody
//! accepts from would keep its clients waiting for ever.

use std::io;
use std::net::{SocketAddr, TcpListener};

use listenfd::ListenFd;

/// Sockets that were passed in and are not yet used.
#[derive(Debug, Default)]
pub struct Inherited(Vec<Passed>);

#[derive(Debug)]
struct Passed {
    name: String,
    address: SocketAddr,
    listener: TcpListener,
}

impl Inherited {
    /// What the process was started with; nothing if that is meant for another process.
    pub fn from_environment() -> Result<Self, InheritError> {
        // Also keeps the sockets from programs that we might start.
        let names: Vec<String> = sd_notify::listen_fds_with_names()
            .map_err(InheritError::Environment)?
            .map(|(_, name)| name)
            .collect();
        let mut sockets = ListenFd::from_env();
        let mut passed = Vec::new();
        for (index, name) in names.into_iter().enumerate().take(sockets.len()) {
            let listener = sockets.take_tcp_listener(index);
            let read = |listener: TcpListener| listener.local_addr().map(|address| (address, listener));
            match listener.and_then(|listener| listener.map(read).transpose()) {
                Ok(Some((address, listener))) => passed.push(Passed { name, address, listener }),
                Ok(None) => {}
                Err(source) => return Err(InheritError::Socket { name, source }),
            }
        }
        Ok(Self(passed))
    }

    /// The socket for `address`; if there is none, the first whose name (`FileDescriptorName=`) is `name`.
    pub fn take(&mut self, name: &str, address: SocketAddr) -> Option<TcpListener> {
        let by_address = self.0.iter().position(|passed| passed.address == address);
        let at = by_address.or_else(|| self.0.iter().position(|passed| passed.name == name))?;
        Some(self.0.remove(at).listener)
    }

    /// Fails if a socket is left over.
    pub fn finish(self) -> Result<(), InheritError> {
        match self.0.into_iter().next() {
            Some(Passed { name, address, .. }) => Err(InheritError::Unused { name, address }),
            None => Ok(()),
        }
    }
}

/// Why passed sockets cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InheritError {
    /// The variables contradict themselves.
    #[error("the sockets passed in (`LISTEN_FDS`) cannot be read: {0}")]
    Environment(#[source] io::Error),
    /// One is no listening TCP socket.
    #[error(
        "the socket `{name}` that was passed in cannot be used: {source}; pass TCP sockets that listen (`ListenStream=`)"
    )]
    Socket {
        /// Its name.
        name: String,
        /// Why not.
        source: io::Error,
    },
    /// The configuration does not know one.
    #[error(
        "the socket `{name}` that was passed in listens on {address}, which is in none of `server.https`, `server.http` \
         and `admin.listen`; add it there or remove it from the socket unit"
    )]
    Unused {
        /// Its name.
        name: String,
        /// Where it listens.
        address: SocketAddr,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(name: &str) -> Passed {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        Passed { name: name.to_owned(), address: listener.local_addr().unwrap(), listener }
    }

    #[test]
    fn a_socket_is_found_by_its_address_and_then_by_its_name() {
        let mut inherited = Inherited(vec![passed("https"), passed("vestibule.socket")]);
        let second = inherited.0[1].address;
        let anywhere = "127.0.0.1:0".parse().unwrap();
        assert_eq!(inherited.take("https", second).unwrap().local_addr().unwrap(), second);
        assert!(inherited.take("http", anywhere).is_none());
        assert!(inherited.take("https", anywhere).is_some());
        assert!(inherited.finish().is_ok());
    }

    #[test]
    fn a_socket_that_nobody_uses_is_named() {
        let inherited = Inherited(vec![passed("other")]);
        let address = inherited.0[0].address;
        let error = inherited.finish().unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("the socket `other` that was passed in listens on {address}")),
            "{error}"
        );
    }
}
