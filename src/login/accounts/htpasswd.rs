//! Apache's files of passwords and groups, line by line.
//!
//! What becomes of the lines is left to others. Invariant: no problem repeats any part of a hash.

use std::collections::BTreeMap;

use crate::identity::{Group, NameError, UserId};
use crate::login::stored::{HashProblem, StoredHash};

/// One line that was understood.
#[derive(Clone, PartialEq, Eq)]
pub struct Line {
    /// Counted from 1.
    pub number: usize,
    /// The user's name.
    pub user: UserId,
    /// The hash of the password, of a known form.
    pub hash: String,
}

/// One line that was not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {number}: {problem}")]
pub struct Fault {
    /// Counted from 1.
    pub number: usize,
    /// What is wrong.
    pub problem: Problem,
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Not `NAME:HASH`, or `GROUP: NAME NAME`.
    #[error("it is not `{0}`")]
    Form(&'static str),
    /// A name that cannot be one here.
    #[error("`{0}` cannot be a name: {1}")]
    Name(String, NameError),
    /// A hash that cannot be used.
    #[error("the password of `{0}`: {1}")]
    Hash(UserId, HashProblem),
    /// The user stands there already.
    #[error("`{0}` is there already, perhaps in other case")]
    Twice(UserId),
}

/// Reads lines of `NAME:HASH`; empty ones and those that begin with `#` mean nothing.
#[must_use]
pub fn passwords(text: &str) -> (Vec<Line>, Vec<Fault>) {
    let (mut lines, mut faults) = (Vec::new(), Vec::new());
    for (number, line) in meaningful(text) {
        match password(number, line) {
            Ok(line) => lines.push(line),
            Err(problem) => faults.push(Fault { number, problem }),
        }
    }
    (lines, faults)
}

/// Reads lines of `GROUP: NAME NAME ...`: the groups of each user, by the name in lower case.
#[must_use]
pub fn groups(text: &str) -> (BTreeMap<String, Vec<Group>>, Vec<Fault>) {
    let (mut members, mut faults) = (BTreeMap::<String, Vec<Group>>::new(), Vec::new());
    for (number, line) in meaningful(text) {
        match group(line) {
            Ok((group, users)) => {
                for user in users {
                    members.entry(user.as_str().to_ascii_lowercase()).or_default().push(group.clone());
                }
            }
            Err(problem) => faults.push(Fault { number, problem }),
        }
    }
    for groups in members.values_mut() {
        groups.sort();
        groups.dedup();
    }
    (members, faults)
}

fn meaningful(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text.lines().map(str::trim_end).zip(1..).map(|(line, number)| (number, line));
    lines.filter(|(_, line)| !line.trim_start().is_empty() && !line.starts_with('#'))
}

fn password(number: usize, line: &str) -> Result<Line, Problem> {
    let (name, rest) = line.split_once(':').ok_or(Problem::Form("NAME:HASH"))?;
    // Some programs append more fields, each after a colon; only Werkzeug's hashes hold one.
    let hash = if rest.starts_with("pbkdf2:") || rest.starts_with("scrypt:") {
        rest
    } else {
        rest.split(':').next().unwrap_or(rest)
    };
    let user = UserId::try_from(name).map_err(|error| Problem::Name(shown(name), error))?;
    match StoredHash::parse(hash) {
        Ok(_) => Ok(Line { number, user, hash: hash.to_owned() }),
        Err(problem) => Err(Problem::Hash(user, problem)),
    }
}

fn group(line: &str) -> Result<(Group, Vec<UserId>), Problem> {
    let (group, users) = line.split_once(':').ok_or(Problem::Form("GROUP: NAME NAME"))?;
    let group = group.trim();
    let name = |error, name: &str| Problem::Name(shown(name), error);
    let group = Group::try_from(group).map_err(|error| name(error, group))?;
    let users =
        users.split_ascii_whitespace().map(|user| UserId::try_from(user).map_err(|error| name(error, user)));
    Ok((group, users.collect::<Result<_, _>>()?))
}

/// A name as a message may show it.
fn shown(name: &str) -> String {
    name.chars().take(40).map(|letter| if letter.is_control() { '?' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_line_is_an_account_or_a_fault_with_its_number() {
        let text = "# people\n\nalice:{SHA}/8wfRUGm8tTSBrWrjhQj2hPe5cw=\n\
                    bob:8EAcYFavHM/9w\r\ncarol smith:x\nno line\n\
                    dora:$apr1$xBbcD9Wz$WTuu4Dh9IaAydWcjWxdzU/:Dora:dora@example.com\n\
                    ed:pbkdf2:sha1:1000$seasalt$dfffbacce1ec5f3ed9699fe7c9aac2abd0760d92\n";
        let (lines, faults) = passwords(text);
        let found: Vec<_> = lines.iter().map(|line| (line.number, line.user.as_str())).collect();
        assert_eq!(found, [(3, "alice"), (7, "dora"), (8, "ed")]);
        assert!(lines[1].hash.ends_with("xdzU/") && lines[2].hash.starts_with("pbkdf2:sha1"));
        let told: Vec<String> = faults.iter().map(ToString::to_string).collect();
        assert!(
            told[0].starts_with("line 4: the password of `bob`: it is a hash of the old `crypt`"),
            "{told:?}"
        );
        assert!(told[1].starts_with("line 5: `carol smith` cannot be a name"), "{told:?}");
        assert_eq!(told[2], "line 6: it is not `NAME:HASH`");
        assert!(!told.join("").contains("8EAc"), "no hash is repeated");
    }

    #[test]
    fn groups_belong_to_names_in_any_case() {
        let (members, faults) = groups("staff: alice Bob\nadmin: ALICE\nstaff: alice\nbad group: x\n");
        let names = |user: &str| members[user].iter().map(Group::as_str).collect::<Vec<_>>();
        assert_eq!((names("alice"), names("bob")), (vec!["admin", "staff"], vec!["staff"]));
        assert_eq!(faults.len(), 1);
    }

    proptest! {
        #[test]
        fn any_text_is_lines_and_faults(text in "([a-z:$/. \r\n{}#]|\\PC){0,200}") {
            let count = meaningful(&text).count();
            let (lines, faults) = passwords(&text);
            prop_assert_eq!(lines.len() + faults.len(), count);
            let _either = groups(&text);
        }
    }
}
