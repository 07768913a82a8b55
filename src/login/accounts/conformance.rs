//! What every writable source must do, against SQLite, PostgreSQL and MariaDB.

use super::*;
use crate::session::store::servers::mariadb::MariaDb;
use crate::session::store::servers::postgres::Postgres;
use crate::storage::sql::Location;

const NOW: Timestamp = Timestamp::from_millis(1_000);

fn user(name: &str) -> UserId {
    UserId::try_from(name).unwrap()
}

fn profile(groups: &[&str]) -> Profile {
    Profile {
        groups: groups.iter().map(|&group| Group::try_from(group).unwrap()).collect(),
        name: Some("Alice Õ \u{1f511}".to_owned()),
        email: Some("alice@example.com".to_owned()),
    }
}

/// Runs the whole suite over accounts that `open` opens again and again.
async fn check<F: Future<Output = Accounts>>(open: impl Fn() -> F) {
    let accounts = open().await;
    an_account_is_found_as_it_was_added(&accounts).await;
    a_name_in_other_case_is_the_same_account(&accounts).await;
    names_that_look_alike_are_different_accounts(&accounts).await;
    every_change_is_seen_by_another_opening(&accounts, &open().await).await;
    a_hash_is_renewed_unless_the_password_was_changed(&accounts).await;
    a_change_to_nobody_says_so(&accounts).await;
    a_removed_account_leaves_nothing_to_the_next_of_that_name(&accounts).await;
    text_that_could_not_stand_in_a_header_is_refused(&accounts).await;
    many_additions_of_one_name_make_one_account(&accounts, &open().await).await;
    accounts.close().await;
    accounts.close().await;
    assert!(accounts.find(&user("alice")).await.is_err(), "closed is not \"nobody\"");
}

#[tokio::test]
async fn accounts_in_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users.db");
    check(|| async { Accounts::open(&path).await.unwrap() }).await;
}

#[tokio::test]
async fn accounts_in_postgresql() {
    let server = Postgres::start();
    let location = Location::parse(&server.url()).unwrap();
    check(|| in_database(&location)).await;
    server.query("UPDATE vestibule_users SET group_names = 'a b' WHERE folded = 'alice'");
    let accounts = in_database(&location).await;
    assert!(matches!(accounts.find(&user("alice")).await, Err(AccountsError::Damaged(..))));
    assert!(accounts.find(&user("bob")).await.unwrap().is_some(), "no other is harmed");
    assert!(accounts.list().await.unwrap().iter().all(|account| account.user != user("alice")));
}

#[tokio::test]
async fn accounts_in_mariadb() {
    let mut server = MariaDb::start();
    let location = Location::parse(&server.url()).unwrap();
    check(|| in_database(&location)).await;
    let accounts = in_database(&location).await;
    assert!(accounts.find(&user("bob")).await.unwrap().is_some());
    server.stop();
    assert!(matches!(accounts.find(&user("bob")).await, Err(AccountsError::Sql(_))), "down is no answer");
}

async fn in_database(location: &Location) -> Accounts {
    Accounts::at(&Place::Sql(location.clone()), None).await.unwrap()
}

async fn an_account_is_found_as_it_was_added(accounts: &Accounts) {
    accounts.add(&user("alice"), "hash".to_owned(), profile(&["wiki", "admin"]), NOW).await.unwrap();
    let found = accounts.find(&user("alice")).await.unwrap().unwrap();
    let expected = Account {
        user: user("alice"),
        groups: profile(&["admin", "wiki"]).groups,
        name: profile(&[]).name,
        email: profile(&[]).email,
        disabled: false,
        created: Some(NOW),
        last_login: None,
    };
    assert_eq!(found, expected);
    assert_eq!(accounts.list().await.unwrap(), [expected]);
    assert_eq!(accounts.find(&user("bob")).await.unwrap(), None);
    assert!(accounts.credentials(None).await.unwrap().is_none());
}

async fn a_name_in_other_case_is_the_same_account(accounts: &Accounts) {
    let refused = accounts.add(&user("ALICE"), "x".to_owned(), Profile::default(), NOW).await.unwrap_err();
    assert!(matches!(refused, AccountsError::Exists(_)), "{refused}");
    let found = accounts.credentials(Some(user("Alice"))).await.unwrap().unwrap();
    assert_eq!((found.account.user, found.hash.as_str()), (user("alice"), "hash"));
    assert_eq!(found.account.groups.len(), 2);
}

async fn names_that_look_alike_are_different_accounts(accounts: &Accounts) {
    for name in ["alice_", "alice*", "al_ce", "Bob"] {
        accounts.add(&user(name), name.to_owned(), Profile::default(), NOW).await.unwrap();
        let found = accounts.credentials(Some(user(name))).await.unwrap().unwrap();
        assert_eq!((found.account.user, found.hash), (user(name), name.to_owned()));
    }
    let names: Vec<String> =
        accounts.list().await.unwrap().iter().map(|account| account.user.to_string()).collect();
    assert_eq!(names.len(), 5);
    assert_eq!(names.last().map(String::as_str), Some("Bob"), "sorted whatever the case: {names:?}");
}

async fn every_change_is_seen_by_another_opening(accounts: &Accounts, other: &Accounts) {
    let alice = user("aliCe");
    accounts.set_password(&alice, "other".to_owned()).await.unwrap();
    accounts.set_profile(&alice, Profile { email: None, ..profile(&["ops"]) }).await.unwrap();
    for _ in 0..2 {
        accounts.disable(&alice).await.unwrap();
        accounts.record_login(&alice, NOW).await.unwrap();
    }
    let found = other.credentials(Some(alice.clone())).await.unwrap().unwrap();
    assert_eq!(found.hash, "other");
    assert_eq!(found.account.groups, profile(&["ops"]).groups);
    assert_eq!(
        (found.account.email, found.account.disabled, found.account.last_login),
        (None, true, Some(NOW))
    );
    other.enable(&alice).await.unwrap();
    assert!(!accounts.find(&alice).await.unwrap().unwrap().disabled);
}

async fn a_hash_is_renewed_unless_the_password_was_changed(accounts: &Accounts) {
    let alice = user("alice");
    for (from, to, stands) in [("never", "a", "other"), ("other", "b", "b"), ("b", "hash", "hash")] {
        accounts.renew_hash(alice.clone(), from.to_owned(), to.to_owned()).await.unwrap();
        assert_eq!(accounts.credentials(Some(alice.clone())).await.unwrap().unwrap().hash, stands);
    }
}

async fn a_change_to_nobody_says_so(accounts: &Accounts) {
    let nobody = user("nobody");
    let answers = [
        accounts.set_password(&nobody, "x".to_owned()).await,
        accounts.set_profile(&nobody, profile(&["wiki"])).await,
        accounts.disable(&nobody).await,
        accounts.enable(&nobody).await,
        accounts.remove(&nobody).await,
        accounts.record_login(&nobody, NOW).await,
    ];
    for answer in answers {
        assert!(matches!(answer, Err(AccountsError::Unknown(_))));
    }
}

async fn a_removed_account_leaves_nothing_to_the_next_of_that_name(accounts: &Accounts) {
    let alice = user("alice");
    accounts.remove(&alice).await.unwrap();
    assert_eq!(accounts.find(&alice).await.unwrap(), None);
    accounts.add(&alice, "new".to_owned(), Profile::default(), NOW).await.unwrap();
    let found = accounts.find(&alice).await.unwrap().unwrap();
    assert_eq!((found.groups, found.name, found.last_login), (Vec::new(), None, None));
}

async fn text_that_could_not_stand_in_a_header_is_refused(accounts: &Accounts) {
    for text in ["", "a\r\nX-User-Id: root", "a\0b", &"x".repeat(257)] {
        let bad = Profile { name: Some(text.to_owned()), ..Profile::default() };
        assert!(matches!(accounts.set_profile(&user("alice"), bad).await, Err(AccountsError::Text("name"))));
    }
}

async fn many_additions_of_one_name_make_one_account(accounts: &Accounts, other: &Accounts) {
    let add = |accounts: &Accounts| {
        let accounts = accounts.clone();
        async move { accounts.add(&user("carol"), "x".to_owned(), Profile::default(), NOW).await.is_ok() }
    };
    let added: [bool; 4] = tokio::join!(add(accounts), add(other), add(accounts), add(other)).into();
    assert_eq!(added.iter().filter(|added| **added).count(), 1);
}
