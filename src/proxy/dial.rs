//! Connecting to a name that has several addresses (Happy Eyeballs, RFC 8305).
//!
//! Leaves deadlines to the caller. Invariant: an address that does not answer costs others [`HEAD_START`], not
//! the time that is left; of several connections the first is kept and the others are closed.

use std::future::{Future, pending, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::sleep;

use super::host_name::no_address;

/// Connects to the first of the addresses that answers. Each is asked once the one before it has failed, or has
/// not answered within [`HEAD_START`].
pub(super) async fn first_to_answer(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut waiting = interleaved(addresses).into_iter();
    let mut attempts = Attempts::default();
    let mut last = None;
    loop {
        if let Some(address) = waiting.next() {
            attempts.0.push(Box::pin(TcpStream::connect(address)));
        } else if attempts.0.is_empty() {
            return Err(last.unwrap_or_else(no_address));
        }
        let has_more = waiting.len() > 0;
        tokio::select! {
            biased;
            ended = attempts.next() => match ended {
                Ok(stream) => return Ok(stream),
                Err(error) => last = Some(error),
            },
            () = head_start(has_more) => {}
        }
    }
}

/// Connections that are being opened.
#[derive(Default)]
struct Attempts(Vec<Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>>>);

impl Attempts {
    /// The next one that succeeds or fails.
    async fn next(&mut self) -> io::Result<TcpStream> {
        poll_fn(|cx| {
            for index in 0..self.0.len() {
                let attempt = self.0.get_mut(index).map(|attempt| attempt.as_mut().poll(cx));
                if let Some(Poll::Ready(ended)) = attempt {
                    drop(self.0.remove(index));
                    return Poll::Ready(ended);
                }
            }
            Poll::Pending
        })
        .await
    }
}

async fn head_start(has_more: bool) {
    if has_more { sleep(HEAD_START).await } else { pending().await }
}

/// The families by turns, that of the first address first (RFC 8305 section 4).
fn interleaved(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let is_first =
        |address: &&SocketAddr| addresses.first().map(SocketAddr::is_ipv4) == Some(address.is_ipv4());
    let mut others = addresses.iter().filter(|address| !is_first(address));
    let mut ordered = Vec::with_capacity(addresses.len());
    for address in addresses.iter().filter(is_first) {
        ordered.push(*address);
        ordered.extend(others.next());
    }
    ordered.extend(others);
    ordered
}

/// How long an address has for itself (RFC 8305 section 5).
const HEAD_START: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use socket2::{Domain, Socket, Type};

    use super::*;
    use crate::clock::Stopwatch;

    /// A listener whose queue is full, so that nobody gets an answer; and what fills it.
    fn mute() -> (SocketAddr, Socket, Vec<Socket>) {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap();
        let fill = || {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            socket.connect_timeout(&address, Duration::from_millis(100)).map(|()| socket).ok()
        };
        let filling = std::iter::from_fn(fill).collect();
        (address.as_socket().unwrap(), listener, filling)
    }

    async fn listening() -> (SocketAddr, tokio::net::TcpListener) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        (listener.local_addr().unwrap(), listener)
    }

    async fn closed() -> SocketAddr {
        listening().await.0
    }

    #[tokio::test]
    async fn an_address_that_does_not_answer_delays_the_next_by_its_head_start() {
        let ((mute, _queue, _filling), (good, _listener)) = (mute(), listening().await);
        let watch = Stopwatch::start();
        let stream = first_to_answer(&[mute, mute, good]).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), good);
        let waited = watch.elapsed();
        assert!(waited >= HEAD_START * 2 && waited < HEAD_START * 4, "{waited:?}");
    }

    #[tokio::test]
    async fn an_address_that_refuses_delays_nobody() {
        let (closed, (good, _listener)) = (closed().await, listening().await);
        let watch = Stopwatch::start();
        let stream = first_to_answer(&[closed, closed, good]).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), good);
        assert!(watch.elapsed() < HEAD_START, "{:?}", watch.elapsed());
    }

    #[tokio::test]
    async fn without_an_address_that_answers_the_last_error_is_told() {
        let closed = closed().await;
        let error = first_to_answer(&[closed, closed]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(first_to_answer(&[]).await.unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn families_take_turns() {
        let addresses = |text: &str| text.split(' ').map(|it| it.parse().unwrap()).collect::<Vec<_>>();
        for (given, expected) in [
            ("[::1]:1 [::2]:1 [::3]:1 1.0.0.1:1", "[::1]:1 1.0.0.1:1 [::2]:1 [::3]:1"),
            ("1.0.0.1:1 [::1]:1 [::2]:1", "1.0.0.1:1 [::1]:1 [::2]:1"),
            ("1.0.0.1:1 1.0.0.2:1", "1.0.0.1:1 1.0.0.2:1"),
        ] {
            assert_eq!(interleaved(&addresses(given)), addresses(expected));
        }
        assert!(interleaved(&[]).is_empty());
    }
}
