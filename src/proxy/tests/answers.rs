//! What a backend may say: other protocols, and what is no answer.

use super::*;

#[test]
fn the_target_names_the_host_and_becomes_origin_form() {
    play(async {
        let backend = Backend::start(async |mut socket, _| {
            let head = read_head(&mut socket).await.unwrap();
            say(&mut socket, &format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{head}", head.len()))
                .await;
        })
        .await;
        let gateway = Gateway::before(&[&backend]).await;
        let get =
            "GET http://wiki.example/a?b HTTP/1.1\r\nhost: other\r\nconnection: close, x-a\r\nx-a: 1\r\n\r\n";
        let seen = gateway.ask(get).await;
        assert!(seen.contains("GET /a?b HTTP/1.1\r\n") && seen.contains("host: wiki.example\r\n"), "{seen}");
        assert!(!seen.contains("host: other") && !seen.contains("x-a"), "{seen}");
        assert_eq!(
            failure(&gateway.ask("CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\nconnection: close\r\n\r\n").await),
            "Method"
        );
    });
}

#[test]
fn a_websocket_talks_through_the_tunnel() {
    play(async {
        let backend = Backend::start(async |mut socket, _| {
            let head = read_head(&mut socket).await.unwrap();
            assert!(head.contains("connection: upgrade") && head.contains("upgrade: websocket"), "{head}");
            let switch =
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n\r\n";
            say(&mut socket, &format!("{switch}hello ")).await;
            let (mut read, mut write) = socket.split();
            tokio::io::copy(&mut read, &mut write).await.unwrap();
            write.shutdown().await.unwrap();
        })
        .await;
        let gateway = Gateway::before(&[&backend]).await;
        let mut client = gateway.connect().await;
        say(&mut client, "GET /ws HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n")
            .await;
        let head = read_head(&mut client).await.unwrap();
        assert!(head.starts_with("HTTP/1.1 101") && head.contains("upgrade: websocket"), "{head}");
        assert_eq!(gateway.upstream.connections(), 1, "a tunnel is a connection");
        say(&mut client, "echo").await;
        client.shutdown().await.unwrap();
        assert_eq!(rest(&mut client).await, "hello echo");
        while gateway.upstream.connections() > 0 {
            tokio::task::yield_now().await;
        }
    });
}

#[test]
fn a_switch_that_was_not_asked_for_is_no_answer() {
    play(async {
        let backend = Backend::start(async |mut socket, _| {
            read_head(&mut socket).await;
            say(
                &mut socket,
                "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
            )
            .await;
            std::future::pending::<()>().await;
        })
        .await;
        let gateway = Gateway::before(&[&backend]).await;
        assert_eq!(failure(&gateway.get("/").await), "BadResponse");
        let h2c = "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade, close\r\nupgrade: h2c\r\n\r\n";
        assert_eq!(failure(&gateway.ask(h2c).await), "BadResponse");
    });
}

#[test]
fn an_answer_may_come_byte_by_byte_behind_interim_ones() {
    play(async {
        let backend = Backend::start(async |mut socket, _| {
            socket.set_nodelay(true).unwrap();
            while read_head(&mut socket).await.is_some() {
                let interim = "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n";
                let answer = "HTTP/1.1 200 OK\nx-own: 1\ntransfer-encoding: chunked\n\n2\r\nok\r\n0\r\n\r\n";
                for byte in [interim, answer].concat().as_bytes() {
                    socket.write_all(&[*byte]).await.unwrap();
                    tokio::task::yield_now().await;
                }
            }
        })
        .await;
        let gateway = Gateway::before(&[&backend]).await;
        for _ in 0..2 {
            let answer = gateway.get("/").await;
            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains("x-own: 1\r\n"), "{answer}");
            assert!(
                !answer.contains("link") && answer.ends_with("\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n"),
                "{answer}"
            );
        }
        assert_eq!(backend.connections(), 1);
    });
}

#[test]
fn what_is_no_http_is_no_answer() {
    play(async {
        for nonsense in [
            "SSH-2.0-OpenSSH\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        ] {
            let backend = Backend::start(async move |mut socket, _| {
                read_head(&mut socket).await;
                say(&mut socket, nonsense).await;
            })
            .await;
            assert_eq!(failure(&Gateway::before(&[&backend]).await.get("/").await), "BadResponse");
        }
    });
}
