//! Hashes that other programs made: `htpasswd`, `openssl passwd`, Python's hashlib.

use proptest::prelude::*;

use super::*;

const PASSWORD: &str = "correct horse é";

/// All of [`PASSWORD`].
const KNOWN: [&str; 21] = [
    "$2y$05$tMp5JKtL2Enn417qVqCFd.nCSVsHGreItFbJuo/z3uGeh67zabz4S",
    "bcrypt$$2b$05$tMp5JKtL2Enn417qVqCFd.nCSVsHGreItFbJuo/z3uGeh67zabz4S",
    "bcrypt_sha256$$2b$05$a7h7VMTiVkv/5LYxxXUbXeXf2j4vTQ1WCLnzcLKJyj2ehUu1gxU.S",
    "$apr1$xBbcD9Wz$WTuu4Dh9IaAydWcjWxdzU/",
    "$1$abcdefgh$NQEZhnK0LUFSk6OyfWhq//",
    "$5$saltstring$aXLr59fnwrVg6Wz/o5uKtjZU0xGSbMc6YxPqiHv2NE.",
    "$6$saltstring$Vy1qkR4howG25g0MrA26uBcI9k9c5cxzfoR6VfYPEDH6Qz8CJGsLsSf6i7jmz6/3LKpWlmhxHaJqvorDx2KhI.",
    "$5$rounds=1400$anotherlongsalts$NgE/g7QKe2.Fr.7e5BHKFAaQKFplgTacxVPZfViUpT0",
    "$6$rounds=1400$anotherlongsalts$uTH3eilkZ4zbz2CifeyjFjxQfebtDZmSxxNxW.FBYrIRJYTwT1yGQSJY5iErWjUUo9aq7jXfwtquU0nymTfnm1",
    "{CRYPT}$5$saltstring$aXLr59fnwrVg6Wz/o5uKtjZU0xGSbMc6YxPqiHv2NE.",
    "{SHA}/8wfRUGm8tTSBrWrjhQj2hPe5cw=",
    "{SSHA}xlhten4Md/YT2nnyAWAZPmLCalhzYWx0c2FsdA==",
    "{ssha}xlhten4Md/YT2nnyAWAZPmLCalhzYWx0c2FsdA==",
    "{SSHA256}MVdaq2/vuBOcRlBlkbb9a6Bk0FcRqY60wIjw/Bx/ge1zYWx0c2FsdA==",
    "{SSHA512}ZguhTdFCLabh0/BXxjImlCrjYEz52gJCGnyY70XsaQwgEyS+3pUd8n81hvdHDZ+Tldm5d18T5E6M49cA5GOeJ3NhbHRzYWx0",
    "pbkdf2_sha256$1000$seasalt$B4Z5Cum0PMgRdOBgciYsdCAY1DcYMltvBCObhdQxhHU=",
    "pbkdf2_sha1$1000$seasalt$3/+6zOHsXz7ZaZ/nyarCq9B2DZI=",
    "pbkdf2:sha256:1000$seasalt$0786790ae9b43cc81174e06072262c742018d43718325b6f04239b85d4318475",
    "pbkdf2:sha512:1000$seasalt$bf6314aabe68e62c129a94d47dac54d753039547d46718ae1933fcea70019644165c34bea866f2d917eb66732841898239db63c54feeb9312ded763a34bf65cf",
    "pbkdf2:sha1:1000$seasalt$dfffbacce1ec5f3ed9699fe7c9aac2abd0760d92",
    "scrypt:1024:8:1$seasalt$a8a1120807e544fb3aed23d978876af0a9ac1e9079d349c847e29b899218c7bce6ead842349617ae31a982580bbf26f727c04ed3bb430810319bd44b203e88d0",
];

fn foreign(text: &str) -> Foreign {
    match StoredHash::parse(text) {
        Ok(StoredHash::Foreign(foreign)) => foreign,
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn the_password_behind_the_hash_of_another_program_is_recognised_and_no_other() {
    for text in KNOWN {
        let foreign = foreign(text);
        assert!(foreign.verify(PASSWORD.as_bytes()), "{text}");
        for wrong in ["Correct horse é", "correct horse", "correct horse é ", "", "\0"] {
            assert!(!foreign.verify(wrong.as_bytes()), "{text} {wrong:?}");
        }
        assert!(!foreign.decoy().verify(PASSWORD.as_bytes()), "{text}");
        assert_eq!(foreign.decoy().scheme, foreign.scheme, "{text}");
    }
    let long = foreign("$apr1$abcdefgh$9fFRZvplH8Khv00ItKz6s0");
    assert!(long.verify(b"longer than sixteen bytes in all"));
}

#[test]
fn argon2_is_read_as_it_is_and_as_django_writes_it() {
    let phc = "$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHQ$MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE";
    for text in [phc.to_owned(), format!("argon2{phc}")] {
        assert!(matches!(StoredHash::parse(&text), Ok(StoredHash::Argon2(_))), "{text}");
    }
}

#[test]
fn bcrypt_takes_no_password_of_which_it_would_ignore_a_part() {
    let hash = ::bcrypt::hash("x".repeat(72), 4).unwrap();
    assert!(!foreign(&hash).verify("x".repeat(72).as_bytes()));
    assert!(!foreign(&hash).verify("x".repeat(99).as_bytes()));
    let hash = ::bcrypt::hash("x".repeat(71), 4).unwrap();
    assert!(foreign(&hash).verify("x".repeat(71).as_bytes()));
    assert!(!foreign(&hash).verify("x".repeat(72).as_bytes()));
}

#[test]
fn work_without_bound_is_refused_before_it_is_done() {
    for text in [
        "$2y$31$tMp5JKtL2Enn417qVqCFd.nCSVsHGreItFbJuo/z3uGeh67zabz4S",
        "$5$rounds=999999999$saltstring$aXLr59fnwrVg6Wz/o5uKtjZU0xGSbMc6YxPqiHv2NE.",
        "pbkdf2_sha256$2147483648$seasalt$B4Z5Cum0PMgRdOBgciYsdCAY1DcYMltvBCObhdQxhHU=",
        "scrypt:16777216:8:1$seasalt$0786790ae9b43cc81174e06072262c742018d43718325b6f04239b85d4318475",
        "scrypt:1024:8:4000000000$seasalt$0786790ae9b43cc81174e06072262c742018d43718325b6f04239b85d4318475",
        "scrypt:2147483648:4294967295:1$s$0786790ae9b43cc81174e06072262c742018d43718325b6f04239b85d4318475",
        "$argon2id$v=19$m=4194304,t=1,p=1$c2FsdHNhbHQ$MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE",
        "$argon2id$v=19$m=64,t=4000000,p=1$c2FsdHNhbHQ$MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE",
    ] {
        assert!(matches!(StoredHash::parse(text), Err(HashProblem::Excessive(..))), "{text}");
    }
}

#[test]
fn what_cannot_be_used_says_why() {
    for (text, expected) in [
        ("8EAcYFavHM/9w", HashProblem::OldCrypt),
        ("{CLEARTEXT}secret", HashProblem::Clear),
        ("secret", HashProblem::Unknown),
        ("", HashProblem::Unknown),
        ("!wQ5qXhA7", HashProblem::Unusable),
        ("md5$salt$0123", HashProblem::Weak("plain digest")),
        ("{SSHA}/8wfRUGm8tTSBrWrjhQj2hPe5cw=", HashProblem::Damaged("SHA")),
        ("$2y$05$tMp5JKtL2Enn417qVqCFd", HashProblem::Damaged("bcrypt")),
        ("$argon2id$v=19$m=64", HashProblem::Damaged("argon2")),
        ("$6$saltstring$short", HashProblem::Damaged("SHA-crypt")),
        ("pbkdf2:sha256:0$seasalt$00", HashProblem::Damaged("Werkzeug")),
    ] {
        assert_eq!(StoredHash::parse(text).unwrap_err(), expected, "{text:?}");
    }
}

#[test]
fn nothing_shows_a_digest() {
    let shown = format!("{:?}", foreign(KNOWN[3]));
    assert!(shown.contains("Md5Crypt") && !shown.contains("WTuu"), "{shown}");
}

proptest! {
    #[test]
    fn any_text_is_a_hash_or_a_problem(text in "\\PC{0,80}|[$\\{a-z0-9=:.!\\}]{0,60}") {
        let _either = StoredHash::parse(&text);
    }

    #[test]
    fn a_damaged_hash_never_panics(which in 0..KNOWN.len(), at in 0_usize..150, letter in "\\PC") {
        let known = KNOWN[which];
        let place = (0..=at.min(known.len())).rev().find(|place| known.is_char_boundary(*place)).unwrap();
        let (before, after) = known.split_at(place);
        let _either = StoredHash::parse(&format!("{before}{letter}{after}"));
        let _shorter = StoredHash::parse(before);
    }
}
