//! Where the frames of a WebSocket end (RFC 6455 section 5.2), and the frame that closes one.
//!
//! Looks at the heads of frames only and keeps no payload. Invariant: [`Place::Border`] is said only
//! where a frame of our own could stand; bytes that no server may send make that impossible for good.

use bytes::{BufMut, Bytes, BytesMut};

/// Follows the frames that one side sends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frames {
    sender: Sender,
    state: State,
    /// The first byte of the frame under way, or of the last one.
    first: u8,
}

impl Frames {
    /// The frames of this side, from the first on.
    pub(super) const fn of(sender: Sender) -> Self {
        Self { sender, state: State::BORDER, first: 0 }
    }

    /// Follows the next bytes, however they were cut; answers how many are of messages. The others are
    /// of pings, pongs and the like, which programs send by themselves.
    pub(super) fn advance(&mut self, bytes: &[u8]) -> usize {
        let (mut rest, mut said) = (bytes, 0_usize);
        while !rest.is_empty() {
            let size = self.follow_one(rest);
            rest = rest.get(size..).unwrap_or_default();
            said = said.saturating_add(if is_control(self.first) { 0 } else { size });
        }
        said
    }

    /// Where the stream is now.
    pub(super) const fn place(&self) -> Place {
        match self.state {
            State::Head(Head { length: 0, .. }) => Place::Border,
            State::Head(_) | State::Payload(_) => Place::Inside,
            State::Over => Place::Over,
        }
    }

    /// How many of the next bytes belong to the frame that is under way.
    pub(super) fn rest_of_frame(mut self, bytes: &[u8]) -> usize {
        if self.place() == Place::Inside { self.follow_one(bytes) } else { 0 }
    }

    /// Follows bytes up to the end of one frame at most; answers how many.
    fn follow_one(&mut self, bytes: &[u8]) -> usize {
        let mut followed = 0;
        while let Some(rest) = bytes.get(followed..).filter(|rest| !rest.is_empty()) {
            followed = followed.saturating_add(self.step(rest));
            if self.place() == Place::Border {
                break;
            }
        }
        followed
    }

    /// Follows at least one byte, if there is any; answers how many.
    fn step(&mut self, bytes: &[u8]) -> usize {
        match &mut self.state {
            State::Head(head) => {
                let Some(&byte) = bytes.first() else { return 0 };
                let progress = head.push(byte, self.sender);
                self.first = head.first();
                match progress {
                    Progress::More => {}
                    Progress::Complete { payload } => self.expect(payload),
                    Progress::Invalid => self.state = State::Over,
                }
                1
            }
            State::Payload(left) => {
                let size = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                let left = left.saturating_sub(u64::try_from(size).unwrap_or(u64::MAX));
                self.expect(left);
                size
            }
            State::Over => bytes.len(),
        }
    }

    /// So much of the frame is still to come.
    fn expect(&mut self, left: u64) {
        self.state = match left {
            0 if self.first & OPCODE == CLOSE => State::Over,
            0 => State::BORDER,
            left => State::Payload(left),
        }
    }
}

/// Whose frames they are: those of clients are masked, those of servers never (RFC 6455 section 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sender {
    Client,
    Server,
}

/// Where a stream of frames is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Between two frames.
    Border,
    /// Within a frame.
    Inside,
    /// Where no frame of ours can follow: the sender has closed, or what it sends are no frames.
    Over,
}

/// A close frame of a server (RFC 6455 section 5.5.1).
pub(super) fn close_frame(code: CloseCode, reason: &str) -> Bytes {
    let reason = reason.get(..reason.floor_char_boundary(LONGEST_REASON)).unwrap_or_default();
    let mut frame = BytesMut::with_capacity(reason.len() + 4);
    frame.put_u8(FINAL | CLOSE);
    frame.put_u8(u8::try_from(reason.len() + 2).unwrap_or(SHORT_LENGTH));
    frame.put_u16(code.0);
    frame.put_slice(reason.as_bytes());
    frame.freeze()
}

/// Why a WebSocket is closed, as a program reads it (RFC 6455 section 7.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CloseCode(pub(super) u16);

#[derive(Clone, Copy, Debug)]
enum State {
    Head(Head),
    /// So many bytes of the payload are still to come.
    Payload(u64),
    Over,
}

impl State {
    const BORDER: Self = Self::Head(Head { bytes: [0; LONGEST_HEAD], length: 0 });
}

/// The head of a frame, as far as it has come.
#[derive(Clone, Copy, Debug)]
struct Head {
    bytes: [u8; LONGEST_HEAD],
    length: usize,
}

impl Head {
    const fn first(&self) -> u8 {
        let [first, ..] = self.bytes;
        first
    }

    fn push(&mut self, byte: u8, sender: Sender) -> Progress {
        let Some(slot) = self.bytes.get_mut(self.length) else { return Progress::Invalid };
        *slot = byte;
        self.length = self.length.saturating_add(1);
        let [first, second, ..] = self.bytes;
        match self.length {
            1 if is_reserved(first) => Progress::Invalid,
            // SECURITY: what is masked where it must not be may be anything but a frame.
            2 if is_masked(second) != (sender == Sender::Client) || !may_have_length(first, second) => {
                Progress::Invalid
            }
            length if length > 1 && length == 2 + extra_bytes(second) + mask_bytes(second) => self.complete(),
            _ => Progress::More,
        }
    }

    /// The length of the payload, which must be written in as few bytes as it can be.
    fn complete(&self) -> Progress {
        let [_, second, extra @ ..] = self.bytes;
        let extra = extra.get(..extra_bytes(second)).unwrap_or_default();
        let number = extra.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
        let (payload, least) = match extra.len() {
            0 => (u64::from(second & LENGTH), 0),
            2 => (number, u64::from(TWO_BYTES)),
            _ => (number, u64::from(u16::MAX) + 1),
        };
        if payload < least || payload > LONGEST_PAYLOAD {
            return Progress::Invalid;
        }
        Progress::Complete { payload }
    }
}

enum Progress {
    More,
    Complete { payload: u64 },
    Invalid,
}

/// Opcodes that RFC 6455 keeps for later (section 5.2); what follows one cannot be read.
const fn is_reserved(first: u8) -> bool {
    matches!(first & OPCODE, 0x3..=0x7 | 0xb..=0xf)
}

const fn is_control(first: u8) -> bool {
    first & CONTROL != 0
}

const fn is_masked(second: u8) -> bool {
    second & MASKED != 0
}

/// Control frames are whole and short (section 5.5).
const fn may_have_length(first: u8, second: u8) -> bool {
    !is_control(first) || (first & FINAL != 0 && second & LENGTH <= SHORT_LENGTH)
}

/// How many bytes after the second one hold the length.
const fn extra_bytes(second: u8) -> usize {
    match second & LENGTH {
        TWO_BYTES => 2,
        EIGHT_BYTES => 8,
        _ => 0,
    }
}

const fn mask_bytes(second: u8) -> usize {
    if is_masked(second) { 4 } else { 0 }
}

const FINAL: u8 = 0x80;
const OPCODE: u8 = 0x0f;
/// Set in the opcodes of control frames.
const CONTROL: u8 = 0x08;
const CLOSE: u8 = 0x08;
const MASKED: u8 = 0x80;
const LENGTH: u8 = 0x7f;

/// The greatest length that the second byte itself can say.
const SHORT_LENGTH: u8 = 125;
/// In the place of a length: how many bytes hold it.
const TWO_BYTES: u8 = 126;
const EIGHT_BYTES: u8 = 127;

/// What fits into a control frame beside the code.
const LONGEST_REASON: usize = SHORT_LENGTH as usize - 2;

/// Two bytes, eight for the length, four for the mask.
const LONGEST_HEAD: usize = 14;

/// The first bit of a length of 64 must not be set.
const LONGEST_PAYLOAD: u64 = u64::MAX >> 1;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A frame as a server writes it.
    fn frame(first: u8, payload: usize) -> Vec<u8> {
        let mut frame = vec![first];
        match payload {
            0..=125 => frame.push(u8::try_from(payload).unwrap()),
            126..=0xffff => {
                frame.push(126);
                frame.extend(u16::try_from(payload).unwrap().to_be_bytes());
            }
            _ => {
                frame.push(127);
                frame.extend(u64::try_from(payload).unwrap().to_be_bytes());
            }
        }
        frame.resize(frame.len() + payload, 0x81);
        frame
    }

    /// The place after these bytes.
    fn after(bytes: &[u8]) -> Place {
        let mut frames = Frames::of(Sender::Server);
        frames.advance(bytes);
        frames.place()
    }

    #[test]
    fn a_border_is_where_a_frame_has_ended_and_the_next_has_not_begun() {
        for size in [0, 1, 125, 126, 127, 0xffff, 0x1_0000] {
            let whole = frame(0x82, size);
            assert_eq!(after(&whole), Place::Border, "{size}");
            assert_eq!(after(&whole[..whole.len() - 1]), Place::Inside, "{size}");
            assert_eq!(after(&[whole.as_slice(), &[0x81]].concat()), Place::Inside, "{size}");
        }
        assert_eq!(after(&[]), Place::Border);
    }

    #[test]
    fn what_no_server_may_send_is_followed_by_nothing_of_ours() {
        let valid = frame(0x81, 3);
        for (what, invalid) in [
            ("a reserved opcode", &[0x83, 0][..]),
            ("a reserved control opcode", &[0x8b, 0]),
            ("a masked frame", &[0x81, 0x80]),
            ("a masked frame with a length of 16 bits", &[0x81, 0xfe]),
            ("a control frame in pieces", &[0x09, 0]),
            ("a long control frame", &[0x89, 126]),
            ("a length of 16 bits that needs none", &[0x81, 126, 0, 125]),
            ("a length of 64 bits that needs 16", &[0x81, 127, 0, 0, 0, 0, 0, 0, 0xff, 0xff]),
            ("a negative length", &[0x81, 127, 0x80, 0, 0, 0, 0, 0, 0, 0]),
        ] {
            assert_eq!(after(&[&valid, invalid].concat()), Place::Over, "{what}");
            assert_eq!(after(&[&valid, invalid, &valid].concat()), Place::Over, "{what}");
        }
    }

    #[test]
    fn what_a_client_says_is_told_from_what_its_browser_does() {
        let masked = |first: u8, payload: usize| {
            let mut frame = frame(first, payload);
            frame[1] |= MASKED;
            let head = frame.len() - payload;
            frame.splice(head..head, [1, 2, 3, 4]);
            frame
        };
        let mut frames = Frames::of(Sender::Client);
        for size in [0, 5, 125, 126, 0xffff, 0x1_0000] {
            let message = masked(0x81, size);
            assert_eq!(frames.advance(&message), message.len(), "{size}");
        }
        let pong = masked(0x8a, 5);
        assert_eq!(frames.advance(&pong[..1]) + frames.advance(&pong[1..]), 0);
        assert_eq!(frames.advance(&[pong.as_slice(), &masked(0x82, 3), &pong].concat()), 9);
        assert_eq!(frames.place(), Place::Border);
        assert_eq!(frames.advance(b"SSH-2.0"), 7);
    }

    #[test]
    fn nothing_follows_the_servers_own_close() {
        let close = close_frame(CloseCode(1000), "bye");
        assert_eq!(after(&close[..close.len() - 1]), Place::Inside);
        assert_eq!(after(&close), Place::Over);
        assert_eq!(after(&frame(0x88, 0)), Place::Over);
    }

    #[test]
    fn a_close_frame_names_its_code_and_reason_and_is_never_too_long() {
        assert_eq!(&close_frame(CloseCode(4401), "bye")[..], b"\x88\x05\x11\x31bye");
        let long = close_frame(CloseCode(4401), &"\u{e4}".repeat(100));
        assert_eq!((long.len(), long[1]), (2 + 2 + 122, 124));
        assert!(std::str::from_utf8(&long[4..]).is_ok());
    }

    /// The offsets at which whole frames have ended.
    fn borders(frames: &[(u8, usize)]) -> (Vec<u8>, Vec<usize>) {
        let (mut bytes, mut borders) = (Vec::new(), vec![0]);
        for &(first, payload) in frames {
            bytes.extend(frame(first, payload));
            borders.push(bytes.len());
        }
        (bytes, borders)
    }

    fn any_frame() -> impl Strategy<Value = (u8, usize)> {
        let data = prop_oneof![Just(0x00), Just(0x01), Just(0x02), Just(0x80), Just(0x81), Just(0xc2)];
        let size = prop_oneof![0..4_usize, 120..132_usize, 65_530..65_540_usize];
        let control = (prop_oneof![Just(0x89), Just(0x8a)], 0..126_usize);
        prop_oneof![3 => (data, size), 1 => control]
    }

    proptest! {
        #[test]
        fn however_bytes_are_cut_the_borders_are_the_same(
            frames in prop::collection::vec(any_frame(), 0..6),
            cuts in prop::collection::vec(1..70_000_usize, 1..60),
            small in any::<bool>(),
        ) {
            let (bytes, borders) = borders(&frames);
            let (mut tracker, mut at) = (Frames::of(Sender::Server), 0);
            let mut cuts = cuts.iter().cycle().map(|cut| if small { cut % 300 + 1 } else { *cut });
            while at < bytes.len() {
                let rest = &bytes[at..];
                let end = *borders.iter().find(|&&border| border >= at).unwrap();
                prop_assert_eq!(tracker.rest_of_frame(rest), end - at);
                let cut = cuts.next().unwrap().min(rest.len());
                tracker.advance(&rest[..cut]);
                at += cut;
                let expected = if borders.contains(&at) { Place::Border } else { Place::Inside };
                prop_assert_eq!(tracker.place(), expected, "at {}", at);
            }
        }

        #[test]
        fn no_bytes_make_it_panic_and_the_cuts_do_not_matter(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            cut in 0..200_usize,
        ) {
            let (one, two) = bytes.split_at(cut.min(bytes.len()));
            let mut tracker = Frames::of(Sender::Server);
            tracker.advance(one);
            prop_assert!(tracker.rest_of_frame(two) <= two.len());
            tracker.advance(two);
            prop_assert_eq!(tracker.place(), after(&bytes));
        }
    }
}
