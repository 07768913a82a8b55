//! Accounts as a person or a script reads them.

use std::fmt::Write;

use crate::cli::report::{Failure, to_json};
use crate::identity::Group;
use crate::login::accounts::{Account, Accounts};

pub(super) async fn list(accounts: &Accounts, json: bool) -> Result<String, Failure> {
    let all = accounts.list().await.map_err(Failure::failed)?;
    if json {
        return to_json(&all.iter().map(as_json).collect::<Vec<_>>());
    }
    let mut text = String::from("USER                 STATE     LAST LOGIN                GROUPS\n");
    for account in &all {
        // Writing into a string cannot fail.
        let _infallible = writeln!(
            text,
            "{:<20} {:<8}  {:<24}  {}",
            account.user.as_str(),
            state(account),
            last_login(account),
            groups(account)
        );
    }
    Ok(text)
}

pub(super) fn show(account: &Account, json: bool) -> Result<String, Failure> {
    if json {
        return to_json(&as_json(account));
    }
    Ok(format!(
        "user        {}\nstate       {}\ngroups      {}\nname        {}\ne-mail      {}\ncreated     {}\nlast login  {}\n",
        account.user,
        state(account),
        groups(account),
        account.name.as_deref().unwrap_or("-"),
        account.email.as_deref().unwrap_or("-"),
        account.created.map_or_else(|| "-".to_owned(), |time| time.to_string()),
        last_login(account),
    ))
}

fn as_json(account: &Account) -> serde_json::Value {
    serde_json::json!({
        "user": account.user.as_str(),
        "state": state(account),
        "groups": account.groups.iter().map(Group::as_str).collect::<Vec<_>>(),
        "name": account.name,
        "email": account.email,
        "created": account.created.map(|time| time.to_string()),
        "last_login": account.last_login.map(|time| time.to_string()),
    })
}

const fn state(account: &Account) -> &'static str {
    if account.disabled { "disabled" } else { "enabled" }
}

fn last_login(account: &Account) -> String {
    account.last_login.map_or_else(|| "never".to_owned(), |time| time.to_string())
}

fn groups(account: &Account) -> String {
    let names: Vec<&str> = account.groups.iter().map(Group::as_str).collect();
    if names.is_empty() { "-".to_owned() } else { names.join(", ") }
}
