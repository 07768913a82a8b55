//! Forms in every place where they may lie, with two gateways where these meet.

use http::HeaderMap;

use super::*;
use crate::identity::UserId;
use crate::session::store::servers::mariadb::MariaDb;
use crate::session::store::servers::postgres::Postgres;
use crate::session::store::servers::redis::{Cluster, Redis};
use crate::storage::{redis, sql};

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

fn form(size: usize) -> KeptForm {
    let content_type = "application/x-www-form-urlencoded".to_owned();
    KeptForm { target: "/a?b=c".to_owned(), content_type, body: vec![b'\n'; size] }
}

/// Somebody in a browser of their own.
fn somebody(name: &str, ring: &KeyRing) -> Browser {
    Browser::of(&HeaderMap::new(), ring, &UserId::try_from(name).unwrap()).unwrap()
}

fn sql_at(url: &str) -> Meeting {
    Meeting::Sql(sql::Location::parse(url).unwrap())
}

async fn look(forms: &Forms, name: &str, owner: &Browser, ring: &KeyRing) -> Option<KeptForm> {
    forms.hand_out(name, owner, ring, NOW, Then::Stays).await.unwrap()
}

async fn take(forms: &Forms, name: &str, owner: &Browser, ring: &KeyRing) -> Option<KeptForm> {
    forms.hand_out(name, owner, ring, NOW, Then::Goes).await.unwrap()
}

#[tokio::test]
async fn in_memory_a_form_is_for_its_owner_once_and_for_its_time() {
    let forms = Forms::here();
    is_for_its_owner_once_and_for_its_time(&forms, &forms).await;
    the_oldest_of_a_user_make_room(&forms, &forms).await;
}

#[tokio::test]
async fn in_redis_a_form_is_for_its_owner_once_at_whichever_gateway() {
    let server = Redis::start();
    at_two_gateways(&Meeting::Redis(redis::Location::parse(&server.url()).unwrap())).await;
    let ttl: i64 = server.command(["PTTL", "vestibule:{forms}:ends"]).trim().parse().unwrap();
    assert!(ttl > 0, "they expire with the last form: {ttl}");
}

#[tokio::test]
async fn in_a_cluster_of_redis_a_form_is_for_its_owner_once_at_whichever_gateway() {
    let cluster = Cluster::start();
    at_two_gateways(&Meeting::Redis(redis::Location::parse(&cluster.url()).unwrap())).await;
}

#[tokio::test]
async fn in_postgresql_a_form_is_for_its_owner_once_at_whichever_gateway() {
    let server = Postgres::start();
    at_two_gateways(&sql_at(&server.url())).await;
}

#[tokio::test]
async fn in_mariadb_a_form_is_for_its_owner_once_at_whichever_gateway() {
    let server = MariaDb::start();
    at_two_gateways(&sql_at(&server.url())).await;
}

#[tokio::test]
async fn while_the_place_is_down_a_form_stays_here_and_nobody_says_that_another_is_gone() {
    let (mut server, ring) = (Postgres::start(), KeyRing::generate(NOW));
    let (one, two) = (Forms::at(&sql_at(&server.url())).await, Forms::at(&sql_at(&server.url())).await);
    let alice = somebody("alice", &ring);
    let before = one.keep(&form(5), &alice, &ring, NOW).await.unwrap();
    server.stop();
    let here = one.keep(&form(6), &alice, &ring, NOW).await.unwrap();
    assert_eq!(look(&one, &here, &alice, &ring).await, Some(form(6)));
    for (forms, name) in [(&one, &before), (&two, &here)] {
        assert!(forms.hand_out(name, &alice, &ring, NOW, Then::Goes).await.is_err());
    }
    server.start_again();
    assert_eq!(take(&two, &before, &alice, &ring).await, Some(form(5)));
    assert_eq!(take(&one, &here, &alice, &ring).await, Some(form(6)));
}

async fn at_two_gateways(meeting: &Meeting) {
    let (one, two) = (Forms::at(meeting).await, Forms::at(meeting).await);
    is_for_its_owner_once_and_for_its_time(&one, &two).await;
    the_oldest_of_a_user_make_room(&one, &two).await;
    is_taken_by_one_of_many_at_once(&one, &two).await;
    let ring = KeyRing::generate(NOW);
    let dora = somebody("dora", &ring);
    let name = one.keep(&form(256 * 1024), &dora, &ring, NOW).await.unwrap();
    one.close().await;
    assert!(look(&two, &name, &dora, &ring).await == Some(form(256 * 1024)), "it outlives its gateway");
}

async fn is_for_its_owner_once_and_for_its_time(one: &Forms, two: &Forms) {
    let ring = KeyRing::generate(NOW);
    let (owner, elsewhere) = (somebody("alice", &ring), somebody("alice", &ring));
    let headers = HeaderMap::from_iter([(http::header::COOKIE, owner.to_cookie(&ring).unwrap())]);
    let bob = Browser::of(&headers, &ring, &UserId::try_from("bob").unwrap()).unwrap();
    assert_eq!(bob.id(), owner.id(), "the same browser");
    let name = one.keep(&form(5), &owner, &ring, NOW).await.unwrap();
    for other in [&elsewhere, &bob] {
        assert_eq!(take(two, &name, other, &ring).await, None);
    }
    assert_eq!(take(two, &name, &owner, &KeyRing::generate(NOW)).await, None);
    for odd in ["", "x", "AAAAAAAAAAAAAAAAAAAAAA", &format!("{name}A")] {
        assert_eq!(take(two, odd, &owner, &ring).await, None);
    }
    assert_eq!(look(two, &name, &owner, &ring).await, Some(form(5)));
    assert_eq!(look(one, &name, &owner, &ring).await, Some(form(5)));
    assert_eq!(take(two, &name, &owner, &ring).await, Some(form(5)));
    assert_eq!(take(one, &name, &owner, &ring).await, None);
    let name = one.keep(&form(5), &owner, &ring, NOW).await.unwrap();
    let late = two.hand_out(&name, &owner, &ring, NOW + LIFETIME, Then::Stays).await;
    assert_eq!(late, Ok(None));
}

async fn the_oldest_of_a_user_make_room(one: &Forms, two: &Forms) {
    let ring = KeyRing::generate(NOW);
    let (alice, bob) = (somebody("alice", &ring), somebody("bob", &ring));
    let bobs = one.keep(&form(3), &bob, &ring, NOW).await.unwrap();
    let mut names = Vec::new();
    for number in 0..MANY {
        let now = NOW + Duration::from_millis(number);
        names.push(one.keep(&form(3), &alice, &ring, now).await.unwrap());
    }
    let mut there = 0;
    for name in &names {
        there += usize::from(look(two, name, &alice, &ring).await.is_some());
    }
    assert_eq!(there, bounds::PER_USER);
    assert_eq!(look(two, &names[0], &alice, &ring).await, None, "the oldest");
    assert_eq!(look(two, &bobs, &bob, &ring).await, Some(form(3)));
}

async fn is_taken_by_one_of_many_at_once(one: &Forms, two: &Forms) {
    let ring = KeyRing::generate(NOW);
    let carol = somebody("carol", &ring);
    for _ in 0..10 {
        let name = one.keep(&form(9), &carol, &ring, NOW).await.unwrap();
        let taken = tokio::join!(
            take(one, &name, &carol, &ring),
            take(two, &name, &carol, &ring),
            take(one, &name, &carol, &ring),
            take(two, &name, &carol, &ring),
        );
        let taken: [Option<KeptForm>; 4] = taken.into();
        assert_eq!(taken.iter().flatten().count(), 1);
    }
}

const MANY: u64 = 20;
