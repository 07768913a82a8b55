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
fn a_connection_that_answered_early_comes_back_with_the_end_of_the_upload() {
    play(async {
        let backend = Backend::start(async |mut socket, _| {
            while read_head(&mut socket).await.is_some() {
                say(&mut socket, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
                let mut body = [0; 8];
                socket.read_exact(&mut body).await.unwrap();
                assert_eq!(&body, b"one, two");
            }
        })
        .await;
        let gateway = Gateway::before(&[&backend]).await;
        for _ in 0..2 {
            let mut client = gateway.connect().await;
            say(&mut client, "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 8\r\n\r\none,").await;
            assert!(read_head(&mut client).await.unwrap().starts_with("HTTP/1.1 200"));
            assert_eq!(gateway.pools.idle_connections(), 0, "the upload is not complete");
            say(&mut client, " two").await;
            while gateway.pools.idle_connections() == 0 {
                tokio::task::yield_now().await;
            }
        }
        assert_eq!(backend.connections(), 1);
    });
}

#[test]
fn an_upload_goes_on_although_the_connection_is_not_used_again() {
    play(async {
        let whole = Rc::new(Notify::new());
        let seen = Rc::clone(&whole);
        let backend = Backend::start(async move |mut socket, _| {
            read_head(&mut socket).await;
            say(&mut socket, "HTTP/1.1 413 Too much\r\nconnection: close\r\ncontent-length: 2\r\n\r\nno")
                .await;
            let mut body = [0; 8];
            socket.read_exact(&mut body).await.unwrap();
            seen.notify_one();
        })
        .await;
        let gateway = Gateway::before(&[&backend]).await;
        let mut client = gateway.connect().await;
        say(&mut client, "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 8\r\n\r\none,").await;
        assert!(read_head(&mut client).await.unwrap().starts_with("HTTP/1.1 413"));
        say(&mut client, " two").await;
        whole.notified().await;
        while gateway.upstream.connections() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(gateway.pools.idle_connections(), 0);
    });
}

#[test]
fn a_chunk_arrives_with_its_end() {
    play(async {
        let backend = Backend::start(async |mut socket, _| {
            read_head(&mut socket).await;
            let mut chunk = [0; 9];
            socket.read_exact(&mut chunk).await.unwrap();
            assert_eq!(&chunk, b"4\r\nping\r\n");
            say(&mut socket, "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\npong").await;
            socket.read_exact(&mut chunk[..5]).await.unwrap();
            assert_eq!(&chunk[..5], b"0\r\n\r\n");
        })
        .await;
        let gateway = Gateway::before(&[&backend]).await;
        let mut client = gateway.connect().await;
        say(&mut client, "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n4\r\nping\r\n")
            .await;
        assert!(read_head(&mut client).await.unwrap().starts_with("HTTP/1.1 200"));
        say(&mut client, "0\r\n\r\n").await;
        while gateway.upstream.connections() > 0 {
            tokio::task::yield_now().await;
        }
    });
}

#[test]
fn who_refuses_an_upload_and_hangs_up_is_heard() {
    play(async {
        let backend = Backend::start(async |mut socket, _| {
            read_head(&mut socket).await;
            say(&mut socket, "HTTP/1.1 413 Too much\r\ncontent-length: 2\r\n\r\nno").await;
            socket.shutdown().await.unwrap();
            // What it has not read makes it reset the connection.
            socket.readable().await.unwrap();
        })
        .await;
        let gateway = Gateway::before(&[&backend]).await;
        let mut client = gateway.connect().await;
        say(&mut client, "PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 9999999\r\n\r\n").await;
        let (mut read, mut write) = client.split();
        let upload = async {
            let piece = vec![b'x'; 64 << 10];
            while write.write_all(&piece).await.is_ok() {}
            std::future::pending::<()>().await;
        };
        let mut answer = [0; 21];
        tokio::select! {
            answered = read.read_exact(&mut answer) => drop(answered.unwrap()),
            () = upload => {}
        }
        assert_eq!(&answer, b"HTTP/1.1 413 Too much");
        assert_eq!(gateway.pools.idle_connections(), 0);
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
