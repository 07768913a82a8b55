//! Who is waited for, and for how long.

use super::*;

// Deadlines

#[test]
fn a_head_that_does_not_become_complete_gets_a_408() {
    play(async {
        let house = House::with(|config| config.limits.request_head = SHORT);
        let mut wire = house.ring().await;
        wire.say("GET / HTTP/1.1\r\nho").await;
        assert_eq!(wire.rest().await.as_bytes(), house.early.secure.timeout);
    });
}

#[test]
fn the_second_head_has_a_deadline_too() {
    play(async {
        let house = House::with(|config| config.limits.request_head = SHORT);
        let mut wire = house.ring().await;
        wire.say("GET / HTTP/1.1\r\n\r\n").await;
        wire.answer().await;
        wire.say("GET / HTTP/1.1\r\nho").await;
        assert_eq!(wire.rest().await.as_bytes(), house.early.secure.timeout);
    });
}

#[test]
fn an_unused_connection_just_ends() {
    play(async {
        let house = House::with(|config| config.limits.request_head = SHORT);
        assert_eq!(house.ring().await.rest().await, "");
    });
}

#[test]
fn an_idle_connection_just_ends() {
    play(async {
        let house = House::with(|config| config.limits.keep_alive = SHORT);
        let mut wire = house.ring().await;
        wire.get("/").await;
        assert_eq!(wire.rest().await, "");
        let (mut sender, connection) = house.ring_http2().await;
        sender.send_request(get("/")).await.unwrap();
        assert!(connection.await.unwrap().is_ok());
    });
}

#[test]
fn http_2_stays_between_requests_for_longer_than_a_head_may_take() {
    play(async {
        let house = House::with(|config| config.limits.request_head = SHORT);
        let (mut sender, _connection) = house.ring_http2().await;
        assert_eq!(text(sender.send_request(get("/tail")).await.unwrap()).await, LIKE_HYPER);
        // Somebody else's deadline passes.
        let mut slow = house.ring().await;
        slow.say("GET").await;
        slow.rest().await;
        assert_eq!(text(sender.send_request(get("/")).await.unwrap()).await, "a.test");
    });
}

#[test]
fn a_client_that_takes_no_bytes_is_left() {
    play(async {
        let house = House::with(|config| config.limits.body_stall = SHORT);
        let mut wire = house.ring().await;
        wire.say("GET /big HTTP/1.1\r\n\r\n").await;
        wire.head().await;
        until(|| house.server.gauges().active_connections() == 0).await;
    });
}

#[test]
fn a_handshake_that_does_not_end_is_cut() {
    play(async {
        let house = House::with(|config| config.limits.handshake = SHORT);
        let mut silent = TcpStream::connect(house.server.https_addresses()[0]).await.unwrap();
        assert_eq!(silent.read(&mut [0; 1]).await.unwrap(), 0);
        until(|| house.server.gauges().handshakes_failed() == 1).await;
    });
}
