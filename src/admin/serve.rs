//! The two doors themselves: a TCP listener and a unix socket.

use std::io;
use std::net::{self, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::task::JoinHandle;

use super::responses::{self, Answer};
use super::{Config, Control};

/// Both doors, bound but not yet answered.
#[derive(Debug)]
pub struct Doors {
    observers: Option<TcpListener>,
    commands: UnixListener,
    socket: SocketFile,
}

impl Doors {
    /// Binds both doors on the current runtime; `observers` is the TCP listener if it was passed in.
    pub async fn bind(config: &Config, observers: Option<net::TcpListener>) -> Result<Self, AdminError> {
        let commands = open_socket(&config.socket)
            .await
            .map_err(|source| AdminError::Socket { path: config.socket.clone(), source })?;
        // From here on the socket is ours to remove.
        let socket = SocketFile(config.socket.clone());
        let observers = match config.listen {
            Some(address) => Some(
                observe_at(address, observers)
                    .await
                    .map_err(|source| AdminError::Listen { address, source })?,
            ),
            None => None,
        };
        Ok(Self { observers, commands, socket })
    }

    /// Answers at both doors from now on.
    #[must_use]
    pub fn serve(self, control: &Arc<dyn Control>) -> Admin {
        let Self { observers, commands, socket } = self;
        let address = observers.as_ref().and_then(|listener| listener.local_addr().ok());
        let mut doors = vec![tokio::spawn(command(commands, Arc::clone(control)))];
        doors.extend(observers.map(|listener| tokio::spawn(observe(listener, Arc::clone(control)))));
        Admin { address, doors, _socket: socket }
    }
}

/// The open doors; they close when this is dropped.
#[derive(Debug)]
pub struct Admin {
    address: Option<SocketAddr>,
    doors: Vec<JoinHandle<()>>,
    _socket: SocketFile,
}

impl Admin {
    /// The address of the TCP listener; none when it is off.
    #[must_use]
    pub const fn address(&self) -> Option<SocketAddr> {
        self.address
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        for door in &self.doors {
            door.abort();
        }
    }
}

/// A socket in the file system, removed when dropped.
#[derive(Debug)]
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // What is gone already is gone.
        let _gone = std::fs::remove_file(&self.0);
    }
}

/// Why a door did not open.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The TCP listener.
    #[error("admin.listen: cannot listen on {address}: {source}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// The unix socket.
    #[error("admin.socket: cannot make `{}`: {source}", path.display())]
    Socket {
        /// Where.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

async fn observe_at(address: SocketAddr, inherited: Option<net::TcpListener>) -> io::Result<TcpListener> {
    let Some(inherited) = inherited else { return TcpListener::bind(address).await };
    inherited.set_nonblocking(true)?;
    TcpListener::from_std(inherited)
}

/// Makes the socket in place of one that a dead gateway left; refuses one that still answers.
async fn open_socket(path: &Path) -> io::Result<UnixListener> {
    if UnixStream::connect(path).await.is_ok() {
        return Err(io::Error::new(io::ErrorKind::AddrInUse, "another gateway answers there; stop it first"));
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    // SECURITY: who may open this socket may reload and end sessions.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

async fn observe(listener: TcpListener, control: Arc<dyn Control>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => serve(stream, Arc::clone(&control), responses::observe),
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

async fn command(listener: UnixListener, control: Arc<dyn Control>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => serve(stream, Arc::clone(&control), responses::command),
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

fn serve<S, F, R>(stream: S, control: Arc<dyn Control>, respond: F)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Fn(Arc<dyn Control>, http::Request<hyper::body::Incoming>) -> R + Send + 'static,
    R: Future<Output = Answer> + Send + 'static,
{
    let service = service_fn(move |request| {
        let answer = respond(Arc::clone(&control), request);
        async move { Ok::<_, std::convert::Infallible>(answer.await) }
    });
    tokio::spawn(async move {
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(IDLE)
            .serve_connection(TokioIo::new(stream), service);
        if let Err(error) = connection.await {
            tracing::debug!(%error, "admin connection ended");
        }
    });
}

/// How long to wait after a failed accept: the cause is a shortage that passes.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long a connection may be silent.
const IDLE: Duration = Duration::from_secs(30);
