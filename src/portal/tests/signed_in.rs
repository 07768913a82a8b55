//! What somebody sees and does who is signed in.

use super::*;

#[tokio::test]
async fn a_second_login_ends_the_session_that_the_browser_had() {
    let house = House::new().await;
    let mut browser = house.browser();
    let token = browser.get("/login").await.value("token");
    browser.sign_in().await;
    let mut stale = house.browser();
    stale.jar.clone_from(&browser.jar);
    let fields = [("token", &*token), ("user", "alice"), ("password", PASSWORD)];
    assert_eq!(browser.post("/login", &fields).await.status(), 303);
    assert_ne!(stale.jar, browser.jar);
    assert!(browser.is_signed_in().await);
    assert!(!stale.is_signed_in().await);
}

#[tokio::test]
async fn who_is_signed_in_is_asked_whether_to_go_on_or_to_switch() {
    let house = House::new().await;
    let mut browser = house.browser();
    browser.sign_in().await;
    let page = browser.get("/login?next=/wiki?a").await;
    assert!(page.text().contains("alice") && page.text().contains("href=\"&#x2f;wiki?a\""));
    let fields = [("token", &*page.value("token")), ("next", &page.value("next"))];
    let out = browser.post("/logout", &fields).await;
    assert_eq!(out.header(LOCATION), "/.vestibule/login?reason=signed-out&next=/wiki%3Fa");
    assert!(!browser.is_signed_in().await);
}

#[tokio::test]
async fn signing_out_takes_a_form_and_clears_the_browser() {
    let house = House::new().await;
    let mut browser = house.browser();
    browser.sign_in().await;
    let question = browser.get("/logout").await;
    assert!(question.text().contains("alice") && browser.is_signed_in().await);
    assert_eq!(browser.post("/logout", &[("token", "x")]).await.status(), 403);
    assert!(browser.is_signed_in().await);
    let mut other_tab = house.browser();
    other_tab.jar.clone_from(&browser.jar);
    let out = browser.post("/logout", &[("token", &question.value("token"))]).await;
    assert_eq!((out.status(), out.header(LOCATION)), (303, "/.vestibule/login?reason=signed-out"));
    assert_eq!(out.header("clear-site-data"), "\"cache\",\"storage\"");
    assert!(out.header(SET_COOKIE).contains("Max-Age=0"));
    assert!(!browser.jar.contains_key("__Host-vestibule"));
    assert!(!other_tab.is_signed_in().await);
    assert!(browser.get("/login?reason=signed-out").await.text().contains(&words().signed_out));
    assert_eq!(browser.get("/logout").await.status(), 303);
}

#[tokio::test]
async fn the_token_of_one_session_ends_no_other() {
    let house = House::new().await;
    let (mut mine, mut theirs) = (house.browser(), house.browser());
    mine.sign_in().await;
    theirs.sign_in().await;
    let token = theirs.get("/logout").await.value("token");
    assert_eq!(mine.post("/logout", &[("token", &token)]).await.status(), 403);
    assert!(mine.is_signed_in().await && theirs.is_signed_in().await);
}

#[tokio::test]
async fn an_expired_session_says_so_on_the_login_page() {
    let house = House::new().await;
    let mut browser = house.browser();
    browser.sign_in().await;
    house.hand.advance(Duration::from_mins(31));
    assert!(browser.get("/login").await.text().contains(&words().session_expired));
    assert!(house.browser().get("/login?reason=expired").await.text().contains(&words().session_expired));
    assert!(!house.browser().get("/login?reason=<b>").await.text().contains("role=\"status\""));
}

#[tokio::test]
async fn asking_for_the_session_is_no_activity_but_extending_is() {
    let house = House::new().await;
    let mut browser = house.browser();
    browser.sign_in().await;
    house.hand.advance(Duration::from_mins(20));
    let left = browser.get("/session").await;
    assert_eq!(left.text(), r#"{"user":"alice","idle_seconds_left":600,"absolute_seconds_left":42000}"#);
    let extended = browser.post("/session/extend", &[]).await;
    assert!(extended.text().contains("\"idle_seconds_left\":1800,\"absolute_seconds_left\":42000"));
    house.hand.advance(Duration::from_mins(30));
    let gone = browser.get("/session").await;
    assert_eq!((gone.status(), gone.header(header::CONTENT_TYPE)), (401, "application/json; charset=utf-8"));
    assert!(gone.text().contains("\"login_url\":\"/.vestibule/login\""));
    assert!(gone.0.headers().contains_key(header::WWW_AUTHENTICATE));
    assert_eq!(browser.post("/session/extend", &[]).await.status(), 401);
}

#[tokio::test]
async fn to_be_remembered_takes_the_tick_and_the_offer() {
    for (remember, tick, remembered) in [(720, "yes", true), (720, "", false), (0, "yes", false)] {
        let house = House::with(Hasher::start(CHEAP).unwrap(), Duration::from_hours(remember)).await;
        let mut browser = house.browser();
        let page = browser.get("/login").await;
        assert_eq!(page.text().contains("name=\"remember\""), remember > 0);
        let token = page.value("token");
        let fields = [("token", &*token), ("user", "alice"), ("password", PASSWORD), ("remember", tick)];
        let seen = browser.post("/login", &fields).await;
        assert_eq!(seen.header(SET_COOKIE).contains("Max-Age=2592000"), remembered);
    }
}

#[tokio::test]
async fn the_account_page_shows_whose_session_it_is() {
    let house = House::new().await;
    let mut browser = house.browser();
    assert_eq!(browser.get("/account").await.header(LOCATION), "/.vestibule/login");
    browser.sign_in().await;
    let page = browser.get("/account").await;
    for part in ["alice", "&lt;b&gt;Alice", "password", " UTC", "Sign out"] {
        assert!(page.text().contains(part), "{part} is missing");
    }
    assert_eq!(browser.post("/logout", &[("token", &page.value("token"))]).await.status(), 303);
}

#[tokio::test]
async fn pages_and_methods_that_do_not_exist_are_errors() {
    let house = House::new().await;
    let mut browser = house.browser();
    assert_eq!(browser.get("/ping").await.text(), "ok\n");
    assert_eq!(browser.send(Method::HEAD, "/login", "").await.unwrap().status(), 200);
    for path in ["", "/", "/x", "/loginx", "/login/", "/assets/", "/assets/x.css", "/assets/../login"] {
        let answer = browser.send(Method::GET, path, "").await;
        assert_eq!(answer.err(), Some(PortalError::NotFound), "{path}");
    }
    let style = assets::STYLESHEET.path("");
    for (method, path, allowed) in [
        (Method::PUT, "/login", "GET, HEAD, POST"),
        (Method::DELETE, "/logout", "GET, HEAD, POST"),
        (Method::DELETE, "/login/sessions", "GET, HEAD, POST"),
        (Method::PUT, "/account/sessions", "GET, HEAD, POST"),
        (Method::POST, "/account", "GET, HEAD"),
        (Method::POST, "/session", "GET, HEAD"),
        (Method::GET, "/session/extend", "POST"),
        (Method::POST, "/ping", "GET, HEAD"),
        (Method::POST, &style, "GET, HEAD"),
    ] {
        let answer = browser.send(method, path, "").await;
        assert_eq!(answer.err(), Some(PortalError::MethodNotAllowed(allowed)), "{path}");
    }
    assert_eq!(browser.get(&style).await.status(), 200);
}
