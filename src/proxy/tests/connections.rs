//! Connections to a backend: how many there are, how often they are used, and when they die.

use super::*;

#[test]
fn one_connection_serves_one_request_after_the_other() {
    play(async {
        let backend = Backend::start(async |mut socket, _| {
            while read_head(&mut socket).await.is_some() {
                say(&mut socket, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
            }
        })
        .await;
        let gateway = Gateway::before(&[&backend]).await;
        for _ in 0..5 {
            assert!(gateway.get("/").await.ends_with("\r\n\r\nok"));
        }
        assert_eq!((backend.connections(), gateway.pools.idle_connections()), (1, 1));
        gateway.pools.retain(&[]);
        assert_eq!(gateway.pools.idle_connections(), 0);
    });
}

#[test]
fn a_get_is_sent_again_when_a_kept_connection_dies() {
    play(async {
        let backend = Backend::start(dies_at_the_second_request).await;
        let gateway = Gateway::before(&[&backend]).await;
        assert!(gateway.get("/first").await.ends_with("GET /first"));
        assert!(gateway.get("/second").await.ends_with("GET /second"));
        assert_eq!(backend.connections(), 2);
    });
}

#[test]
fn what_a_backend_says_unasked_is_no_answer() {
    play(async {
        let (heard, said) = (Rc::new(Notify::new()), Rc::new(Notify::new()));
        let (go_on, tell) = (Rc::clone(&heard), Rc::clone(&said));
        let backend = Backend::start(async move |mut socket, number| {
            while read_head(&mut socket).await.is_some() {
                say(&mut socket, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
                if number == 0 {
                    go_on.notified().await;
                    say(&mut socket, "HTTP/1.1 408 Late\r\ncontent-length: 4\r\n\r\nlate").await;
                    tell.notify_one();
                }
            }
        })
        .await;
        let gateway = Gateway::before(&[&backend]).await;
        assert!(gateway.get("/").await.ends_with("\r\n\r\nok"));
        assert_eq!(gateway.pools.idle_connections(), 1);
        heard.notify_one();
        said.notified().await;
        let post = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        assert!(gateway.ask(post).await.ends_with("\r\n\r\nok"));
        assert_eq!(backend.connections(), 2);
    });
}

#[test]
fn a_post_reaches_the_backend_at_most_once() {
    play(async {
        let backend = Backend::start(dies_at_the_second_request).await;
        let gateway = Gateway::before(&[&backend]).await;
        gateway.get("/first").await;
        let post = "POST /pay HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\nconnection: close\r\n\r\nx";
        assert_eq!(failure(&gateway.ask(post).await), "BadResponse");
        assert_eq!(backend.connections(), 1);
    });
}

#[test]
fn however_many_connections_died_a_post_finds_a_living_one() {
    const DEAD: usize = 150;
    play(async {
        let (all_there, all_gone) = (Rc::new(Notify::new()), Rc::new(Cell::new(0)));
        let (arrived, closed) = (Rc::new(Cell::new(0)), Rc::clone(&all_gone));
        let backend = Backend::start(async move |mut socket, number| {
            read_head(&mut socket).await;
            arrived.set(arrived.get() + 1);
            if arrived.get() == DEAD {
                all_there.notify_waiters();
            } else if number < DEAD {
                all_there.notified().await;
            }
            say(&mut socket, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
            drop(socket);
            closed.set(closed.get() + 1);
        })
        .await;
        let gateway = Gateway::with(&[&backend], |config| config.max_connections = DEAD + 1).await;
        let visits: Vec<_> = (0..DEAD).map(|_| spawn_local(gateway.get("/"))).collect();
        for visit in visits {
            assert!(visit.await.unwrap().ends_with("ok"));
        }
        while all_gone.get() < DEAD {
            tokio::task::yield_now().await;
        }
        let post = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\nconnection: close\r\n\r\nx";
        assert!(gateway.ask(post).await.ends_with("ok"));
        assert_eq!(backend.connections(), DEAD + 1);
    });
}

#[test]
fn a_get_that_kills_a_fresh_connection_is_not_sent_again() {
    play(async {
        let backend = Backend::start(async |mut socket, _| drop(read_head(&mut socket).await)).await;
        let gateway = Gateway::before(&[&backend]).await;
        assert_eq!(failure(&gateway.get("/").await), "BadResponse");
        assert_eq!(backend.connections(), 1);
    });
}

#[test]
fn requests_beyond_the_cap_wait_for_a_connection() {
    play(async {
        let backend = Backend::start(async |mut socket, _| {
            while read_head(&mut socket).await.is_some() {
                say(&mut socket, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
            }
        })
        .await;
        let gateway = Gateway::with(&[&backend], |config| config.max_connections = 1).await;
        let (a, b, c) = tokio::join!(gateway.get("/a"), gateway.get("/b"), gateway.get("/c"));
        assert!([a, b, c].iter().all(|answer| answer.starts_with("HTTP/1.1 200")));
        assert_eq!((backend.connections(), gateway.upstream.connections()), (1, 1));
        assert_eq!(gateway.upstream.waiting(), 0);
    });
}

#[test]
fn a_request_that_finds_no_connection_in_time_is_turned_away() {
    play(async {
        let backend = Backend::start(async |mut socket, _| {
            read_head(&mut socket).await;
            std::future::pending::<()>().await;
        })
        .await;
        let gateway = Gateway::with(&[&backend], |config| {
            config.max_connections = 1;
            config.connect_timeout = SHORT;
        })
        .await;
        let held = spawn_local(gateway.clone().get("/held"));
        while backend.connections() == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(failure(&gateway.get("/late").await), "TooManyConnections");
        held.abort();
    });
}

#[test]
fn a_worker_gets_the_slot_of_another_worker_s_idle_connection() {
    play(async {
        let backend = Backend::start(async |mut socket, _| {
            while read_head(&mut socket).await.is_some() {
                say(&mut socket, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
            }
        })
        .await;
        let one = Gateway::with(&[&backend], |config| config.max_connections = 1).await;
        let other = one.another_worker().await;
        assert!(one.get("/").await.ends_with("ok"));
        assert!(other.get("/").await.ends_with("ok"));
        assert_eq!((one.pools.idle_connections(), other.pools.idle_connections()), (0, 1));
    });
}

#[test]
fn an_idle_connection_is_closed_after_a_while() {
    play(async {
        let closed = Rc::new(Notify::new());
        let seen = Rc::clone(&closed);
        let backend = Backend::start(async move |mut socket, _| {
            read_head(&mut socket).await;
            say(&mut socket, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
            assert_eq!(read_head(&mut socket).await, None);
            seen.notify_one();
        })
        .await;
        let gateway = Gateway::before(&[&backend]).await;
        assert!(gateway.get("/").await.ends_with("ok"));
        closed.notified().await;
        assert_eq!((gateway.pools.idle_connections(), gateway.upstream.connections()), (0, 0));
    });
}

#[test]
fn a_backend_of_http_1_0_serves_one_request_per_connection() {
    play(async {
        let backend = Backend::start(async |mut socket, _| {
            while read_head(&mut socket).await.is_some() {
                say(&mut socket, "HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\nok")
                    .await;
            }
        })
        .await;
        let gateway = Gateway::before(&[&backend]).await;
        for _ in 0..2 {
            let answer = gateway.get("/").await;
            assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("ok"), "{answer}");
        }
        assert_eq!(backend.connections(), 2);
    });
}

#[test]
fn the_next_server_is_asked_when_one_cannot_be_reached() {
    play(async {
        let backend = Backend::start(echo_body_size).await;
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let gateway = Gateway::between(&[closed, backend.address], |_| ()).await;
        for _ in 0..3 {
            assert!(gateway.get("/").await.ends_with("0 bytes"));
        }
        let alone = Gateway::between(&[closed], |_| ()).await;
        assert_eq!(failure(&alone.get("/").await), "Connect");
    });
}
