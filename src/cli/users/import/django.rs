//! What `manage.py dumpdata auth` prints: users, and the groups that they are in.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::{Candidate, Found};
use crate::identity::UserId;
use crate::login::stored::StoredHash;

pub(super) fn read(text: &str) -> Result<Found, String> {
    let objects: Vec<Object> = serde_json::from_str(text)
        .map_err(|error| format!("it is not what `dumpdata` prints: line {}: {error}", error.line()))?;
    let groups: BTreeMap<String, String> =
        objects.iter().filter(|object| object.model == "auth.group").filter_map(Object::group).collect();
    let mut found = Found::default();
    for (number, object) in (1..).zip(&objects) {
        if let Some(user) = object.user() {
            match candidate(&user, &groups) {
                Ok(candidate) => found.candidates.push(candidate),
                Err(why) => found.skip(format!("object {number}"), why),
            }
        }
    }
    if found.candidates.is_empty() && found.skipped.is_empty() {
        return Err("it holds no users; `manage.py dumpdata auth` prints them".to_owned());
    }
    Ok(found)
}

fn candidate(user: &User, groups: &BTreeMap<String, String>) -> Result<Candidate, String> {
    let name = &user.username;
    let id =
        UserId::try_from(name.as_str()).map_err(|error| format!("{name:?} cannot be a name: {error}"))?;
    StoredHash::parse(&user.password).map_err(|problem| format!("the password of `{id}`: {problem}"))?;
    let mut candidate = Candidate::new(id, user.password.clone());
    candidate.set_name(&format!("{} {}", user.first_name, user.last_name));
    candidate.set_email(&user.email);
    candidate.disabled = !user.is_active;
    for reference in &user.groups {
        let group = key(reference);
        // With `--natural-foreign` the name itself stands there.
        let known = groups.get(&group).or(reference.is_array().then_some(&group));
        match known {
            Some(group) => candidate.join(group),
            None => candidate
                .lost
                .push(format!("the group {group}: the file does not name it; dump `auth` whole")),
        }
    }
    for (has, what) in [(user.is_staff, "`is_staff`"), (user.is_superuser, "`is_superuser`")] {
        if has {
            candidate.lost.push(format!("{what}: it means nothing here; a group can take its place"));
        }
    }
    if !user.permissions.is_empty() {
        candidate.lost.push("its permissions: routes are opened by groups".to_owned());
    }
    Ok(candidate)
}

/// A primary key, or a natural one, as text.
fn key(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    }
}

#[derive(Deserialize)]
struct Object {
    model: String,
    #[serde(default)]
    pk: Value,
    fields: Value,
}

impl Object {
    fn group(&self) -> Option<(String, String)> {
        Some((key(&self.pk), self.fields.get("name")?.as_str()?.to_owned()))
    }

    /// A user of Django's own model, or of one that looks like it.
    fn user(&self) -> Option<User> {
        let is_user = self.fields.get("username").is_some() && self.fields.get("password").is_some();
        is_user.then(|| serde_json::from_value(self.fields.clone()).ok()).flatten()
    }
}

#[derive(Deserialize)]
struct User {
    username: String,
    password: String,
    #[serde(default)]
    first_name: String,
    #[serde(default)]
    last_name: String,
    #[serde(default)]
    email: String,
    #[serde(default = "yes")]
    is_active: bool,
    #[serde(default)]
    is_staff: bool,
    #[serde(default)]
    is_superuser: bool,
    #[serde(default)]
    groups: Vec<Value>,
    #[serde(default, rename = "user_permissions")]
    permissions: Vec<Value>,
}

const fn yes() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "pbkdf2_sha256$1000$seasalt$B4Z5Cum0PMgRdOBgciYsdCAY1DcYMltvBCObhdQxhHU=";

    #[test]
    fn users_and_their_groups_are_read_and_the_rest_is_told() {
        let text = format!(
            r#"[{{"model": "auth.permission", "pk": 1, "fields": {{"name": "Can add"}}}},
            {{"model": "auth.group", "pk": 7, "fields": {{"name": "editors", "permissions": []}}}},
            {{"model": "auth.user", "pk": 1, "fields": {{"username": "alice", "password": "{HASH}",
              "first_name": "Alice", "last_name": "Õ", "email": "a@example.com", "is_active": true,
              "is_superuser": true, "is_staff": false, "groups": [7, 9, ["night shift"]], "user_permissions": [1]}}}},
            {{"model": "shop.customer", "pk": 2, "fields": {{"username": "bob", "password": "{HASH}",
              "is_active": false, "groups": [["wiki"]]}}}},
            {{"model": "auth.user", "pk": 3, "fields": {{"username": "carol", "password": "!unusable"}}}}]"#
        );
        let found = read(&text).unwrap();
        let [alice, bob] = found.candidates.as_slice() else { panic!("{:?}", found.candidates) };
        assert_eq!((alice.profile.name.as_deref(), alice.disabled), (Some("Alice Õ"), false));
        assert_eq!(alice.profile.groups.len(), 1);
        assert_eq!(alice.lost.len(), 4, "{:?}", alice.lost);
        assert_eq!((bob.profile.groups[0].as_str(), bob.disabled), ("wiki", true));
        assert!(found.skipped[0].why.contains("no usable password"), "{:?}", found.skipped);
    }

    #[test]
    fn what_is_no_dump_says_so() {
        assert!(read("{").unwrap_err().contains("line 1"));
        assert!(read("[]").unwrap_err().contains("no users"));
    }
}
