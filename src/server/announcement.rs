//! Asks a proxy in front of us whose connection it passes on, before anything else is read.
//!
//! Invariants: not a byte behind the header is taken; a connection that may not or does not announce a
//! client is refused and counted, never served as the proxy's own; the wait has an end.

use std::io;
use std::net::SocketAddr;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::connection::Handler;
use super::proxy_header::{self, FIXED, Flaw, LONGEST_LINE, SHORTEST, SIGNATURE};
use super::refusal::Refusal;
use super::worker::Site;

/// The client behind `peer`: `peer` itself where no proxy stands in front; none if it is refused.
pub(super) async fn client<H: Handler>(
    stream: &mut TcpStream,
    peer: SocketAddr,
    site: &Site<H>,
) -> Option<SocketAddr> {
    if !site.proxy_protocol {
        return Some(peer);
    }
    // SECURITY: who may announce a client may claim any address.
    let announced = if site.handler.trusts(peer.ip().to_canonical()) {
        timeout(site.limits.handshake, read(stream)).await.unwrap_or(Err(Unannounced::Late))
    } else {
        Err(Unannounced::Stranger)
    };
    match announced {
        Ok(client) => Some(client.unwrap_or(peer)),
        Err(reason) => {
            site.gauges.count_refused();
            site.handler.refused(peer.ip(), Refusal::NoProxyHeader);
            tracing::debug!(%peer, %reason, "connection refused");
            None
        }
    }
}

/// Reads exactly the header of either version.
async fn read(stream: &mut TcpStream) -> Result<Option<SocketAddr>, Unannounced> {
    let mut start = [0; SHORTEST];
    stream.read_exact(&mut start).await?;
    if start.starts_with(SIGNATURE) {
        let mut fixed = [0; FIXED];
        let [begin @ .., last] = &mut fixed;
        *begin = start;
        *last = stream.read_u8().await?;
        let mut rest = vec![0; proxy_header::length(&fixed)?];
        stream.read_exact(&mut rest).await?;
        return Ok(proxy_header::binary(&fixed, &rest)?);
    }
    if !start.starts_with(b"PROXY ") {
        return Err(Flaw::None.into());
    }
    Ok(proxy_header::text(&line(stream, start).await?)?)
}

/// The rest of a line: looked at before it is taken, since TLS follows at once.
async fn line(stream: &mut TcpStream, start: [u8; SHORTEST]) -> Result<Vec<u8>, Unannounced> {
    let mut line = start.to_vec();
    while line.last() != Some(&b'\n') {
        let mut ahead = [0; LONGEST_LINE];
        let room = ahead.get_mut(line.len()..).filter(|room| !room.is_empty()).ok_or(Flaw::TooLong)?;
        let seen = stream.peek(room).await?;
        let seen = room.get_mut(..seen).filter(|seen| !seen.is_empty()).ok_or(Flaw::Malformed)?;
        let end = seen.iter().position(|&byte| byte == b'\n').map_or(seen.len(), |at| at + 1);
        let part = seen.get_mut(..end).ok_or(Flaw::Malformed)?;
        stream.read_exact(part).await?;
        line.extend_from_slice(part);
    }
    Ok(line)
}

/// Why a connection is not served.
#[derive(Debug, thiserror::Error)]
enum Unannounced {
    #[error("the peer is not in `server.trusted_proxies`, and only PROXY connections are taken")]
    Stranger,
    #[error("the PROXY header did not come in time")]
    Late,
    #[error(transparent)]
    Header(#[from] Flaw),
    #[error("the connection ended within the PROXY header: {0}")]
    Io(#[from] io::Error),
}
