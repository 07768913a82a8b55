//! The accounts that a file declares: `[[user]]` in TOML, or Apache's `htpasswd`.
//!
//! All problems of a file are told at once, each with its line. Invariant: a [`Directory`] exists only if
//! nothing was wrong, so that a slip of the pen locks nobody out.

use std::fs;
use std::path::Path;

use toml::de::DeTable;

use crate::identity::{Group, UserId};
use crate::login::accounts::htpasswd::{self, Fault};
use crate::login::accounts::{Account, Declared, Directory, Form, Place as Accounts, is_text};
use crate::login::stored::StoredHash;

use super::problem::{Place, Problem, Problems, Wrong, quoted};
use super::read::{Empty, Section};
use super::reader::{Errand, Reader};
use super::unreadable;

/// Reads the file that declares the accounts; nothing where they are in a database.
pub fn read(accounts: &Accounts) -> Result<Option<Directory>, Problems> {
    let Accounts::Declared(declared) = accounts else { return Ok(None) };
    let text = text_of(&declared.file)?;
    let directory = match declared.form {
        Form::Toml => toml(declared, &text),
        Form::Htpasswd => apache(declared, &text),
    };
    directory.map(Some)
}

fn text_of(file: &Path) -> Result<String, Problems> {
    fs::read_to_string(file).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            let help = "make it, or name another with `login.password.users`";
            problem(file, None, "there is no such file", Some(help)).into()
        }
        _ => unreadable(file, &error),
    })
}

fn toml(declared: &Declared, text: &str) -> Result<Directory, Problems> {
    let reader = Reader::new(&declared.file, text, Errand::Load);
    let (table, errors) = DeTable::parse_recoverable(text);
    reader.syntax_errors(text, &errors);
    let mut directory = Directory::new(declared.clone());
    if errors.is_empty() {
        reader.root(table.get_ref(), |root| root.each("user", |section| enter(section, &mut directory)));
    }
    reader.outcome(Some(directory))
}

fn enter(section: &mut Section<'_>, directory: &mut Directory) {
    let user = section.required("user", "\"alice\"", user_id);
    let hash = section.required("password", "\"$argon2id$...\"", hash);
    let mut groups = section.list("groups", Empty::Allowed, group).unwrap_or_default();
    groups.sort();
    groups.dedup();
    let name = section.text("name", plain);
    let email = section.text("email", plain);
    let disabled = section.flag("disabled", false);
    let Some((user, hash)) = user.zip(hash) else { return };
    let shown = user.to_string();
    let account = Account { user, groups, name, email, disabled, created: None, last_login: None };
    if !directory.add(account, hash) {
        let wrong = Wrong::new(format!("`{shown}` is there already, perhaps in other case"));
        section.refuse("user", wrong.help("remove one of the two"));
    }
}

fn user_id(text: &str) -> Result<UserId, Wrong> {
    UserId::try_from(text).map_err(|error| Wrong::new(format!("{} cannot be a name: {error}", quoted(text))))
}

fn group(text: &str) -> Result<Group, Wrong> {
    Group::try_from(text).map_err(|error| Wrong::new(format!("{} cannot be a group: {error}", quoted(text))))
}

/// SECURITY: what stands here is never repeated: it may be a password.
fn hash(text: &str) -> Result<String, Wrong> {
    StoredHash::parse(text).map(|_| text.to_owned()).map_err(|problem| Wrong::new(problem.to_string()))
}

fn plain(text: &str) -> Result<String, Wrong> {
    if is_text(text) {
        return Ok(text.to_owned());
    }
    Err(Wrong::new("it must have 1 to 256 bytes and no control characters"))
}

fn apache(declared: &Declared, text: &str) -> Result<Directory, Problems> {
    let (lines, faults) = htpasswd::passwords(text);
    let mut problems: Vec<Problem> = faults.iter().map(|fault| told(&declared.file, fault)).collect();
    let (mut members, faults) = match &declared.groups {
        Some(file) => {
            let (members, faults) = htpasswd::groups(&text_of(file)?);
            (members, faults.iter().map(|fault| told(file, fault)).collect())
        }
        None => Default::default(),
    };
    let faults: Vec<Problem> = faults;
    problems.extend(faults);
    let mut directory = Directory::new(declared.clone());
    for line in lines {
        let (number, user) = (line.number, line.user);
        let groups = members.remove(&user.as_str().to_ascii_lowercase()).unwrap_or_default();
        let twice = Fault { number, problem: htpasswd::Problem::Twice(user.clone()) };
        let account = Account {
            user,
            groups,
            name: None,
            email: None,
            disabled: false,
            created: None,
            last_login: None,
        };
        if !directory.add(account, line.hash) {
            problems.push(told(&declared.file, &twice));
        }
    }
    if problems.is_empty() { Ok(directory) } else { Err(Problems::new(problems)) }
}

fn told(file: &Path, fault: &Fault) -> Problem {
    problem(file, Some(fault.number), &fault.problem.to_string(), None)
}

fn problem(file: &Path, line: Option<usize>, message: &str, help: Option<&str>) -> Problem {
    Problem {
        file: file.to_owned(),
        place: line.map(|line| Place { line, column: 1 }),
        key: String::new(),
        message: message.to_owned(),
        help: help.map(str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declared(form: Form, files: [(&str, &str); 2]) -> (tempfile::TempDir, Accounts) {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let [file, groups] = files.map(|(name, _)| folder.path().join(name));
        (folder, Accounts::Declared(Declared { form, file, groups: Some(groups) }))
    }

    fn problems(form: Form, text: &str, groups: &str) -> Vec<String> {
        let (folder, accounts) = declared(form, [("users", text), ("groups", groups)]);
        let told = read(&accounts).unwrap_err().to_string();
        told.lines().map(|line| line.replace(&format!("{}/", folder.path().display()), "")).collect()
    }

    const HASH: &str = "$apr1$xBbcD9Wz$WTuu4Dh9IaAydWcjWxdzU/";

    #[test]
    fn every_problem_of_a_file_in_toml_is_told_with_its_line_and_key() {
        let text = format!(
            "[[user]]\nuser = \"alice\"\npassword = \"{HASH}\"\ngroups = [\"a b\"]\n\
             [[user]]\nuser = \"Alice\"\npassword = \"{HASH}\"\n\
             [[user]]\nuser = \"bob\"\npassword = \"hunter2-hunter2\"\nmail = \"b@example.com\"\n\
             [[user]]\npassword = \"{HASH}\"\nname = \"a\\nb\"\n"
        );
        let told = problems(Form::Toml, &text, "");
        let beginnings = [
            "users:4: user[1].groups: ",
            "users:6: user[2].user: `Alice` is there already",
            "users:10: user[3].password: it is no known password hash; `vestibule users hash` makes one",
            "users:11: user[3].mail: unknown key",
            "users:12: user[4].user: it is missing",
            "users:14: user[4].name: it must have 1 to 256 bytes",
        ];
        assert_eq!(told.len(), beginnings.len(), "{told:#?}");
        for (line, beginning) in told.iter().zip(beginnings) {
            assert!(line.starts_with(beginning), "{line} {beginning}");
        }
        assert!(!told.concat().contains("hunter2"), "{told:#?}");
    }

    #[test]
    fn every_problem_of_an_htpasswd_file_is_told_with_its_line() {
        let text = format!("alice:{HASH}\nbob:8EAcYFavHM/9w\nALICE:{HASH}\n");
        let told = problems(Form::Htpasswd, &text, "staff alice\n");
        assert_eq!(told.len(), 3, "{told:#?}");
        assert!(
            told.iter()
                .any(|line| line.starts_with("users:2: the password of `bob`: it is a hash of the old"))
        );
        assert!(told.iter().any(|line| line.starts_with("users:3: `ALICE` is there already")));
        assert!(told.iter().any(|line| line.starts_with("groups:1: it is not `GROUP: NAME NAME`")));
    }

    #[test]
    fn a_file_that_is_not_there_says_what_to_do() {
        let accounts = Accounts::Declared(Declared {
            form: Form::Toml,
            file: "/nowhere/users.toml".into(),
            groups: None,
        });
        let told = read(&accounts).unwrap_err().to_string();
        assert!(told.contains("there is no such file") && told.contains("login.password.users"), "{told}");
    }
}
