//! From the login page to a session, and what is told to whom it refuses.

use super::*;

#[tokio::test]
async fn the_login_page_works_with_password_managers_and_screen_readers() {
    let house = House::new().await;
    let page = house.browser().get("/login?next=/wiki").await;
    assert_eq!(page.status(), 200);
    for part in [
        "autocomplete=\"username\"",
        "autocomplete=\"current-password\"",
        "type=\"password\"",
        "<label for=\"user\">",
        "<label for=\"password\">",
        "name=\"viewport\"",
        "name=\"remember\"",
        "wiki.example.com",
        "aria-hidden=\"true\"",
    ] {
        assert!(page.text().contains(part), "{part} is missing");
    }
    let text = without_passkeys(page.text());
    assert!(!text.contains("role=\"alert\"") && !text.contains("<script"));
    assert!(page.0.body().len() < 30 * 1024);
    let cookie = page.header(SET_COOKIE);
    for attribute in ["__Host-vestibule-form=", "HttpOnly", "Secure", "SameSite=Lax", "Path=/"] {
        assert!(cookie.contains(attribute), "{cookie}");
    }
}

#[tokio::test]
async fn the_right_password_leads_back_byte_for_byte() {
    let house = House::new().await;
    let mut browser = house.browser();
    let target = "/wiki/A%2fB?x=%20+&y=\"<'>&next=//evil";
    let page = format!("/login?next={}", ReturnTo::parse(target).to_query());
    let seen = browser.fill_in(&page, "alice", PASSWORD).await;
    assert_eq!((seen.status(), seen.header(LOCATION)), (303, target));
    assert_eq!(seen.header(header::CACHE_CONTROL), "no-store");
    assert!(seen.header(SET_COOKIE).starts_with("__Host-vestibule="));
    assert!(!seen.header(SET_COOKIE).contains("Max-Age"));
    assert!(browser.is_signed_in().await);
    assert_eq!(house.lines.count(EventKind::LoginSuccess), 1);
}

#[tokio::test]
async fn a_target_elsewhere_or_on_our_own_pages_becomes_the_root() {
    let house = House::new().await;
    for next in ["//evil.example", "https://evil.example/", "/\\evil.example", "/.vestibule/logout"] {
        let seen = house.browser().fill_in(&format!("/login?rd={next}"), "alice", PASSWORD).await;
        assert_eq!(seen.header(LOCATION), "/", "{next}");
    }
    let mut browser = house.browser();
    let token = browser.get("/login").await.value("token");
    let fields = [("token", &*token), ("next", "//evil.example"), ("user", "alice"), ("password", PASSWORD)];
    assert_eq!(browser.post("/login", &fields).await.header(LOCATION), "/");
}

#[tokio::test]
async fn every_failure_shows_the_same_page_and_opens_nothing() {
    let house = House::new().await;
    let dora = UserId::try_from("dora").unwrap();
    let phc = Hasher::start(CHEAP).unwrap().hash(Secret::new(PASSWORD.to_owned())).await.unwrap();
    house.accounts.add(&dora, phc, Profile::default(), house.portal.clock.now()).await.unwrap();
    house.accounts.disable(&dora).await.unwrap();
    let mut pages = Vec::new();
    for (user, password) in [("alice", "wrong"), ("dora", PASSWORD), ("nobdy", PASSWORD)] {
        let mut browser = house.browser();
        let page = browser.fill_in("/login?next=/wiki", user, password).await;
        assert_eq!(page.status(), 401);
        assert_eq!(page.value("next"), "/wiki");
        assert_eq!(page.header(header::WWW_AUTHENTICATE), CHALLENGE.to_str().unwrap());
        assert!(page.text().contains("role=\"alert\"") && !page.text().contains(password));
        assert!(!browser.jar.contains_key("__Host-vestibule"));
        let names: Vec<String> = page.0.headers().keys().map(ToString::to_string).collect();
        let text = without_passkeys(page.text());
        pages.push((text.replace(&page.value("token"), "TOKEN").replace(user, "USER"), names));
    }
    pages.dedup();
    assert_eq!(pages.len(), 1, "{pages:#?}");
}

#[tokio::test]
async fn a_hostile_name_is_written_back_as_text() {
    let house = House::new().await;
    let page = house.browser().fill_in("/login", "\"><script>alert(1)</script>", "x").await;
    assert!(!without_passkeys(page.text()).contains("<script"));
    assert_eq!(page.value("user"), "\"><script>alert(1)</script>");
    let page = house.browser().fill_in("/login", &"x".repeat(200), "x").await;
    assert_eq!(page.value("user"), "");
}

#[tokio::test]
async fn too_many_failures_get_429_and_a_time() {
    let house = House::new().await;
    for _ in 0..3 {
        assert_eq!(house.browser().fill_in("/login", "alice", "wrong").await.status(), 401);
    }
    let page = house.browser().fill_in("/login", "alice", PASSWORD).await;
    assert_eq!((page.status(), page.header(header::RETRY_AFTER)), (429, "1"));
    assert!(page.text().contains("Please try again"));
}

#[tokio::test]
async fn busy_hashing_threads_get_503_and_the_form_again() {
    let house = House::with(Hasher::always_busy(), Duration::ZERO).await;
    let page = house.browser().fill_in("/login?next=/a", "alice", PASSWORD).await;
    assert_eq!((page.status(), page.header(header::RETRY_AFTER)), (503, "2"));
    assert_eq!((page.value("user").as_str(), page.value("next").as_str()), ("alice", "/a"));
}

#[tokio::test]
async fn a_change_that_ends_halfway_leaves_its_user_signed_in() {
    let house = House::with(Hasher::always_busy(), Duration::ZERO).await;
    let database = rusqlite::Connection::open(house.folder.path().join("users.db")).unwrap();
    let insert = "INSERT INTO factors VALUES ('id', 'alice', 'totp', '', x'00', NULL, NULL, 0, 0, NULL)";
    assert_eq!(database.execute(insert, []), Ok(1));
    let now = house.portal.clock.now();
    let login = engine::Login {
        identity: house.portal.login.standing(&alice()).await.unwrap().unwrap().identity,
        method: AuthMethod::Password,
        proofs: Proofs::default().with(Factor::Password, now).with(Factor::Totp, now),
        remember: Remember::No,
        device: Device { user_agent: "", address: IpAddr::from([192, 0, 2, 1]) },
    };
    let mut browser = house.browser();
    let opened = house.portal.engine.open(login).await.unwrap();
    let cookie = opened.cookies[0].to_str().unwrap();
    let (name, value) = cookie.split(';').next().unwrap().split_once('=').unwrap();
    browser.jar.insert(name.to_owned(), value.to_owned());
    let token = browser.get("/account/factors").await.value("token");
    let seen = browser.post("/account/factors/codes", &[("token", &token)]).await;
    assert_eq!((seen.status(), seen.header(LOCATION)), (303, "/.vestibule/account/factors"));
    assert_ne!(browser.jar[name], value, "the new token came");
    assert!(browser.is_signed_in().await);
}

#[tokio::test]
async fn busy_hashing_threads_use_no_link_up() {
    let house = House::with(Hasher::always_busy(), Duration::ZERO).await;
    let reset =
        Reset { user: alice(), expires: house.portal.clock.now() + HOUR, factors: AfterReset::Removed };
    let link = ResetToken::issue(&*house.portal.login.factor_store(), reset).await.unwrap().to_text();
    let mut browser = house.browser();
    let page = browser.get(&format!("/reset?token={link}")).await;
    let fields = [
        ("token", &*page.value("token")),
        ("link", &link),
        ("password", "another horse"),
        ("again", "another horse"),
    ];
    let seen = browser.post("/reset", &fields).await;
    assert_eq!((seen.status(), seen.header(header::RETRY_AFTER)), (503, "2"));
    assert_eq!(seen.value("link"), link, "the form again");
    assert_eq!(browser.get(&format!("/reset?token={link}")).await.status(), 200);
}

#[tokio::test]
async fn accounts_that_cannot_be_read_are_an_error_that_takes_no_cookie() {
    let house = House::new().await;
    let mut browser = house.browser();
    let token = browser.get("/login").await.value("token");
    house.accounts.close().await;
    let fields = encoded(&[("token", &token), ("user", "alice"), ("password", PASSWORD)]);
    let answer = browser.send(Method::POST, "/login", &fields).await;
    assert!(matches!(answer, Err(PortalError::StoreUnavailable(_))));
}

#[tokio::test]
async fn a_form_without_its_cookie_or_token_opens_nothing() {
    let house = House::new().await;
    let mut browser = house.browser();
    let token = browser.get("/login").await.value("token");
    let fields = |token| [("token", token), ("user", "alice"), ("password", PASSWORD)];
    let foreign = house.browser().post("/login", &fields(&token)).await;
    assert_eq!(foreign.status(), 403);
    assert!(foreign.text().contains(&words().no_cookie));
    assert_eq!(browser.post("/login", &fields("x")).await.status(), 403);
    assert_eq!(house.lines.count(EventKind::Csrf), 2);
    house.hand.advance(Duration::from_hours(13));
    let late = browser.post("/login", &fields(&token)).await;
    assert!(late.status() == 403 && late.text().contains(&words().form_expired));
    assert_eq!(house.lines.count(EventKind::Csrf), 2);
    assert_eq!(house.lines.count(EventKind::LoginSuccess), 0);
}

#[tokio::test]
async fn a_form_from_another_site_is_an_error() {
    let house = House::new().await;
    for (name, value) in [("sec-fetch-site", "cross-site"), ("origin", "https://evil.example")] {
        for page in ["/login", "/logout", "/session/extend"] {
            let mut browser = house.browser();
            browser.sign_in().await;
            browser.headers.insert(name, HeaderValue::from_static(value));
            let answer = browser.send(Method::POST, page, "").await;
            assert_eq!(answer.err(), Some(PortalError::Forged(Forged::Origin)), "{page}");
            browser.headers.clear();
            assert!(browser.is_signed_in().await);
        }
    }
}
