//! The session cookie, as browsers and attackers send it.

use http::header::SET_COOKIE;
use proptest::prelude::*;

use super::*;
use crate::clock::Timestamp;
use crate::session::token::Token;

fn config() -> Config {
    Config { name: "__Host-vestibule".to_owned(), same_site: SameSite::Lax }
}

fn ring() -> KeyRing {
    KeyRing::generate(Timestamp::default())
}

fn lines(lines: &[&[u8]]) -> HeaderMap {
    let values = lines.iter().map(|line| (COOKIE, HeaderValue::from_bytes(line).unwrap()));
    let mut headers = HeaderMap::new();
    for (name, value) in values {
        headers.append(name, value);
    }
    headers
}

/// What a browser keeps of a `Set-Cookie` line, as it sends it back (RFC 6265bis sections 5.6 and 5.8.3).
fn as_browsers_send_back(line: &str) -> String {
    let blanks = [' ', '\t'];
    let pair = line.split(';').next().unwrap();
    let (name, value) = pair.split_once('=').unwrap_or(("", pair));
    let (name, value) = (name.trim_matches(blanks), value.trim_matches(blanks));
    if name.is_empty() { value.to_owned() } else { format!("{name}={value}") }
}

fn ticket(token: &Token, ring: &KeyRing) -> Ticket {
    Ticket { token: token.clone(), generation: 0, key: ring.signer().id(), carried: None }
}

/// `name=value` as a browser sends it back.
fn sent(token: &Token, ring: &KeyRing) -> String {
    sent_back(&ticket(token, ring).value(ring.signer(), &config().name))
}

/// All cookies of a value as a browser sends them back.
fn sent_back(value: &str) -> String {
    let set = set(value, &config(), None).unwrap();
    let pairs = set.iter().map(|one| one.to_str().unwrap().split(';').next().unwrap());
    pairs.collect::<Vec<_>>().join("; ")
}

fn verdict(headers: &HeaderMap, ring: &KeyRing) -> &'static str {
    match find(headers, &config(), ring) {
        Found::Absent => "absent",
        Found::Refused(reason) => reason,
        Found::Valid(_) => "valid",
        Found::Guest(_) => "guest",
    }
}

#[test]
fn a_cookie_that_was_set_is_found_among_others_in_any_line() {
    let (ring, token) = (ring(), Token::generate());
    let ours = sent(&token, &ring);
    for case in [vec![format!("a=1; {ours}; b=2")], vec!["a=1".to_owned(), ours.clone(), "b=2".to_owned()]] {
        let case: Vec<_> = case.iter().map(String::as_bytes).collect();
        let Found::Valid(found) = find(&lines(&case), &config(), &ring) else { panic!("{case:?}") };
        assert_eq!(found.token.session(), token.session());
        assert_eq!((found.generation, found.key), (0, ring.signer().id()));
        assert_eq!(found.carried, None);
    }
}

#[test]
fn the_wire_form_never_changes() {
    // Computed by another implementation of HMAC and HKDF: browsers are full of such cookies.
    let ring = KeyRing::parse(
        "[[key]]\nid = \"0a0b0c0d\"\ncreated = \"2026-11-21T04:10:00Z\"\nrole = \"active\"\n\
         secret = \"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\"",
    );
    let (ring, token) = (ring.unwrap(), Token::from_bytes([7; Token::LENGTH]));
    let time = Timestamp::from_millis(1_795_234_251_500);
    let (key, name) = (ring.signer(), config().name);
    let ticket = Ticket { generation: 3, ..ticket(&token, &ring) };
    assert_eq!(
        *ticket.value(key, &name),
        "AgoLDA0HBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcAAAADvkHwx8YCfsppoRHcs8BBDoN44BJmhZd5SDmEe0i7HXA"
    );
    let carried = Some(Carried { last_seen: time, record: b"record".to_vec() });
    assert_eq!(
        *Ticket { carried, ..ticket }.value(key, &name),
        "AwoLDA0HBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcAAAADAAABofxMwuxyZWNvcmR0omEbe7Y-GSE6PHl9khcHm3tA6A4joy4Io9i_yTU3sA"
    );
    assert_eq!(
        *GuestTicket { token, issued: time, key: key.id() }.value(key, &name),
        "BAoLDA0HBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcAAAGh_EzC7FBzEKoAqO5HBviPG0z6QbwoTwiiJR9AzvultLIuv6_t"
    );
}

fn with_record(length: usize, ring: &KeyRing) -> (Ticket, String) {
    let record = (0..=255).cycle().take(length).collect();
    let carried = Some(Carried { last_seen: Timestamp::from_millis(7), record });
    let ticket = Ticket { carried, ..ticket(&Token::generate(), ring) };
    let value = ticket.value(ring.signer(), &config().name).to_string();
    (ticket, value)
}

#[test]
fn a_long_record_is_spread_over_cookies_that_browsers_keep() {
    let ring = ring();
    for (length, cookies) in [(700, 1), (2_700, 1), (3_000, 2), (8_000, 3), (11_000, 4)] {
        let (before, value) = with_record(length, &ring);
        let set = set(&value, &config(), None).unwrap();
        assert_eq!(set.len(), cookies, "{length}");
        assert!(set.iter().all(|one| one.len() < 4_000));
        let found = find(&lines(&[sent_back(&value).as_bytes()]), &config(), &ring);
        let Found::Valid(after) = found else { panic!("{length}: {found:?}") };
        assert_eq!(after.carried, before.carried);
    }
    assert!(set(&with_record(12_000, &ring).1, &config(), None).is_none(), "more than browsers would send");
}

#[test]
fn a_record_of_which_a_part_is_missing_swapped_or_doubled_is_refused() {
    let ring = ring();
    let (one, other) = (sent_back(&with_record(8_000, &ring).1), sent_back(&with_record(8_000, &ring).1));
    let parts: Vec<_> = one.split("; ").collect();
    let foreign: Vec<_> = other.split("; ").collect();
    let cases = [
        (vec![parts[0], parts[1]], "malformed"),
        (vec![parts[0]], "malformed"),
        (vec![parts[1], parts[2]], "absent"),
        (vec![parts[0], parts[1], foreign[2]], "forged"),
        (vec![parts[0], parts[1], parts[2], foreign[2]], "doubled"),
        (vec![parts[2], parts[0], parts[1], "a=b"], "valid"),
        (vec![parts[0], parts[1], parts[2], "__Host-vestibule-3=left-over"], "valid"),
    ];
    for (case, expected) in cases {
        assert_eq!(verdict(&lines(&[case.join("; ").as_bytes()]), &ring), expected, "{case:?}");
    }
}

#[test]
fn a_guest_is_no_session_and_a_session_no_guest() {
    let ring = ring();
    let guest =
        GuestTicket { token: Token::generate(), issued: Timestamp::default(), key: ring.signer().id() };
    let value = guest.value(ring.signer(), &config().name);
    assert_eq!(verdict(&lines(&[sent_back(&value).as_bytes()]), &ring), "guest");
    // The same bytes under another version.
    let other = format!("Ag{}", value.trim_start_matches("BA"));
    assert_ne!(verdict(&lines(&[sent_back(&other).as_bytes()]), &ring), "valid");
}

#[test]
fn set_cookie_has_every_guard_and_a_capped_age() {
    let (ring, token) = (ring(), Token::generate());
    let value = ticket(&token, &ring).value(ring.signer(), &config().name);
    let text = |age| {
        let set = set(&value, &config(), age).unwrap();
        assert_eq!(set.len(), 1);
        set[0].to_str().unwrap().to_owned()
    };
    let session = text(None);
    assert!(session.ends_with("; HttpOnly; SameSite=Lax; Secure; Path=/"), "{session}");
    assert!(text(Some(Duration::from_mins(1))).contains("; Max-Age=60"));
    assert!(text(Some(Duration::from_secs(u64::MAX))).contains("; Max-Age=34560000"));
    assert_eq!(clear(&config(), Form::Record).len(), CHUNKS);
    let cleared = clear(&config(), Form::Token)[0].to_str().unwrap().to_owned();
    assert_eq!(cleared, "__Host-vestibule=; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=0");
    assert!(!format!("{:?}", set(&value, &config(), None)).contains("__Host"), "sensitive");
}

#[test]
fn what_we_did_not_write_is_refused_with_a_reason() {
    let (ring, token) = (ring(), Token::generate());
    let ours = sent(&token, &ring);
    let other = sent(&Token::generate(), &ring);
    let foreign = sent(&token, &self::ring());
    let long = format!("__Host-vestibule={}", "A".repeat(4000));
    let cases: [(&[&str], &str); 12] = [
        (&[], "absent"),
        (&["a=1; b=2"], "absent"),
        (&["__host-vestibule=x; vestibule=y; __Host-vestibule"], "absent"),
        (&["__Host-vestibule="], "malformed"),
        (&["__Host-vestibule=hello"], "malformed"),
        (&[&long], "oversized"),
        (&[&foreign], "forged"),
        (&[&format!("{ours}; {other}")], "doubled"),
        (&[&ours, &other], "doubled"),
        (&[&format!("{ours}; __Host-vestibule=")], "doubled"),
        (&[&format!("{ours}; {ours}")], "valid"),
        (&[&format!("{ours}=")], "malformed"),
    ];
    for (case, expected) in cases {
        let case: Vec<_> = case.iter().map(|line| line.as_bytes()).collect();
        assert_eq!(verdict(&lines(&case), &ring), expected, "{case:?}");
    }
}

#[test]
fn a_cookie_is_worth_nothing_under_another_name_or_without_its_key() {
    let (ring, token) = (ring(), Token::generate());
    let renamed = sent(&token, &ring).replace("__Host-vestibule", "__Host-other");
    let config = Config { name: "__Host-other".to_owned(), ..config() };
    assert!(matches!(find(&lines(&[renamed.as_bytes()]), &config, &ring), Found::Refused("forged")));
    let rotated = ring.rotate(Timestamp::default());
    let headers = lines(&[sent(&token, &ring).as_bytes()]);
    assert_eq!(verdict(&headers, &rotated), "valid");
    assert_eq!(verdict(&headers, &rotated.retire(ring.signer().id()).unwrap()), "forged");
}

#[test]
fn stripping_takes_our_cookies_and_leaves_every_other_byte() {
    let cases: [(&[&str], &[&str]); 8] = [
        (&["a=1; b=2"], &["a=1; b=2"]),
        (&["__Host-v=x"], &[]),
        (&["__Host-v=x; a=1"], &["a=1"]),
        (&["a=1; __Host-v=x; b=\"2 ; c"], &["a=1; b=\"2 ; c"]),
        (&["a=1;__Host-v=x;b=2"], &["a=1;b=2"]),
        (&["a=1; __Host-v=x"], &["a=1"]),
        (&["a=1", "__Host-v=x", "b=2;; c"], &["a=1", "b=2;; c"]),
        (&["a=1; __Host-v=x; __Host-w=y; __Host-v =z"], &["a=1"]),
    ];
    for (before, after) in cases {
        let mut headers = lines(&before.iter().map(|line| line.as_bytes()).collect::<Vec<_>>());
        strip(&mut headers, &["__Host-v", "__Host-w"]);
        let left: Vec<_> = headers.get_all(COOKIE).iter().map(|line| line.to_str().unwrap()).collect();
        assert_eq!(left, after, "{before:?}");
    }
}

#[test]
fn only_names_that_browsers_guard_are_accepted() {
    let check = |name: &str| Config { name: name.to_owned(), ..config() }.check();
    assert_eq!(check("__Host-vestibule"), Ok(()));
    assert_eq!(check("vestibule"), Err(NameError::Prefix));
    assert_eq!(check("__Host-"), Err(NameError::Length));
    assert_eq!(check("__Host-a;b"), Err(NameError::Character(';')));
    assert_eq!(check("__Host-\u{e9}"), Err(NameError::Character('\u{e9}')));
}

proptest! {
    #[test]
    fn no_flipped_bit_of_a_cookie_is_accepted(byte in 0..87_usize, bit in 0_u8..8) {
        let ring = ring();
        let mut line = sent(&Token::generate(), &ring).into_bytes();
        let value = line.len() - 87;
        line[value + byte] ^= 1 << bit;
        if let Ok(header) = HeaderValue::from_bytes(&line) {
            let headers = HeaderMap::from_iter([(COOKIE, header)]);
            prop_assert_ne!(verdict(&headers, &ring), "valid");
        }
    }

    #[test]
    fn no_cookie_line_makes_the_parser_panic(line in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(header) = HeaderValue::from_bytes(&line) {
            let mut headers = HeaderMap::from_iter([(COOKIE, header)]);
            prop_assert_ne!(verdict(&headers, &ring()), "valid");
            strip(&mut headers, &["__Host-vestibule"]);
        }
    }

    #[test]
    fn no_value_of_our_cookie_makes_the_parser_panic(value in "[A-Za-z0-9_-]{70,90}") {
        let line = format!("__Host-vestibule={value}");
        prop_assert_ne!(verdict(&lines(&[line.as_bytes()]), &ring()), "valid");
    }

    #[test]
    fn no_backend_sets_a_cookie_that_comes_back_as_ours(line in "[ab=; \t]{0,9}|=* ?a(-3)? ?=[ab=; ]{0,5}") {
        let Ok(value) = HeaderValue::from_str(&line) else { return Ok(()) };
        let mut headers = HeaderMap::from_iter([(SET_COOKIE, value)]);
        keep_ours(&mut headers, &["a"]);
        for kept in headers.get_all(SET_COOKIE) {
            let sent_back = as_browsers_send_back(kept.to_str().unwrap());
            let mut headers = HeaderMap::from_iter([(COOKIE, HeaderValue::from_str(&sent_back).unwrap())]);
            strip(&mut headers, &["a"]);
            prop_assert!(headers.contains_key(COOKIE) || sent_back.is_empty(), "{kept:?} comes back as {sent_back:?}");
        }
    }

    #[test]
    fn stripping_never_leaves_our_cookie(parts in prop::collection::vec("[ab=; ]{0,4}|a=1", 0..9)) {
        let line = parts.join(";");
        if let Ok(header) = HeaderValue::from_str(&line) {
            let mut headers = HeaderMap::from_iter([(COOKIE, header)]);
            strip(&mut headers, &["a"]);
            let left = headers.get_all(COOKIE).iter().flat_map(|line| {
                line.to_str().unwrap().split(';').map(str::to_owned).collect::<Vec<_>>()
            });
            prop_assert!(left.filter_map(|one| one.split_once('=').map(|(n, _)| n.trim() == "a")).all(|ours| !ours));
        }
    }
}
