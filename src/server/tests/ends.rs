//! The end of a server: what may finish, and what is cut.

use super::*;

// The end

#[test]
fn idle_connections_end_at_once_and_new_ones_are_refused() {
    play(async {
        let house = House::open();
        let (tls, clear) = (house.server.https_addresses()[0], house.server.http_addresses()[0]);
        let (fresh, mut used) = (house.ring().await, house.ring().await);
        used.get("/").await;
        let (mut sender, http2) = house.ring_http2().await;
        sender.send_request(get("/")).await.unwrap();
        let mut unused = TcpStream::connect(clear).await.unwrap();
        let mut hesitant = TcpStream::connect(tls).await.unwrap();
        until(|| house.server.gauges().accepted() == 5).await;
        let ends = async {
            assert_eq!((fresh.rest().await, used.rest().await), (String::new(), String::new()));
            assert_eq!(unused.read(&mut [0; 1]).await.unwrap(), 0);
            assert_eq!(hesitant.read(&mut [0; 1]).await.unwrap_or(0), 0);
            assert!(http2.await.unwrap().is_ok());
            drop((unused, hesitant));
        };
        let (drained, ()) = tokio::join!(house.server.drain(LONG), ends);
        assert_eq!(drained, Drained::default());
        for address in [tls, clear] {
            assert!(TcpStream::connect(address).await.is_err(), "{address}");
        }
    });
}

#[test]
fn a_request_under_way_is_finished_before_the_end() {
    play(async {
        let house = House::open();
        let (idle, mut wire) = (house.ring().await, house.ring().await);
        let (mut sender, http2) = house.ring_http2().await;
        wire.say("GET /slow HTTP/1.1\r\n\r\n").await;
        let response = tokio::spawn(sender.send_request(get("/slow")));
        house.stage.entered().await;
        house.stage.entered().await;
        let stage = Arc::clone(&house.stage);
        let ends = async {
            assert_eq!(idle.rest().await, "");
            stage.leave();
            stage.leave();
            let (head, body) = wire.answer().await;
            assert!(head.contains("\r\nconnection: close\r\n") && body == "slow", "{head}{body}");
            assert_eq!(wire.rest().await, "");
            assert_eq!(text(response.await.unwrap().unwrap()).await, "slow");
            assert!(http2.await.unwrap().is_ok());
        };
        let (drained, ()) = tokio::join!(house.server.drain(LONG), ends);
        assert_eq!(drained, Drained::default());
    });
}

#[test]
fn a_response_that_is_not_taken_yet_is_complete_at_the_end() {
    play(async {
        let house = House::open();
        let (idle, mut wire) = (house.ring().await, house.ring().await);
        wire.say("GET /big HTTP/1.1\r\nconnection: close\r\n\r\n").await;
        wire.head().await;
        let ends = async {
            assert_eq!(idle.rest().await, "");
            assert_eq!(wire.rest().await.len(), BIG);
        };
        let (drained, ()) = tokio::join!(house.server.drain(LONG), ends);
        assert_eq!(drained, Drained::default());
    });
}

#[test]
fn what_is_left_at_the_deadline_is_cut_and_counted() {
    play(async {
        let house = House::with(|config| config.workers = 2);
        let mut tunnel = switch(&house, "hello").await;
        assert_eq!(tunnel.bytes(5).await, "hello");
        let mut wire = house.ring().await;
        wire.say("GET /slow HTTP/1.1\r\n\r\n").await;
        let (mut sender, _http2) = house.ring_http2().await;
        let response = tokio::spawn(sender.send_request(get("/slow")));
        house.stage.entered().await;
        house.stage.entered().await;
        let drained = house.server.drain(SHORT).await;
        assert_eq!(drained, Drained { cut_requests: 2, cut_tunnels: 1 });
        assert!(tunnel.ends().await && wire.ends().await && response.await.unwrap().is_err());
    });
}

#[test]
fn a_server_that_is_dropped_ends() {
    play(async {
        let house = House::open();
        let mut wire = house.ring().await;
        wire.say("GET /slow HTTP/1.1\r\n\r\n").await;
        house.stage.entered().await;
        let gauges = house.server.gauges();
        drop(house);
        assert!(wire.ends().await);
        until(|| gauges.active_connections() == 0).await;
    });
}
