//! Sessions in memory and at rest.

use proptest::prelude::*;

use super::*;
use crate::identity::UserId;
use crate::session::token::Token;

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

fn session(user: &str, ring: &KeyRing) -> Session {
    let identity = Identity {
        user: UserId::try_from(user).unwrap(),
        groups: Vec::new(),
        name: Some("A. Name".to_owned()),
        email: None,
    };
    let start = Start {
        identity,
        method: AuthMethod::Password,
        proofs: Proofs::default(),
        remember: Remember::No,
        user_agent: "browser",
        address: IpAddr::from([192, 0, 2, 1]),
        now: NOW,
    };
    Session::new(Token::generate().session(), ring.signer().id(), start)
}

fn row(user: &str, ring: &KeyRing) -> Row {
    session(user, ring).to_row(ring, NOW).unwrap()
}

fn refusal(row: &Row, ring: &KeyRing) -> Untrusted {
    Session::open(row, ring).unwrap_err()
}

#[test]
fn a_sealed_session_opens_as_it_was() {
    let ring = KeyRing::generate(NOW);
    let before = session("alice", &ring);
    let after = Session::open(&before.to_row(&ring, NOW).unwrap(), &ring.rotate(NOW)).unwrap();
    assert_eq!(before.identity(), after.identity());
    assert_eq!(before.times(), after.times());
    assert_eq!((before.user_agent(), before.address()), (after.user_agent(), after.address()));
}

#[test]
fn a_record_says_nothing_in_clear() {
    let ring = KeyRing::generate(NOW);
    let record = row("alice", &ring).record;
    for secret in ["alice", "Name", "browser", "192.0.2.1"] {
        assert!(!record.windows(secret.len()).any(|bytes| bytes == secret.as_bytes()), "{secret}");
    }
}

#[test]
fn the_record_of_another_session_is_refused() {
    let ring = KeyRing::generate(NOW);
    let (alice, bob) = (row("alice", &ring), row("bob", &ring));
    let swapped = Row { record: bob.record.clone(), ..alice.clone() };
    assert_eq!(refusal(&swapped, &ring), Untrusted::Damaged);
    let swapped = Row { id: alice.id, ..bob };
    assert_eq!(refusal(&swapped, &ring), Untrusted::Damaged);
}

#[test]
fn a_row_that_disagrees_with_its_record_is_refused() {
    let ring = KeyRing::generate(NOW);
    let other = Row { user: UserId::try_from("bob").unwrap(), ..row("alice", &ring) };
    assert_eq!(refusal(&other, &ring), Untrusted::Columns);
    let other = Row { created: Timestamp::from_millis(i64::MAX), ..row("alice", &ring) };
    assert_eq!(refusal(&other, &ring), Untrusted::Columns);
}

#[test]
fn a_record_of_a_newer_version_or_a_retired_key_is_refused() {
    let ring = KeyRing::generate(NOW);
    let mut newer = row("alice", &ring);
    newer.record[0] = 2;
    assert_eq!(refusal(&newer, &ring), Untrusted::Version);
    let retired = ring.rotate(NOW).retire(ring.signer().id()).unwrap();
    assert_eq!(refusal(&row("alice", &ring), &retired), Untrusted::Key);
}

#[test]
fn a_genuine_seal_around_something_else_is_refused() {
    let ring = KeyRing::generate(NOW);
    let mut odd = row("alice", &ring);
    let sealed = ring.signer().seal(&context(odd.id, odd.key), b"[1,2".to_vec()).unwrap();
    odd.record = [&[VERSION], sealed.as_slice()].concat();
    assert_eq!(refusal(&odd, &ring), Untrusted::Content);
}

#[test]
fn a_long_user_agent_is_cut_between_characters() {
    assert_eq!(cut(&"\u{e9}".repeat(200)).len(), USER_AGENT_LIMIT);
    assert_eq!(cut(&format!("x{}", "\u{e9}".repeat(200))).len(), USER_AGENT_LIMIT - 1);
}

#[test]
fn a_session_that_was_renewed_and_rekeyed_opens_as_it_is_now() {
    let ring = KeyRing::generate(NOW);
    let before = session("alice", &ring);
    let ring = ring.rotate(NOW);
    let later = NOW + std::time::Duration::from_mins(15);
    before.advance(2, later);
    before.advance(1, NOW);
    before.rekey(ring.signer().id());
    assert_eq!(before.token(), TokenAge { generation: 2, since: later });
    let after = Session::open(&before.to_row(&ring, NOW).unwrap(), &ring).unwrap();
    assert_eq!((after.token(), after.key()), (before.token(), ring.signer().id()));
    assert!(before.merge(&after));
}

#[test]
fn only_the_same_session_is_merged() {
    let ring = KeyRing::generate(NOW);
    let (alice, bob) = (session("alice", &ring), session("bob", &ring));
    bob.touch(NOW + std::time::Duration::from_mins(1));
    assert!(!alice.merge(&bob));
    assert_eq!(alice.last_seen(), NOW);
}

#[test]
fn a_cached_session_takes_no_more_than_a_kibibyte() {
    let ring = KeyRing::generate(NOW);
    let mut session = session("alice@department.example.com", &ring);
    session.body.user_agent = "u".repeat(USER_AGENT_LIMIT);
    session.body.identity.email = Some("alice@department.example.com".to_owned());
    let names = ["staff", "administrators", "wiki-editors", "accounting", "everybody"];
    session.body.identity.groups = names.map(|name| name.try_into().unwrap()).to_vec();
    let texts: usize = names.iter().map(|name| name.len() + size_of::<crate::identity::Group>()).sum();
    let whole = size_of::<Session>() + texts + USER_AGENT_LIMIT + 3 * 28 + 100;
    assert!(whole <= 1024, "{whole}");
}

#[test]
fn only_the_first_touch_asks_to_be_listed() {
    let session = session("alice", &KeyRing::generate(NOW));
    assert_eq!(session.touch(NOW), Listing::Needed);
    assert_eq!(session.touch(NOW), Listing::Done);
    session.unlist();
    assert_eq!(session.touch(NOW), Listing::Needed);
}

proptest! {
    #[test]
    fn junk_is_never_a_session(record in prop::collection::vec(any::<u8>(), 0..200)) {
        let ring = KeyRing::generate(NOW);
        let versioned = [&[VERSION], record.as_slice()].concat();
        for record in [record, versioned] {
            let junk = Row { record, ..row("alice", &ring) };
            prop_assert!(Session::open(&junk, &ring).is_err());
        }
    }

    #[test]
    fn no_flipped_bit_of_a_record_is_accepted(position in any::<prop::sample::Index>(), bit in 0_u8..8) {
        let ring = KeyRing::generate(NOW);
        let mut row = row("alice", &ring);
        let place = position.index(row.record.len());
        row.record[place] ^= 1 << bit;
        prop_assert!(Session::open(&row, &ring).is_err());
    }
}
