//! The text protocol of memcached: what is asked, and what may be answered.
//!
//! Connections are left to [`super::server`]. Invariants: whatever a server says, reading it never
//! panics, and takes no more memory than [`LINE_LIMIT`] and [`VALUE_LIMIT`] for each item that was asked
//! for; what was not asked for is an error, after which the connection is in doubt.

use std::io;

use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _};

use crate::clock::Timestamp;

/// The name of an item: printable, without spaces, at most 250 bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key(String);

impl Key {
    /// `prefix:kind:` and the name in hexadecimal. The prefix is that of a
    /// [`Location`](super::Location), so the whole is short enough.
    pub(super) fn new(prefix: &str, kind: char, name: &[u8; 32]) -> Self {
        let mut key = format!("{prefix}:{kind}:");
        for byte in name {
            for digit in [byte >> 4, byte & 15] {
                key.extend(char::from_digit(digit.into(), 16));
            }
        }
        Self(key)
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A value and the version of it that a server knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// What is kept.
    pub value: Vec<u8>,
    /// Changes with every change of the item.
    pub version: Version,
}

/// A version of an item: memcached's "cas unique".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version(u64);

/// When the server may forget an item, as it wants to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expiry(i32);

impl Expiry {
    /// At `end`, or a second from now if that is over.
    ///
    /// Up to 30 days are told as they are. More is told as a point of time, which servers read as 32
    /// bits with a sign: from 2038 on, 30 days must do.
    #[must_use]
    pub fn at(end: Timestamp, now: Timestamp) -> Self {
        // SECURITY: 0 would mean never, and a negative number at once.
        let left = end.since(now).as_millis().div_ceil(1000).max(1);
        let relative = i32::try_from(left).unwrap_or(RELATIVE_LIMIT);
        if left <= RELATIVE_LIMIT.unsigned_abs().into() {
            return Self(relative);
        }
        Self(i32::try_from(end.as_seconds().saturating_add(1)).unwrap_or(RELATIVE_LIMIT))
    }
}

/// What became of an item to add.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Added {
    /// It is kept.
    New,
    /// There is one with this key.
    Taken,
}

/// What became of an item to swap for another version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Swapped {
    /// It is kept.
    Done,
    /// Somebody else was faster.
    Changed,
    /// There is none with this key.
    Gone,
}

/// What became of an item to delete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deleted {
    /// It was there.
    Done,
    /// It was not.
    Absent,
}

/// Asks for items.
pub(super) fn get(keys: &[Key]) -> Vec<u8> {
    let mut request = b"gets".to_vec();
    for key in keys {
        request.push(b' ');
        request.extend_from_slice(key.0.as_bytes());
    }
    request.extend_from_slice(b"\r\n");
    request
}

pub(super) fn add(key: &Key, value: &[u8], expiry: Expiry) -> Vec<u8> {
    with_value(format!("add {} 0 {} {}\r\n", key.0, expiry.0, value.len()), value)
}

pub(super) fn swap(key: &Key, value: &[u8], expiry: Expiry, version: Version) -> Vec<u8> {
    with_value(format!("cas {} 0 {} {} {}\r\n", key.0, expiry.0, value.len(), version.0), value)
}

pub(super) fn delete(keys: &[Key]) -> Vec<u8> {
    keys.iter().flat_map(|key| format!("delete {}\r\n", key.0).into_bytes()).collect()
}

/// The items of these keys, each where its key stands.
pub(super) async fn items(
    reader: &mut (impl AsyncBufRead + Unpin),
    keys: &[Key],
) -> io::Result<Vec<Option<Item>>> {
    let mut items = vec![None; keys.len()];
    loop {
        let line = line(reader).await?;
        if line == "END" {
            return Ok(items);
        }
        let Some(heading) = Heading::parse(&line) else { return Err(unexpected(&line)) };
        // SECURITY: an item that nobody asked for, or the same a second time, means that question and
        // answer no longer belong together.
        let place = keys.iter().position(|key| key.0 == heading.key);
        let place = place.and_then(|place| items.get_mut(place)).filter(|place| place.is_none());
        let Some(place) = place else { return Err(unexpected("an item that was not asked for")) };
        let value = value(reader, heading.length).await?;
        *place = Some(Item { value, version: heading.version });
    }
}

pub(super) async fn added(reader: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Added> {
    match line(reader).await?.as_str() {
        "STORED" => Ok(Added::New),
        "NOT_STORED" => Ok(Added::Taken),
        other => Err(unexpected(other)),
    }
}

pub(super) async fn swapped(reader: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Swapped> {
    match line(reader).await?.as_str() {
        "STORED" => Ok(Swapped::Done),
        "EXISTS" => Ok(Swapped::Changed),
        "NOT_FOUND" => Ok(Swapped::Gone),
        other => Err(unexpected(other)),
    }
}

pub(super) async fn deleted(
    reader: &mut (impl AsyncBufRead + Unpin),
    count: usize,
) -> io::Result<Vec<Deleted>> {
    let mut answers = Vec::with_capacity(count);
    for _ in 0..count {
        answers.push(match line(reader).await?.as_str() {
            "DELETED" => Deleted::Done,
            "NOT_FOUND" => Deleted::Absent,
            other => return Err(unexpected(other)),
        });
    }
    Ok(answers)
}

/// `VALUE key flags length version`, before a value.
struct Heading<'a> {
    key: &'a str,
    length: usize,
    version: Version,
}

impl<'a> Heading<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut words = line.strip_prefix("VALUE ")?.split(' ');
        let key = words.next()?;
        let _flags: u32 = words.next()?.parse().ok()?;
        let length = words.next()?.parse().ok().filter(|&length| length <= VALUE_LIMIT)?;
        // SECURITY: a server that was told to keep no versions answers 0 and then swaps blindly, so
        // that a session which was ended could be written back.
        let version = words.next()?.parse().ok().filter(|&version| version != 0)?;
        words.next().is_none().then_some(Self { key, length, version: Version(version) })
    }
}

fn with_value(heading: String, value: &[u8]) -> Vec<u8> {
    let mut request = heading.into_bytes();
    request.reserve(value.len().saturating_add(2));
    request.extend_from_slice(value);
    request.extend_from_slice(b"\r\n");
    request
}

/// A line without its end.
async fn line(reader: &mut (impl AsyncBufRead + Unpin)) -> io::Result<String> {
    let mut line = Vec::new();
    reader.take(LINE_LIMIT).read_until(b'\n', &mut line).await?;
    match line.strip_suffix(b"\r\n") {
        Some(text) => String::from_utf8(text.to_vec()).map_err(|_| unexpected("bytes that are no text")),
        None if line.is_empty() => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it hung up")),
        None => Err(unexpected("a line without an end")),
    }
}

async fn value(reader: &mut (impl AsyncBufRead + Unpin), length: usize) -> io::Result<Vec<u8>> {
    let mut value = vec![0; length];
    reader.read_exact(&mut value).await?;
    let mut end = [0; 2];
    reader.read_exact(&mut end).await?;
    if end == *b"\r\n" { Ok(value) } else { Err(unexpected("a value that does not end where it should")) }
}

/// What a server says is shown to people, so only what can do no harm.
fn unexpected(said: &str) -> io::Error {
    let harmless = |c: char| if c.is_ascii_graphic() || c == ' ' { c } else { '?' };
    let said: String = said.chars().take(SHOWN).map(harmless).collect();
    io::Error::new(io::ErrorKind::InvalidData, said)
}

/// The longest value that is written or read, in bytes.
pub(super) const VALUE_LIMIT: usize = 256 << 10;
/// The longest line that is read, in bytes.
const LINE_LIMIT: u64 = 512;
/// More seconds than these are read as a point of time.
const RELATIVE_LIMIT: i32 = 30 * 24 * 60 * 60;
const SHOWN: usize = 120;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use tokio::io::BufReader;

    use super::*;

    fn keys(count: u8) -> Vec<Key> {
        (0..count).map(|number| Key::new("test", 's', &[number; 32])).collect()
    }

    fn play<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    fn read_items(answer: &[u8], keys: &[Key]) -> io::Result<Vec<Option<Item>>> {
        play(async { items(&mut BufReader::new(answer), keys).await })
    }

    #[test]
    fn a_key_is_short_and_has_no_spaces() {
        let key = Key::new(&"p".repeat(100), 's', &[0xab; 32]);
        assert_eq!(key.as_str(), format!("{}:s:{}", "p".repeat(100), "ab".repeat(32)));
        assert!(key.as_str().len() <= 250);
    }

    #[test]
    fn items_stand_where_their_keys_stand() {
        let keys = keys(3);
        let answer =
            format!("VALUE {} 0 4 7\r\na\r\nb\r\nVALUE {} 0 0 8\r\n\r\nEND\r\n", keys[2].0, keys[0].0);
        let items = read_items(answer.as_bytes(), &keys).unwrap();
        assert_eq!(items[0], Some(Item { value: Vec::new(), version: Version(8) }));
        assert_eq!(items[1], None);
        assert_eq!(items[2], Some(Item { value: b"a\r\nb".to_vec(), version: Version(7) }));
    }

    #[test]
    fn what_was_not_asked_for_is_an_error() {
        let keys = keys(1);
        let ours = &keys[0].0;
        for bad in [
            "VALUE other 0 1 7\r\nx\r\nEND\r\n".to_owned(),
            format!("VALUE {ours} 0 1 7\r\nx\r\nVALUE {ours} 0 1 8\r\ny\r\nEND\r\n"),
            format!("VALUE {ours} 0 1 0\r\nx\r\nEND\r\n"),
            format!("VALUE {ours} 0 1 7 1\r\nx\r\nEND\r\n"),
            format!("VALUE {ours} 0 1\r\nx\r\nEND\r\n"),
            format!("VALUE {ours} 0 -1 7\r\nx\r\nEND\r\n"),
            format!("VALUE {ours} 0 {} 7\r\nx\r\nEND\r\n", VALUE_LIMIT + 1),
            format!("VALUE {ours} 0 9999999999999999999999 7\r\nx\r\nEND\r\n"),
            format!("VALUE {ours} 0 1 7\r\nxyEND\r\n"),
            format!("VALUE {ours} 0 1 7\r\nx\r\n"),
            "STORED\r\n".to_owned(),
            "END\n".to_owned(),
            "SERVER_ERROR out of memory\r\n".to_owned(),
            "x".repeat(10_000),
            String::new(),
        ] {
            assert!(read_items(bad.as_bytes(), &keys).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_a_server_says_is_shown_without_its_control_characters() {
        let error = read_items(b"ERROR \x1b[2J\xc3\xa9\r\n", &keys(1)).unwrap_err();
        assert_eq!(error.to_string(), "ERROR ?[2J?");
    }

    #[test]
    fn an_expiry_is_never_never() {
        let now = Timestamp::from_millis(1_800_000_000_000);
        let expiry = |after: i64| Expiry::at(Timestamp::from_millis(now.as_millis() + after), now).0;
        assert_eq!([expiry(-5_000), expiry(0), expiry(1), expiry(1_001)], [1, 1, 1, 2]);
        let month = i64::from(RELATIVE_LIMIT) * 1000;
        assert_eq!(expiry(month), RELATIVE_LIMIT);
        assert_eq!(expiry(month + 1), 1_800_000_000 + RELATIVE_LIMIT + 1);
        let late = Timestamp::from_millis(4_102_444_800_000);
        assert_eq!(Expiry::at(late, now).0, RELATIVE_LIMIT);
        assert_eq!(Expiry::at(late + Duration::from_mins(1), late).0, 60);
        assert_eq!(Expiry::at(Timestamp::from_millis(i64::MAX), late).0, RELATIVE_LIMIT);
    }

    fn fragments() -> impl Strategy<Value = Vec<u8>> {
        let pieces = prop::sample::select(vec![
            b"VALUE ".to_vec(),
            keys(1)[0].0.clone().into_bytes(),
            b" 0 3 7\r\n".to_vec(),
            b" 0 262145 7\r\n".to_vec(),
            b"abc\r\n".to_vec(),
            b"END\r\n".to_vec(),
            b"STORED\r\n".to_vec(),
            b"DELETED\r\n".to_vec(),
            vec![0xff; 700],
        ]);
        prop::collection::vec(prop_oneof![pieces, prop::collection::vec(any::<u8>(), 0..40)], 0..12)
            .prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic_and_are_not_read_without_end(answer in fragments()) {
            let endless = || BufReader::with_capacity(16, answer.as_slice().chain(tokio::io::repeat(b'x')));
            let keys = keys(2);
            play(async {
                let mut reader = endless();
                let items = items(&mut reader, &keys).await;
                for item in items.iter().flatten().flatten() {
                    assert!(item.value.len() <= VALUE_LIMIT);
                }
                let _any = added(&mut endless()).await;
                let _any = swapped(&mut endless()).await;
                let _any = deleted(&mut endless(), 3).await;
            });
        }
    }
}
