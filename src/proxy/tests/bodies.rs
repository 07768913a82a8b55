//! Bodies of requests and answers: whole, late, too long, broken off.

use super::*;

#[test]
fn a_backend_that_does_not_answer_is_not_waited_for() {
    play(async {
        let backend = Backend::start(async |mut socket, _| {
            read_head(&mut socket).await;
            std::future::pending::<()>().await;
        })
        .await;
        let gateway = Gateway::with(&[&backend], |config| config.response_timeout = SHORT).await;
        assert_eq!(failure(&gateway.get("/").await), "ResponseTimeout");
        while gateway.upstream.connections() > 0 {
            tokio::task::yield_now().await;
        }
    });
}

#[test]
fn a_slow_upload_is_no_slow_backend() {
    play(async {
        let backend = Backend::start(echo_body_size).await;
        let gateway = Gateway::with(&[&backend], |config| config.response_timeout = SHORT).await;
        let mut client = gateway.connect().await;
        say(&mut client, "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\nconnection: close\r\n\r\na")
            .await;
        let early = timeout(SHORT * 3, client.read_u8()).await;
        assert!(early.is_err(), "no answer while the client is to send");
        say(&mut client, "b").await;
        assert!(rest(&mut client).await.ends_with("2 bytes"));
    });
}

#[test]
fn a_response_that_breaks_off_never_ends_as_if_it_were_complete() {
    play(async {
        for (head, part) in [
            ("content-length: 10\r\n\r\n", "half"),
            ("transfer-encoding: chunked\r\n\r\n", "4\r\nhalf\r\n"),
            ("transfer-encoding: chunked\r\n\r\n", "4\r\nhalf\r\n0\r\n"),
        ] {
            let backend = Backend::start(async move |mut socket, _| {
                read_head(&mut socket).await;
                say(&mut socket, &format!("HTTP/1.1 200 OK\r\n{head}{part}")).await;
            })
            .await;
            let answer = Gateway::before(&[&backend]).await.get("/").await;
            assert!(answer.starts_with("HTTP/1.1 200") && !answer.ends_with("0\r\n\r\n"), "{answer}");
            assert!(answer.contains("content-length: 10") || answer.contains("chunked"), "{answer}");
        }
    });
}

#[test]
fn a_response_that_stalls_is_broken_off() {
    play(async {
        let backend = Backend::start(async |mut socket, _| {
            read_head(&mut socket).await;
            say(&mut socket, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n").await;
            std::future::pending::<()>().await;
        })
        .await;
        let gateway = Gateway::before(&[&backend]).await.limited(None, SHORT);
        let answer = gateway.get("/").await;
        assert!(answer.ends_with("4\r\nhalf\r\n"), "{answer}");
        assert_eq!(gateway.pools.idle_connections(), 0);
    });
}

#[test]
fn an_upload_waits_for_the_backend_and_arrives_whole() {
    const SIZE: usize = 64 << 20;
    play(async {
        let full = Rc::new(Notify::new());
        let seen = Rc::clone(&full);
        let backend = Backend::start(async move |mut socket, _| {
            read_head(&mut socket).await;
            seen.notified().await;
            let mut sink = tokio::io::sink();
            let read = tokio::io::copy(&mut (&mut socket).take(SIZE as u64), &mut sink).await.unwrap();
            let text = format!("{read} bytes");
            say(&mut socket, &format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{text}", text.len()))
                .await;
        })
        .await;
        let gateway = Gateway::before(&[&backend]).await;
        let mut client = gateway.connect().await;
        say(
            &mut client,
            &format!("PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: {SIZE}\r\nconnection: close\r\n\r\n"),
        )
        .await;
        let (piece, mut sent) = (vec![b'x'; 64 << 10], 0);
        while let Ok(written) = timeout(SHORT * 3, client.write(&piece)).await {
            sent += written.unwrap();
        }
        assert!(sent < SIZE / 2, "only the kernel's buffers fill up: {sent}");
        full.notify_one();
        while sent < SIZE {
            sent += client.write(&piece[..piece.len().min(SIZE - sent)]).await.unwrap();
        }
        assert!(rest(&mut client).await.ends_with(&format!("{SIZE} bytes")));
    });
}

#[test]
fn an_early_answer_is_delivered_before_the_upload_ends() {
    play(async {
        let backend = Backend::start(async |mut socket, _| {
            read_head(&mut socket).await;
            say(&mut socket, "HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno").await;
            std::future::pending::<()>().await;
        })
        .await;
        let gateway = Gateway::before(&[&backend]).await;
        let mut client = gateway.connect().await;
        say(
            &mut client,
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\nconnection: close\r\n\r\npart",
        )
        .await;
        assert!(read_head(&mut client).await.unwrap().starts_with("HTTP/1.1 403"));
        assert_eq!(gateway.pools.idle_connections(), 0, "the upload is not complete");
    });
}

#[test]
fn a_request_body_that_is_too_long_is_refused() {
    play(async {
        let backend = Backend::start(echo_body_size).await;
        let gateway = Gateway::before(&[&backend]).await.limited(Some(4), LONG);
        let head = "POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n";
        let declared = gateway.ask(&format!("{head}content-length: 5\r\n\r\nhello")).await;
        assert_eq!((failure(&declared), backend.connections()), ("BodyTooLarge", 0));
        let streamed = format!("{head}transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n");
        assert_eq!(failure(&gateway.ask(&streamed).await), "BodyTooLarge");
        let fits = gateway.ask(&format!("{head}content-length: 4\r\n\r\nhell")).await;
        assert!(fits.ends_with("4 bytes"), "{fits}");
    });
}

#[test]
fn a_request_body_that_stalls_is_given_up() {
    play(async {
        let backend = Backend::start(echo_body_size).await;
        let gateway = Gateway::before(&[&backend]).await.limited(None, SHORT);
        let mut client = gateway.connect().await;
        say(&mut client, "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\nconnection: close\r\n\r\npart")
            .await;
        assert_eq!(failure(&rest(&mut client).await), "BodyStalled");
    });
}

#[test]
fn the_body_of_a_get_is_not_lost() {
    play(async {
        let backend = Backend::start(async |mut socket, _| {
            let head = read_head(&mut socket).await.unwrap();
            assert!(head.contains("transfer-encoding: chunked"), "{head}");
            let mut body = [0; 13];
            socket.read_exact(&mut body).await.unwrap();
            assert_eq!(&body, b"3\r\nabc\r\n0\r\n\r\n");
            say(&mut socket, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
        })
        .await;
        let get = "GET / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
        assert!(Gateway::before(&[&backend]).await.ask(get).await.ends_with("ok"));
    });
}

#[test]
fn trailers_pass_but_cannot_carry_identity() {
    play(async {
        let backend = Backend::start(async |mut socket, _| {
            read_head(&mut socket).await;
            let mut body = Vec::new();
            while !body.ends_with(b"\r\n\r\n") {
                body.push(socket.read_u8().await.unwrap());
            }
            assert_eq!(String::from_utf8(body).unwrap(), "1\r\na\r\n0\r\nx-sum: 7\r\n\r\n");
            let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-check\r\n\r\n";
            say(&mut socket, &format!("{head}2\r\nok\r\n0\r\nx-check: 9\r\n\r\n")).await;
        })
        .await;
        let head = "POST / HTTP/1.1\r\nhost: a\r\nte: trailers\r\nconnection: te, close\r\ntransfer-encoding: chunked\r\n";
        let body = "trailer: x-sum, x_user_id\r\n\r\n1\r\na\r\n0\r\nx-sum: 7\r\nx_user_id: root\r\n\r\n";
        let answer = Gateway::before(&[&backend]).await.ask(&format!("{head}{body}")).await;
        assert!(answer.ends_with("2\r\nok\r\n0\r\nx-check: 9\r\n\r\n"), "{answer}");
    });
}

#[test]
fn the_answer_to_head_keeps_its_length() {
    play(async {
        let backend = Backend::start(async |mut socket, _| {
            while read_head(&mut socket).await.is_some() {
                say(&mut socket, "HTTP/1.1 200 OK\r\ncontent-length: 42\r\n\r\n").await;
            }
        })
        .await;
        let gateway = Gateway::before(&[&backend]).await;
        let answer = gateway.ask("HEAD / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
        assert!(answer.contains("content-length: 42\r\n") && answer.ends_with("\r\n\r\n"), "{answer}");
        assert_eq!(gateway.pools.idle_connections(), 1);
    });
}
