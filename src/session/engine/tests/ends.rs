//! Logouts and other ends: at once, for good, and against whatever happens at the same moment.

use tokio::task::JoinHandle;

use super::*;

/// A read of the session that has reached the store, which keeps it.
async fn held_read(bench: &Bench, engine: &Engine, ticket: &Ticket) -> JoinHandle<&'static str> {
    bench.store.0.held.store(true, Ordering::SeqCst);
    let (engine, ticket) = (engine.clone(), ticket.clone());
    let reader = tokio::spawn(async move { state(&engine, &ticket).await });
    bench.store.0.arrived.notified().await;
    reader
}

#[tokio::test]
async fn a_logout_while_the_store_is_read_is_not_undone_by_that_read() {
    let bench = Bench::new();
    let (token, _) = bench.login("alice").await;
    let engine = bench.restarted();
    let reader = held_read(&bench, &engine, &token).await;
    assert_eq!(engine.end_by_id(token.token.session(), EndReason::Revoked).await, Ok(1));
    bench.store.0.release.notify_one();
    assert_eq!(reader.await.unwrap(), "gone", "the read that was under way");
    assert_eq!(state(&engine, &token).await, "gone", "and every later one");
    assert_eq!(bench.lines.count(EventKind::SessionRevoked), 1);
}

#[tokio::test]
async fn an_end_of_a_user_while_the_store_is_read_is_not_undone_either() {
    let bench = Bench::new();
    let (token, session) = bench.login("alice").await;
    let engine = bench.restarted();
    let reader = held_read(&bench, &engine, &token).await;
    assert_eq!(engine.end_user(&session.identity().user, EndReason::AccountDisabled).await, Ok(1));
    bench.store.0.release.notify_one();
    assert_eq!(reader.await.unwrap(), "gone");
    assert_eq!(state(&engine, &token).await, "gone");
}

#[tokio::test]
async fn a_logout_that_the_store_did_not_take_holds_here_and_is_tried_again() {
    let bench = Bench::new();
    let (token, session) = bench.login("alice").await;
    bench.store.set_broken(true);
    assert!(bench.engine.end(&session, EndReason::Logout).await.is_err());
    assert_eq!(bench.state(&token).await, "gone");
    bench.store.set_broken(false);
    assert!(bench.store.row(token.token.session()).await.is_some());
    assert_eq!(bench.state(&token).await, "gone", "the row is still there");
    bench.engine.shared.flush().await.unwrap();
    assert!(bench.store.row(token.token.session()).await.is_none());
    assert!(bench.engine.shared.cache.buried() == (vec![], vec![]));
    assert_eq!(bench.lines.count(EventKind::SessionEnded), 1);
}

#[tokio::test]
async fn ending_twice_is_no_error_and_one_line() {
    let bench = Bench::new();
    let (token, session) = bench.login("alice").await;
    bench.engine.end(&session, EndReason::Logout).await.unwrap();
    bench.engine.end(&session, EndReason::Logout).await.unwrap();
    assert_eq!(bench.engine.end_by_id(token.token.session(), EndReason::Revoked).await, Ok(0));
    assert_eq!(bench.lines.count(EventKind::SessionEnded), 1);
    assert_eq!(bench.lines.count(EventKind::SessionRevoked), 0);
}

#[tokio::test]
async fn ending_a_user_ends_all_their_sessions_and_nobody_elses() {
    let bench = Bench::new();
    let (one, session) = bench.login("alice").await;
    let (two, _) = bench.login("alice").await;
    let (other, _) = bench.login("bob").await;
    let ended = bench.engine.end_user(&session.identity().user, EndReason::AccountDisabled).await;
    assert_eq!(ended, Ok(2));
    assert_eq!([bench.state(&one).await, bench.state(&two).await], ["gone", "gone"]);
    assert_eq!(bench.state(&other).await, "live");
    assert_eq!(bench.lines.count(EventKind::SessionRevoked), 2);
    let users: Vec<_> = bench.engine.users().await.unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(users, ["bob"]);
}
