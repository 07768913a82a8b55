//! Heads that cannot be read, and what only looks like one.

use super::*;

// Early errors

#[test]
fn a_head_that_cannot_be_read_gets_our_answer_alone() {
    play(async {
        let house = House::open();
        let long = "x".repeat(100 << 10);
        let lines = "a: b\r\n".repeat(300);
        let early = &house.early;
        for (head, answer) in [
            ("GET / HTTP/1.1\r\nhost : a\r\n\r\n".to_owned(), &early.secure.bad_request),
            ("GET / HTTP/1.1\r\nhost: a\0b\r\n\r\n".to_owned(), &early.secure.bad_request),
            ("GET / HTTP/1.1\r\nhost: a\r\n b\r\n\r\n".to_owned(), &early.secure.bad_request),
            ("GET / HTTP/1.1\r\nhost: a\rb\r\n\r\n".to_owned(), &early.secure.bad_request),
            ("GET / HTTP/1.1\r\ncontent-length: +1\r\n\r\n".to_owned(), &early.secure.bad_request),
            ("GET / HTTP/1.1\r\ntransfer-encoding: gzip\r\n\r\n".to_owned(), &early.secure.bad_request),
            (
                "GET / HTTP/1.1\r\ncontent-length: 0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"
                    .to_owned(),
                &early.secure.bad_request,
            ),
            ("GET /a#b HTTP/1.1\r\n\r\n".to_owned(), &early.secure.bad_request),
            ("GET / HTTP/9.9\r\n\r\n".to_owned(), &early.secure.bad_request),
            ("\u{1}\u{2} what is this?\r\n\r\n".to_owned(), &early.secure.bad_request),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), &early.secure.bad_request),
            (format!("GET / HTTP/1.1\r\na: {long}\r\n\r\n"), &early.secure.header_too_large),
            (format!("GET / HTTP/1.1\r\n{lines}\r\n"), &early.secure.header_too_large),
            (format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(70 << 10)), &early.secure.uri_too_long),
        ] {
            let mut wire = house.ring().await;
            wire.say(&head).await;
            let begin: String = head.escape_debug().take(60).collect();
            assert_eq!(wire.rest().await.as_bytes(), answer, "{begin}");
        }
    });
}

#[test]
fn a_target_too_long_for_hyper_is_a_414_too() {
    play(async {
        let house = House::with(|config| config.limits.header_bytes = 1 << 20);
        let mut wire = house.ring().await;
        wire.say(format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(70 << 10))).await;
        assert_eq!(wire.rest().await.as_bytes(), house.early.secure.uri_too_long);
    });
}

#[test]
fn a_line_may_end_with_a_bare_line_feed() {
    play(async {
        let house = House::open();
        let mut wire = house.ring().await;
        wire.say("GET / HTTP/1.1\nhost: a.test\n\n").await;
        assert_eq!(wire.answer().await.1, "a.test");
    });
}

#[test]
fn a_good_request_is_answered_before_the_malformed_one_behind_it() {
    play(async {
        let house = House::open();
        for version in ["HTTP/1.1", "HTTP/1.0"] {
            let mut wire = house.ring().await;
            let good = format!("GET / {version}\r\nconnection: keep-alive, upgrade\r\nupgrade: x\r\n\r\n");
            wire.say(format!("{good}GET / HTTP/1.1\r\nbad : x\r\n\r\nGET / HTTP/1.1\r\n\r\n")).await;
            assert_eq!(wire.answer().await.1, "a.test");
            assert_eq!(wire.rest().await.as_bytes(), house.early.secure.bad_request, "{version}");
        }
    });
}

#[test]
fn a_malformed_request_behind_a_large_answer_spoils_nothing() {
    play(async {
        let house = House::open();
        for bad in ["bad\r\n\r\n", "GET /#", "GET / HTTP/1.1\r\nhost: a\r\nhost: a\r\n"] {
            let mut wire = house.ring().await;
            wire.say(format!("GET /big HTTP/1.1\r\n\r\n{bad}")).await;
            assert_eq!(wire.answer().await.1.len(), BIG);
            assert_eq!(wire.rest().await.as_bytes(), house.early.secure.bad_request, "{bad}");
        }
    });
}

#[test]
fn a_flaw_in_the_last_piece_of_a_head_is_found_too() {
    play(async {
        let house = House::open();
        let mut wire = house.ring().await;
        wire.get("/").await;
        for piece in ["GET / HTTP/1.1\r\nhost: a\r\nho", "st", ": a\r", "\n"] {
            wire.say(piece).await;
        }
        assert_eq!(wire.rest().await.as_bytes(), house.early.secure.bad_request);
    });
}

#[test]
fn a_response_that_looks_like_a_refusal_is_sent_at_once() {
    play(async {
        let house = House::open();
        let mut wire = house.ring().await;
        assert_eq!(wire.get("/tail").await.1, LIKE_HYPER);
        for _ in 0..2 {
            wire.say("GET /slow/missing HTTP/1.1\r\n\r\n").await;
            house.stage.entered().await;
            house.stage.leave();
            assert!(wire.answer().await.0.starts_with("HTTP/1.1 404 Not Found\r\n"));
        }
        wire.say("bad\r\n\r\n").await;
        assert_eq!(wire.rest().await.as_bytes(), house.early.secure.bad_request);
    });
}

#[test]
fn a_part_of_a_body_that_looks_like_a_refusal_is_sent_at_once() {
    play(async {
        let house = House::open();
        let mut wire = house.ring().await;
        wire.say("GET /in-two HTTP/1.1\r\n\r\n").await;
        wire.head().await;
        assert_eq!(wire.bytes(32).await, "1A\r\nHTTP/1.1 404 Not Found\r\n\r\n\r\n");
        house.stage.leave();
        assert_eq!(wire.bytes(5).await, "0\r\n\r\n");
        let (mut sender, _connection) = house.ring_http2().await;
        house.stage.leave();
        let response = sender.send_request(get("/in-two")).await.unwrap();
        assert_eq!(text(response).await, "HTTP/1.1 404 Not Found\r\n\r\n");
        assert_eq!(text(sender.send_request(get("/tail")).await.unwrap()).await, LIKE_HYPER);
    });
}
