//! Who may sign in: accounts with one password, whose hash is cheap to check.

use argon2::password_hash::PasswordHasher;
use argon2::{Algorithm, Argon2, Params, Version};

use super::folder::Folder;

/// The password of everybody.
pub(crate) const PASSWORD: &str = "correct horse battery staple";

/// An account.
#[derive(Clone, Debug, Default)]
pub(crate) struct Person {
    pub(crate) user: String,
    pub(crate) groups: Vec<String>,
    pub(crate) name: Option<String>,
    pub(crate) email: Option<String>,
}

impl Person {
    pub(crate) fn named(user: &str) -> Self {
        Self { user: user.to_owned(), ..Self::default() }
    }

    pub(crate) fn in_group(mut self, group: &str) -> Self {
        self.groups.push(group.to_owned());
        self
    }

    pub(crate) fn with_email(mut self, email: &str) -> Self {
        self.email = Some(email.to_owned());
        self
    }

    pub(crate) fn called(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }
}

/// The hash of [`PASSWORD`] with the least memory that argon2 allows.
pub(crate) fn cheap_hash() -> String {
    let params = Params::new(Params::MIN_M_COST, 1, 1, None).expect("parameters");
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    argon2.hash_password(PASSWORD.as_bytes()).expect("a hash").to_string()
}

/// Writes the accounts into the folder's database.
pub(crate) fn enter(people: &[Person], folder: &Folder) {
    super::assumptions::add_accounts(people, &folder.path("users.db"));
}
