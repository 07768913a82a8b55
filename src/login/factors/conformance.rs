//! What every store of factors must do, against SQLite, PostgreSQL and MariaDB: beside accounts, and for
//! accounts that people declare.

use tokio::task::JoinSet;

use super::*;
use crate::login::accounts::{Declared, Directory, Form, Place as AccountsPlace, Profile};
use crate::session::store::servers::mariadb::MariaDb;
use crate::session::store::servers::postgres::Postgres;

const NOW: Timestamp = Timestamp::from_millis(1_000);
const HOUR: Duration = Duration::from_hours(1);

/// Accounts and the store of their factors, as one of several gateways has them open.
struct Open {
    accounts: Accounts,
    store: Arc<dyn FactorStore>,
}

impl Open {
    async fn beside(accounts: &AccountsPlace) -> Self {
        Self::at(accounts, None, &Place::Sqlite("unused".into())).await
    }

    async fn declared(place: &Place) -> Self {
        let declared = Declared { form: Form::Toml, file: "users.toml".into(), groups: None };
        let directory = Directory::new(declared.clone());
        Self::at(&AccountsPlace::Declared(declared), Some(directory), place).await
    }

    async fn at(accounts: &AccountsPlace, directory: Option<Directory>, place: &Place) -> Self {
        let accounts = Accounts::at(accounts, directory).await.unwrap();
        let store = store_of(&accounts, place).await.unwrap();
        Self { accounts, store }
    }

    async fn with_people(self) -> Self {
        for name in ["alice", "bob", "Carol"] {
            self.accounts.add(&user(name), "hash".to_owned(), Profile::default(), NOW).await.unwrap();
        }
        self
    }

    async fn did(&self, change: Change) -> bool {
        self.store.change(change).await.unwrap()
    }

    async fn held(&self, name: &str) -> Held {
        self.store.of_user(user(name)).await.unwrap()
    }

    async fn close(&self) {
        self.store.close().await;
        self.accounts.close().await;
    }
}

#[tokio::test]
async fn factors_beside_accounts_in_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let place = AccountsPlace::Sqlite(folder.path().join("users.db"));
    let gateways = [Open::beside(&place).await.with_people().await, Open::beside(&place).await];
    what_holds_beside_accounts(&gateways).await;
    what_holds_everywhere(&gateways).await;
}

#[tokio::test]
async fn factors_of_declared_accounts_in_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let place = Place::Sqlite(folder.path().join("factors.db"));
    what_holds_everywhere(&[Open::declared(&place).await, Open::declared(&place).await]).await;
}

#[tokio::test]
async fn factors_in_postgresql() {
    let mut server = Postgres::start();
    in_database(Location::parse(&server.url()).unwrap(), |statement| drop(server.query(statement))).await;
    let gateway = Open::beside(&AccountsPlace::Sql(Location::parse(&server.url()).unwrap())).await;
    gateway.held("alice").await;
    server.stop();
    down_is_no_answer(&gateway).await;
}

#[tokio::test]
async fn factors_in_mariadb() {
    let mut server = MariaDb::start();
    in_database(Location::parse(&server.url()).unwrap(), |statement| drop(server.query(statement))).await;
    let gateway = Open::beside(&AccountsPlace::Sql(Location::parse(&server.url()).unwrap())).await;
    gateway.held("alice").await;
    server.stop();
    down_is_no_answer(&gateway).await;
}

/// Both kinds lie in one database: neither sees the other.
async fn in_database(location: Location, run: impl Fn(&str)) {
    let place = Place::Sql(location.clone());
    let declared = [Open::declared(&place).await, Open::declared(&place).await];
    let place = AccountsPlace::Sql(location);
    let beside = [Open::beside(&place).await.with_people().await, Open::beside(&place).await];
    what_holds_beside_accounts(&beside).await;
    assert!(beside[0].did(Change::Add(user("alice"), totp("left"))).await);
    assert_eq!(declared[0].held("alice").await, Held::default());
    what_holds_everywhere(&declared).await;
    let damaged = [Open::beside(&place).await, Open::beside(&place).await];
    a_damaged_factor_harms_its_own_user_only(&damaged[0], run).await;
    assert!(damaged[0].did(Change::RemoveAll(user("alice"))).await);
    what_holds_everywhere(&damaged).await;
}

async fn what_holds_everywhere(gateways: &[Open; 2]) {
    let [one, two] = gateways;
    a_factor_is_found_as_it_was_added(one, two).await;
    a_name_in_other_case_is_the_same_user(one).await;
    a_user_has_one_kind_of_codes_and_many_passkeys(one).await;
    a_credential_belongs_to_one_user(one, two).await;
    a_step_is_taken_once_by_all_gateways_together(gateways).await;
    a_recovery_code_is_spent_once_by_all_gateways_together(gateways).await;
    of_answers_of_a_passkey_at_once_one_is_taken(gateways).await;
    of_guesses_at_once_one_is_counted(gateways).await;
    new_codes_replace_all_others_even_at_the_same_moment(gateways).await;
    a_link_serves_once_and_the_newest_only(gateways).await;
    something_is_spent_once_until_it_is_worth_nothing(gateways).await;
    everything_of_a_user_goes_and_nothing_of_another(one).await;
    for gateway in gateways {
        gateway.close().await;
        gateway.close().await;
        assert!(gateway.store.of_user(user("alice")).await.is_err(), "closed is not \"none\"");
    }
}

async fn what_holds_beside_accounts([one, two]: &[Open; 2]) {
    let alice = user("alice");
    for change in [
        Change::Add(alice.clone(), totp("t")),
        Change::Add(alice.clone(), passkey("p", b"credential")),
        Change::SetCodes(alice.clone(), vec![code("abcd")]),
        Change::Guess(alice.clone(), Guesses::default(), NOW),
        Change::AddReset([1; 32], link("alice")),
    ] {
        assert!(one.did(change).await);
    }
    one.accounts.remove(&user("ALICE")).await.unwrap();
    assert_eq!(two.held("alice").await, Held::default());
    assert_eq!(two.store.by_credential(b"credential".to_vec()).await.unwrap(), None);
    assert_eq!(two.store.reset([1; 32]).await.unwrap(), None);
    for nobodys in [Change::Add(alice.clone(), totp("t")), Change::AddReset([1; 32], link("alice"))] {
        assert!(two.store.change(nobodys).await.is_err(), "a factor of nobody would be the next one's");
    }
    two.accounts.add(&alice, "hash".to_owned(), Profile::default(), NOW).await.unwrap();
    assert_eq!(two.held("alice").await, Held::default(), "the next of that name has nothing");
}

async fn a_factor_is_found_as_it_was_added(one: &Open, two: &Open) {
    let (codes, key) = (totp("one"), passkey("two", b"\0\xff key"));
    assert!(one.did(Change::Add(user("alice"), codes.clone())).await);
    assert!(one.did(Change::Add(user("alice"), key.clone())).await);
    let held = Held { rows: vec![codes.clone(), key.clone()], ..Held::default() };
    assert_eq!(two.held("alice").await, held);
    let found = two.store.by_credential(b"\0\xff key".to_vec()).await.unwrap();
    assert_eq!(found, Some((user("alice"), key.clone())));
    assert_eq!(two.held("bob").await, Held::default());
    let sealed = two.store.sealed().await.unwrap();
    let expected = [&codes, &key].map(|row| (user("alice"), row.id.clone(), row.sealed.clone()));
    assert!(sealed.len() == 2 && expected.iter().all(|one| sealed.contains(one)), "{sealed:?}");
}

async fn a_name_in_other_case_is_the_same_user(one: &Open) {
    assert_eq!(one.held("ALICE").await.rows.len(), 2);
    assert!(one.did(Change::Remove(user("Alice"), FactorId::named("two".to_owned()))).await);
    assert!(!one.did(Change::Remove(user("bob"), FactorId::named("one".to_owned()))).await);
    assert!(one.did(Change::Add(user("Carol"), passkey("carol", b"of carol"))).await);
    let (owner, _) = one.store.by_credential(b"of carol".to_vec()).await.unwrap().unwrap();
    assert_eq!(owner.as_str(), "Carol", "in the spelling of the account");
}

async fn a_user_has_one_kind_of_codes_and_many_passkeys(one: &Open) {
    assert!(one.did(Change::Add(user("alice"), totp("other"))).await);
    for number in 0..3 {
        assert!(one.did(Change::Add(user("alice"), passkey(&format!("p{number}"), &[number]))).await);
    }
    let ids: Vec<String> =
        one.held("alice").await.rows.into_iter().map(|row| row.id.as_str().to_owned()).collect();
    assert_eq!(ids, ["other", "p0", "p1", "p2"]);
}

async fn a_credential_belongs_to_one_user(one: &Open, two: &Open) {
    assert!(!two.did(Change::Add(user("bob"), passkey("stolen", &[1]))).await);
    assert!(!one.did(Change::Add(user("alice"), passkey("again", &[1]))).await);
    assert_eq!(two.held("bob").await, Held::default());
    let (owner, row) = one.store.by_credential(vec![1]).await.unwrap().unwrap();
    assert_eq!((owner, row.id.as_str()), (user("alice"), "p1"));
    let long = passkey("long", &[7; 1023]);
    assert!(one.did(Change::Add(user("bob"), long.clone())).await);
    assert_eq!(two.store.by_credential(vec![7; 1023]).await.unwrap(), Some((user("bob"), long)));
}

async fn a_step_is_taken_once_by_all_gateways_together(gateways: &[Open; 2]) {
    let take = |step| Change::TakeStep(FactorId::named("other".to_owned()), step, NOW + HOUR);
    assert_eq!(at_once(gateways, || take(70)).await, 1);
    assert_eq!(at_once(gateways, || take(70)).await, 0);
    assert_eq!(at_once(gateways, || take(69)).await, 0, "nor one of an earlier step");
    assert_eq!(at_once(gateways, || take(71)).await, 1);
    let row = gateways[1].held("alice").await.rows.remove(0);
    assert_eq!((row.last_step, row.last_used), (71, Some(NOW + HOUR)));
}

async fn a_recovery_code_is_spent_once_by_all_gateways_together(gateways: &[Open; 2]) {
    let codes = ["aaaa", "bbbb", "cccc"].map(code).to_vec();
    assert!(gateways[0].did(Change::SetCodes(user("alice"), codes.clone())).await);
    assert_eq!(gateways[1].held("alice").await.codes, codes);
    let spend = |name: &str, code: &CodeHash| Change::SpendCode(user(name), code.clone());
    assert_eq!(at_once(gateways, || spend("bob", &codes[1])).await, 0);
    assert_eq!(at_once(gateways, || spend("alice", &codes[1])).await, 1);
    assert_eq!(at_once(gateways, || spend("alice", &codes[1])).await, 0);
    assert_eq!(gateways[1].held("alice").await.codes, [codes[0].clone(), codes[2].clone()]);
}

/// Each answer has counted on from the same counter.
async fn of_answers_of_a_passkey_at_once_one_is_taken(gateways: &[Open; 2]) {
    let (id, from) = (FactorId::named("p0".to_owned()), passkey("p0", &[0]).sealed);
    let reseal = |from: &[u8], used| {
        let to = [from, b"+"].concat();
        Change::Reseal { id: id.clone(), from: from.to_vec(), to, used }
    };
    assert_eq!(at_once(gateways, || reseal(&from, Some(NOW + HOUR))).await, 1);
    assert_eq!(at_once(gateways, || reseal(&from, Some(NOW + HOUR))).await, 0, "its counter went back");
    let taken = [from.as_slice(), b"+"].concat();
    assert_eq!(at_once(gateways, || reseal(&taken, None)).await, 1);
    let row = gateways[1].held("alice").await.rows.remove(1);
    assert_eq!((row.sealed, row.last_used), ([taken.as_slice(), b"+"].concat(), Some(NOW + HOUR)));
}

async fn of_guesses_at_once_one_is_counted(gateways: &[Open; 2]) {
    let mut before = Guesses::default();
    for count in 1..4 {
        let now = NOW + HOUR * count;
        assert_eq!(at_once(gateways, || Change::Guess(user("alice"), before, now)).await, 1);
        before = gateways[1].held("alice").await.guesses;
        assert_eq!(before, Guesses { count, last: now });
    }
    assert_eq!(gateways[0].held("bob").await.guesses, Guesses::default());
    gateways[0].did(Change::Right(user("alice"))).await;
    assert_eq!(gateways[1].held("alice").await.guesses, Guesses::default());
}

async fn new_codes_replace_all_others_even_at_the_same_moment(gateways: &[Open; 2]) {
    let set = || Change::SetCodes(user("alice"), (0..10).map(|_| code(&random())).collect());
    assert_eq!(at_once(gateways, set).await, TASKS);
    assert_eq!(gateways[0].held("alice").await.codes.len(), 10);
}

async fn a_link_serves_once_and_the_newest_only(gateways: &[Open; 2]) {
    let [one, two] = gateways;
    assert!(one.did(Change::AddReset([1; 32], link("alice"))).await);
    assert!(two.did(Change::AddReset([2; 32], Reset { factors: AfterReset::Kept, ..link("alice") })).await);
    assert!(one.did(Change::AddReset([3; 32], link("bob"))).await);
    assert_eq!(two.store.reset([1; 32]).await.unwrap(), None);
    let newest = one.store.reset([2; 32]).await.unwrap();
    assert_eq!(newest, Some(Reset { factors: AfterReset::Kept, ..link("alice") }));
    assert_eq!(at_once(gateways, || Change::SpendReset([2; 32])).await, 1);
    assert_eq!(two.store.reset([2; 32]).await.unwrap(), None);
    assert_eq!(two.store.reset([3; 32]).await.unwrap(), Some(link("bob")));
}

async fn something_is_spent_once_until_it_is_worth_nothing(gateways: &[Open; 2]) {
    let spend = |now| Change::SpendOnce { hash: [9; 32], until: NOW + HOUR, now };
    assert_eq!(at_once(gateways, || spend(NOW)).await, 1);
    assert_eq!(at_once(gateways, || spend(NOW + HOUR)).await, 0);
    assert!(gateways[0].did(spend(NOW + HOUR * 2)).await, "forgotten");
}

async fn everything_of_a_user_goes_and_nothing_of_another(one: &Open) {
    let before = one.held("bob").await;
    assert!(one.did(Change::RemoveAll(user("alice"))).await);
    assert_eq!(one.held("alice").await, Held::default());
    assert_eq!(one.held("bob").await, before);
}

async fn a_damaged_factor_harms_its_own_user_only(gateway: &Open, run: impl Fn(&str)) {
    run("UPDATE vestibule_factors SET kind = 'rune' WHERE folded = 'alice'");
    let error = gateway.store.of_user(user("alice")).await.unwrap_err();
    assert!(matches!(&error, AccountsError::Damaged(name, _) if name == "alice"), "{error}");
    assert_eq!(gateway.held("bob").await, Held::default());
}

async fn down_is_no_answer(gateway: &Open) {
    assert!(matches!(gateway.store.of_user(user("alice")).await, Err(AccountsError::Sql(_))));
    let guess = Change::Guess(user("alice"), Guesses::default(), NOW);
    assert!(matches!(gateway.store.change(guess).await, Err(AccountsError::Sql(_))));
}

/// Asks both gateways for the same change, from several tasks at the same moment; how often it took place.
async fn at_once(gateways: &[Open; 2], change: impl Fn() -> Change) -> usize {
    let mut tasks = JoinSet::new();
    for number in 0..TASKS {
        let (store, change) = (Arc::clone(&gateways[number % 2].store), change());
        tasks.spawn(async move { store.change(change).await.unwrap() });
    }
    tasks.join_all().await.into_iter().filter(|done| *done).count()
}

fn user(name: &str) -> UserId {
    UserId::try_from(name).unwrap()
}

fn totp(id: &str) -> Row {
    Row {
        id: FactorId::named(id.to_owned()),
        kind: Kind::Totp,
        name: String::new(),
        sealed: vec![0, 0xff, b'\'', 1],
        credential: None,
        last_step: 7,
        created: NOW,
        last_used: Some(NOW),
    }
}

/// Younger than the codes.
fn passkey(id: &str, credential: &[u8]) -> Row {
    Row {
        kind: Kind::Passkey,
        name: "Schlüssel \u{1f511}".to_owned(),
        sealed: vec![2; 3000],
        credential: Some((credential.to_vec(), "wiki.example.com".to_owned())),
        last_step: 0,
        created: NOW + HOUR,
        last_used: None,
        ..totp(id)
    }
}

fn code(label: &str) -> CodeHash {
    CodeHash { label: label.to_owned(), phc: format!("$argon2id${label}") }
}

fn link(name: &str) -> Reset {
    Reset { user: user(name), expires: NOW + HOUR, factors: AfterReset::Removed }
}

fn random() -> String {
    FactorId::generate().unwrap().as_str().chars().take(8).collect()
}

const TASKS: usize = 8;
