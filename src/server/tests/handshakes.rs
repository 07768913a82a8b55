//! TLS: versions, certificates, resumption, and the protocol that ALPN chooses.

use super::*;

// TLS

#[test]
fn http_2_is_spoken_when_alpn_says_so() {
    play(async {
        let house = House::open();
        let (mut sender, _connection) = house.ring_http2().await;
        let request = Request::post("https://a.test/echo").body(Full::from("hello")).unwrap();
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.version(), Version::HTTP_2);
        assert_eq!(text(response).await, "hello");
    });
}

#[test]
fn the_name_of_the_handshake_chooses_the_certificate() {
    play(async {
        let house = House::open();
        let client = house.client(rustls::ALL_VERSIONS, "http/1.1");
        for (index, name) in ["a.test", "b.test"].into_iter().enumerate() {
            let mut wire = client.ring(name).await.unwrap();
            assert_eq!(presented(&wire), house.certificate(index));
            assert_eq!(wire.get("/").await.1, name);
        }
        assert_eq!(presented(&client.ring("B.TEST").await.unwrap()), house.certificate(1));
    });
}

#[test]
fn new_certificates_do_not_touch_open_connections() {
    play(async {
        let house = House::open();
        let mut old = house.ring().await;
        // Nobody is left who could prove to be `a.test`.
        house.tls.resolver().replace(Certificates::load(&[], Clock::system().now()).unwrap());
        assert!(house.client(rustls::ALL_VERSIONS, "http/1.1").ring("a.test").await.is_err());
        assert_eq!(old.get("/").await.1, "a.test");
    });
}

#[test]
fn a_client_that_comes_back_resumes_its_tls_session() {
    play(async {
        let house = House::open();
        let client = house.client(rustls::ALL_VERSIONS, "http/1.1");
        for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
            let mut wire = client.ring("a.test").await.unwrap();
            assert_eq!(wire.0.get_ref().get_ref().1.handshake_kind(), Some(kind));
            // The ticket comes with the answer.
            wire.get("/").await;
        }
    });
}

#[test]
fn tls_1_2_is_spoken_unless_the_configuration_forbids_it() {
    play(async {
        let old: &[_] = &[&rustls::version::TLS12];
        let house = House::open();
        let mut wire = house.client(old, "http/1.1").ring("a.test").await.unwrap();
        assert_eq!(wire.get("/").await.1, "a.test");
        let strict = House::with(|config| config.tls.min_version = TlsVersion::Tls13);
        assert!(strict.client(old, "http/1.1").ring("a.test").await.is_err());
        assert_eq!(strict.ring().await.get("/").await.1, "a.test");
        until(|| strict.server.gauges().handshakes_failed() == 1).await;
    });
}

#[test]
fn a_client_that_asks_for_aes_256_first_gets_what_browsers_get() {
    play(async {
        let house = House::open();
        let both: &[_] = &[&rustls::version::TLS13, &rustls::version::TLS12];
        for versions in [both, &both[1..]] {
            let wire = house.client(versions, "http/1.1").ring("a.test").await.unwrap();
            let suite = wire.0.get_ref().get_ref().1.negotiated_cipher_suite().unwrap().suite();
            assert!(suite.as_str().unwrap().contains("AES_128_GCM_SHA256"), "{suite:?}");
        }
    });
}
