//! What the engine does by itself: activity that is stored, sessions that are swept.

use super::*;

#[tokio::test]
async fn activity_reaches_the_store_in_a_batch_and_survives_its_failure() {
    let bench = Bench::new();
    let (token, session) = bench.login("alice").await;
    bench.hand.advance(minutes(10));
    for _ in 0..3 {
        assert_eq!(bench.state(&token).await, "live");
    }
    bench.store.set_broken(true);
    assert!(bench.engine.shared.flush().await.is_err());
    bench.store.set_broken(false);
    assert_eq!(bench.engine.shared.touched.lock().unwrap().len(), 1);
    bench.engine.shared.flush().await.unwrap();
    let row = bench.store.row(session.id()).await.unwrap();
    assert_eq!(row.last_seen, session.last_seen());
    assert_eq!(row.expires_at, session.last_seen() + minutes(30));
}

#[tokio::test]
async fn a_session_that_leaves_memory_before_the_flush_keeps_its_last_activity() {
    let bench = Bench::new();
    let (token, _) = bench.login("alice").await;
    bench.hand.advance(minutes(20));
    assert_eq!(bench.state(&token).await, "live");
    bench.engine.stop().await; // another process takes over: the same as an eviction here
    bench.hand.advance(minutes(20));
    assert_eq!(state(&bench.restarted(), &token).await, "live");
}

#[tokio::test]
async fn the_sweep_removes_what_expired_and_nothing_that_lives() {
    let bench = Bench::new();
    let (abandoned, _) = bench.login("alice").await;
    let (used, _) = bench.login("bob").await;
    let (remembered, _) = bench.login_for("carol", Remember::Yes).await;
    bench.hand.advance(minutes(20));
    assert_eq!(bench.state(&used).await, "live");
    bench.hand.advance(minutes(20));
    bench.engine.shared.sweep().await.unwrap();
    assert!(bench.store.row(abandoned.token.session()).await.is_none());
    assert_eq!(bench.lines.count(EventKind::SessionExpired), 1);
    assert_eq!([bench.state(&used).await, bench.state(&remembered).await], ["live", "live"]);
    assert_eq!(bench.state(&abandoned).await, "gone");
}

#[tokio::test]
async fn the_sweep_goes_by_the_present_policy() {
    let bench = Bench::new();
    let (token, _) = bench.login("alice").await;
    let mut patient = Policy::plain();
    patient.lifetimes.idle = minutes(90);
    bench.engine.reload(patient, bench.engine.ring());
    bench.hand.advance(minutes(60));
    bench.engine.shared.sweep().await.unwrap();
    assert_eq!(bench.state(&token).await, "live");
}

#[tokio::test]
async fn more_than_one_batch_is_swept_in_one_go() {
    let bench = Bench::new();
    for _ in 0..1_100 {
        bench.login("alice").await;
    }
    bench.hand.advance(minutes(60));
    bench.engine.shared.sweep().await.unwrap();
    assert_eq!(bench.lines.count(EventKind::SessionExpired), 1_100);
    assert_eq!(bench.engine.swept(), 1_100);
    let left = bench.store.0.inner.of_user(UserId::try_from("alice").unwrap()).await.unwrap();
    assert_eq!(left, Vec::new());
}

#[tokio::test]
async fn a_stop_does_not_wait_for_the_end_of_a_sweep() {
    let bench = Bench::new();
    let (token, _) = bench.login("alice").await;
    bench.hand.advance(minutes(60));
    bench.engine.shared.stop.send_replace(true);
    bench.engine.shared.sweep().await.unwrap();
    assert!(bench.store.row(token.token.session()).await.is_some());
    assert_eq!(bench.engine.swept(), 0);
}
