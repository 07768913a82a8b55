//! A new password: asked for or read, checked, hashed.
//!
//! Invariant: a password comes from a prompt or from standard input, never from an argument.

use std::io::{BufRead, IsTerminal};

use zeroize::Zeroizing;

use crate::cli::report::Failure;
use crate::identity::UserId;
use crate::login::accounts::{Form, Place};
use crate::login::check_new_password;
use crate::login::password::{Hasher, HashingConfig};
use crate::secret::Secret;

/// What to put into a file of accounts for `user`.
pub(super) async fn lines_for(user: &UserId, place: &Place) -> Result<String, Failure> {
    let hash = new_password(user).await?;
    Ok(match place {
        Place::Declared(declared) if declared.form == Form::Htpasswd => format!("{user}:{hash}\n"),
        // Neither a name nor a hash can hold a quotation mark or a backslash.
        _ => format!("[[user]]\nuser = \"{user}\"\npassword = \"{hash}\"\n"),
    })
}

/// Asks for a password (twice at a terminal), checks it and hashes it.
pub(super) async fn new_password(user: &UserId) -> Result<String, Failure> {
    let password = read_password(user)?;
    check_new_password(user.as_str(), &password)
        .map_err(|problem| Failure::usage(format!("this password cannot be used: {problem}")))?;
    let hasher = Hasher::start(HashingConfig::default()).map_err(Failure::failed)?;
    hasher.hash(password).await.map_err(Failure::failed)
}

fn read_password(user: &UserId) -> Result<Secret<String>, Failure> {
    if !std::io::stdin().is_terminal() {
        let mut line = Zeroizing::new(String::new());
        std::io::stdin().lock().read_line(&mut line).map_err(Failure::failed)?;
        return Ok(Secret::new(line.trim_end_matches(['\r', '\n']).to_owned()));
    }
    let ask = |question: &str| rpassword::prompt_password(question).map(Secret::new).map_err(Failure::failed);
    let first = ask(&format!("New password for {user}: "))?;
    if first == ask("The same again: ")? {
        Ok(first)
    } else {
        Err(Failure::failed("the two passwords differ; nothing was changed"))
    }
}
