//! Which passwords may be chosen, and how one is made up.
//!
//! Looked at only when a password is set (NIST SP 800-63B-4, 3.1.1.2), never at login. Invariant:
//! whatever is made up here is also allowed here.

use zxcvbn::{Score, zxcvbn};

use crate::login::password::PASSWORD_LIMIT;
use crate::secret::Secret;

/// Why a password cannot be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordProblem {
    /// Fewer than [`PASSWORD_MINIMUM`] characters.
    #[error("it is shorter than {PASSWORD_MINIMUM} characters; a few unrelated words make a good one")]
    TooShort,
    /// More than [`PASSWORD_LIMIT`] bytes.
    #[error("it is longer than {PASSWORD_LIMIT} bytes")]
    TooLong,
    /// The same as the user's name.
    #[error("it is the user's name")]
    UserName,
    /// One of those that are tried first.
    #[error("it is one of the passwords that attackers try first")]
    Common,
    /// Few guesses lead to it.
    #[error("it is easy to guess; a few unrelated words make a good one")]
    Guessable,
}

/// Whether `user` may choose `password`.
pub fn check_new_password(user: &str, password: &Secret<String>) -> Result<(), PasswordProblem> {
    let text = password.expose();
    if text.len() > PASSWORD_LIMIT {
        return Err(PasswordProblem::TooLong);
    }
    if text.chars().count() < PASSWORD_MINIMUM {
        return Err(PasswordProblem::TooShort);
    }
    let lower = Secret::new(text.to_lowercase());
    if *lower.expose() == user.to_lowercase() {
        return Err(PasswordProblem::UserName);
    }
    if COMMON.contains(&lower.expose().as_str()) {
        return Err(PasswordProblem::Common);
    }
    // The estimate looks at the first hundred characters and takes milliseconds.
    let parts: Vec<&str> = user.split(['@', '.', '-', '_']).chain([user, "vestibule"]).collect();
    if zxcvbn(text, &parts).score() < Score::Two {
        return Err(PasswordProblem::Guessable);
    }
    Ok(())
}

/// Makes up a password: five groups of four characters that look like no other, 99 bit.
pub(super) fn generate_password() -> Result<Secret<String>, getrandom::Error> {
    // With room for all of it, growing leaves no copy behind.
    let mut text = String::with_capacity(GROUPS * (GROUP + 1));
    for place in 0..GROUPS * GROUP {
        if place > 0 && place % GROUP == 0 {
            text.push('-');
        }
        text.push(random_character()?);
    }
    Ok(Secret::new(text))
}

/// The least length of a password, in characters.
pub const PASSWORD_MINIMUM: usize = 8;

const GROUPS: usize = 5;
const GROUP: usize = 4;

/// Without `0 o`, `1 l i`: 31 characters, 4.95 bit each.
pub(super) const UNAMBIGUOUS: &[u8; 31] = b"abcdefghjkmnpqrstuvwxyz23456789";

/// In lower case; those under the least length need not be here.
const COMMON: &[&str] = &[
    "00000000",
    "0123456789",
    "10203040",
    "11111111",
    "11223344",
    "12121212",
    "123123123",
    "1234512345",
    "12341234",
    "12344321",
    "1234567890",
    "12345678",
    "123456789",
    "12345678910",
    "12345679",
    "123456789a",
    "123456abc",
    "123qweasd",
    "147258369",
    "1q2w3e4r",
    "1q2w3e4r5t",
    "1qaz2wsx",
    "1qazxsw2",
    "22222222",
    "55555555",
    "66666666",
    "77777777",
    "87654321",
    "88888888",
    "987654321",
    "9876543210",
    "99999999",
    "a1b2c3d4",
    "a1234567",
    "a12345678",
    "aa123456",
    "aaaaaaaa",
    "abc12345",
    "abcd1234",
    "abcdefgh",
    "access14",
    "admin123",
    "admin1234",
    "administrator",
    "adminadmin",
    "alexander",
    "asdf1234",
    "asdfasdf",
    "asdfghjk",
    "asdfghjkl",
    "baseball",
    "basketball",
    "blink182",
    "butterfly",
    "change me",
    "changeit",
    "changeme",
    "charlie1",
    "chocolate",
    "computer",
    "cocacola",
    "corvette",
    "default1",
    "dragon123",
    "elephant",
    "everything",
    "facebook",
    "football",
    "football1",
    "football123",
    "forever1",
    "garfield",
    "guest123",
    "hello123",
    "helloworld",
    "iloveyou",
    "iloveyou1",
    "internet",
    "jennifer",
    "jordan23",
    "letmein1",
    "letmein123",
    "liverpool",
    "lovelove",
    "manager1",
    "manchester",
    "marlboro",
    "maverick",
    "mercedes",
    "metallica",
    "michelle",
    "midnight",
    "minecraft",
    "monkey123",
    "mustang1",
    "naruto123",
    "p@ssw0rd",
    "p@ssword",
    "pa$$word",
    "pass1234",
    "passw0rd",
    "password",
    "password!",
    "password1",
    "password12",
    "password123",
    "password1234",
    "passwort",
    "pokemon1",
    "princess",
    "princess1",
    "q1w2e3r4",
    "q1w2e3r4t5",
    "qazwsxedc",
    "qwer1234",
    "qwert123",
    "qwerty12",
    "qwerty123",
    "qwerty1234",
    "qwertyui",
    "qwertyuiop",
    "qwertz123",
    "rainbow1",
    "samantha",
    "samsung1",
    "secret123",
    "september",
    "snoopy123",
    "spiderman",
    "starwars",
    "summer123",
    "sunshine",
    "sunshine1",
    "superman",
    "superman1",
    "swordfish",
    "test1234",
    "testtest",
    "trustno1",
    "undertaker",
    "vestibule",
    "victoria",
    "welcome1",
    "welcome123",
    "whatever",
    "williams",
    "zaq12wsx",
    "zxcvbnm1",
    "zxcvbnm123",
];

/// Uniform: a number that stands for no character is thrown again.
pub(super) fn random_character() -> Result<char, getrandom::Error> {
    loop {
        let mut byte = [0];
        getrandom::fill(&mut byte)?;
        let [byte] = byte;
        if let Some(&character) = UNAMBIGUOUS.get(usize::from(byte & 0x1f)) {
            return Ok(char::from(character));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn check(password: &str) -> Result<(), PasswordProblem> {
        check_new_password("alice@example.com", &Secret::new(password.to_owned()))
    }

    #[test]
    fn each_rule_has_its_problem() {
        let table = [
            ("", Err(PasswordProblem::TooShort)),
            ("1234567", Err(PasswordProblem::TooShort)),
            ("\u{20ac}\u{20ac}\u{20ac}", Err(PasswordProblem::TooShort)),
            (
                "\u{20ac}\u{20ac}\u{20ac}\u{20ac}\u{20ac}\u{20ac}\u{20ac}\u{20ac}",
                Err(PasswordProblem::Guessable),
            ),
            ("\u{3042}\u{30a2}\u{5b50}\u{9e97}\u{20ac}\u{df}\u{e9}\u{f8}", Ok(())),
            ("alicealice1", Err(PasswordProblem::Guessable)),
            ("qwertyuiop123", Err(PasswordProblem::Guessable)),
            ("mmmmmmmmmmmmmmmm", Err(PasswordProblem::Guessable)),
            ("Alice@Example.com", Err(PasswordProblem::UserName)),
            ("Password123", Err(PasswordProblem::Common)),
            ("correct horse battery", Ok(())),
        ];
        for (password, expected) in table {
            assert_eq!(check(password), expected, "{password:?}");
        }
        let words = "unrelated words make a good one ";
        assert_eq!(check(&words.repeat(32)), Ok(()));
        assert_eq!(check(&words.repeat(33)), Err(PasswordProblem::TooLong));
    }

    #[test]
    fn the_list_is_sorted_out_and_long_enough() {
        assert!(COMMON.len() >= 100);
        for common in COMMON {
            assert!(common.len() >= PASSWORD_MINIMUM && *common == common.to_lowercase(), "{common}");
        }
    }

    #[test]
    fn a_password_that_is_made_up_is_allowed_and_new() {
        let mut seen = HashSet::new();
        for _ in 0..100 {
            let password = generate_password().unwrap();
            assert_eq!(check(password.expose()), Ok(()));
            assert_eq!(password.expose().len(), 24);
            assert!(password.expose().split('-').all(|group| group.len() == 4));
            assert!(seen.insert(password.expose().clone()));
        }
        let used: HashSet<char> = seen.iter().flat_map(|text| text.chars()).collect();
        assert_eq!(used.len(), UNAMBIGUOUS.len() + 1);
    }
}
