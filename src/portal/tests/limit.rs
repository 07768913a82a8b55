//! Too many sessions: which of them to end.

use super::*;

/// A browser of Alice's at the limit, and the page that it is shown.
async fn at_limit(house: &House) -> (Browser<'_>, Seen) {
    let mut browser = house.browser();
    let page = browser.fill_in("/login?next=/wiki?a=%2526", "alice", PASSWORD).await;
    assert_eq!(page.status(), 200);
    assert!(page.text().contains(&words().at_limit) && !browser.jar.contains_key("__Host-vestibule"));
    (browser, page)
}

fn going_on<'a>(proof: &'a [(&'static str, String)], more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    proof.iter().map(|(name, value)| (*name, value.as_str())).chain(more.iter().copied()).collect()
}

fn hidden(page: &Seen) -> Vec<(&'static str, String)> {
    ["token", "proof"].map(|name| (name, page.value(name))).into()
}

#[tokio::test]
async fn who_has_too_many_sessions_chooses_which_to_end_and_goes_on() {
    let house = House::with_room_for(2).await;
    let mut old = house.browser();
    old.headers.insert(USER_AGENT, HeaderValue::from_static("Mozilla/5.0 (Windows) <b> Firefox/145.0"));
    old.sign_in().await;
    house.hand.advance(Duration::from_mins(3));
    let mut young = house.browser();
    young.sign_in().await;
    let (mut browser, page) = at_limit(&house).await;
    let ids = page.values("end");
    assert_eq!(ids.len(), 2);
    for part in ["Firefox on Windows", "An unknown browser", "192.0.2.1", "3 minutes ago", "just now"] {
        assert!(page.text().contains(part), "{part} is missing in {}", page.text());
    }
    assert!(!page.text().contains("<b>") && !without_passkeys(page.text()).contains("<script"));
    assert!(page.text().find("just now") < page.text().find("3 minutes ago"), "the newest comes first");
    let seen = browser.post("/login/sessions", &going_on(&hidden(&page), &[("end", &ids[1])])).await;
    assert_eq!((seen.status(), seen.header(LOCATION)), (303, "/wiki?a=%26"));
    assert!(browser.is_signed_in().await && young.is_signed_in().await && !old.is_signed_in().await);
    assert_eq!(house.lines.count(EventKind::LoginSuccess), 3);
    assert_eq!(house.lines.count(EventKind::SessionCreated), 3);
    assert_eq!(house.lines.count(EventKind::SessionRevoked), 1);
}

#[tokio::test]
async fn who_chooses_nothing_is_asked_again_and_may_end_them_all() {
    let house = House::with_room_for(2).await;
    let mut others = [house.browser(), house.browser()];
    for other in &mut others {
        other.sign_in().await;
    }
    let (mut browser, page) = at_limit(&house).await;
    let again = browser.post("/login/sessions", &going_on(&hidden(&page), &[("end", "x")])).await;
    assert_eq!(again.status(), 409);
    assert!(again.text().contains(&words().still_at_limit) && again.values("end").len() == 2);
    let seen = browser.post("/login/sessions", &going_on(&hidden(&again), &[("all", "yes")])).await;
    assert_eq!(seen.header(LOCATION), "/wiki?a=%26");
    assert!(browser.is_signed_in().await);
    for other in &mut others {
        assert!(!other.is_signed_in().await);
    }
}

#[tokio::test]
async fn a_proof_is_worth_nothing_later_elsewhere_or_again() {
    let house = House::with_room_for(1).await;
    house.browser().sign_in().await;
    let (mut browser, page) = at_limit(&house).await;
    let fields = hidden(&page);
    let mut elsewhere = house.browser();
    let token = elsewhere.get("/login").await.value("token");
    let stolen = [("token", token.as_str()), ("proof", &fields[1].1), ("all", "yes")];
    let refused = elsewhere.post("/login/sessions", &stolen).await;
    assert_eq!(refused.status(), 403);
    assert!(refused.text().contains(&words().proof_expired) && refused.value("user").is_empty());
    house.hand.advance(Duration::from_secs(299));
    let again = browser.post("/login/sessions", &going_on(&fields, &[])).await;
    assert_eq!(again.status(), 409);
    house.hand.advance(Duration::from_secs(1));
    let late = browser.post("/login/sessions", &going_on(&hidden(&again), &[("all", "yes")])).await;
    assert_eq!(late.status(), 403);
    assert!(late.text().contains(&words().proof_expired));
    assert_eq!((late.value("user"), late.value("next")), ("alice".to_owned(), "/wiki?a=%26".to_owned()));
    assert_eq!(house.lines.count(EventKind::SessionRevoked), 0);

    let (mut browser, page) = at_limit(&house).await;
    let fields = hidden(&page);
    assert_eq!(browser.post("/login/sessions", &going_on(&fields, &[("all", "yes")])).await.status(), 303);
    browser.jar.remove("__Host-vestibule");
    let replayed = browser.post("/login/sessions", &going_on(&fields, &[("all", "yes")])).await;
    assert_eq!(replayed.status(), 403);
    assert!(!browser.is_signed_in().await);
}

#[tokio::test]
async fn the_choice_takes_a_form_of_ours_and_an_account_that_may_sign_in() {
    let house = House::with_room_for(1).await;
    let mut other = house.browser();
    other.sign_in().await;
    let (mut browser, page) = at_limit(&house).await;
    let fields = hidden(&page);
    let without_token = [("proof", fields[1].1.as_str()), ("all", "yes")];
    assert_eq!(browser.post("/login/sessions", &without_token).await.status(), 403);
    browser.headers.insert("sec-fetch-site", HeaderValue::from_static("cross-site"));
    let sent =
        browser.send(Method::POST, "/login/sessions", &encoded(&going_on(&fields, &[("all", "yes")]))).await;
    assert_eq!(sent.err(), Some(PortalError::Forged(Forged::Origin)));
    browser.headers.clear();
    assert!(other.is_signed_in().await);
    house.accounts.disable(&alice()).await.unwrap();
    let refused = browser.post("/login/sessions", &going_on(&fields, &[("all", "yes")])).await;
    assert_eq!(refused.status(), 401);
    assert!(refused.text().contains(&words().refused));
    assert_eq!(browser.get("/login/sessions").await.header(LOCATION), "/.vestibule/login");
}

#[tokio::test]
async fn the_account_page_lists_a_users_sessions_and_ends_others_of_them() {
    let house = House::new().await;
    let mut browsers = [house.browser(), house.browser(), house.browser()];
    for browser in &mut browsers {
        browser.sign_in().await;
    }
    let [mine, second, third] = &mut browsers;
    let page = mine.get("/account").await;
    assert_eq!(page.values("end").len(), 2, "none for the session that asks");
    assert!(page.text().contains(&words().this_session));
    let token = page.value("token");
    let own = mine.house.portal.engine.sessions_of(&alice()).await.unwrap();
    let own = own.iter().map(|session| session.id().to_hex()).find(|id| !page.values("end").contains(id));
    let kept = mine.post("/account/sessions", &[("token", &token), ("end", &own.unwrap())]).await;
    assert_eq!(kept.header(LOCATION), "/.vestibule/account?reason=ended");
    assert!(mine.is_signed_in().await);
    assert_eq!(mine.post("/account/sessions", &[("token", "x"), ("all", "yes")]).await.status(), 403);
    mine.post("/account/sessions", &[("token", &token), ("end", &page.values("end")[0])]).await;
    assert!(second.is_signed_in().await != third.is_signed_in().await);
    mine.post("/account/sessions", &[("token", &token), ("all", "yes")]).await;
    assert!(!second.is_signed_in().await && !third.is_signed_in().await && mine.is_signed_in().await);
    let page = mine.get("/account?reason=ended").await;
    assert!(page.text().contains(&words().sessions_ended) && page.values("end").is_empty());
    assert_eq!(
        third.post("/account/sessions", &[("all", "yes")]).await.header(LOCATION),
        "/.vestibule/login"
    );
}

#[tokio::test]
async fn a_store_that_cannot_list_now_takes_only_the_list_from_the_account_page() {
    let mut house = House::new().await;
    let store = StoreKind::Sqlite(house.folder.path().join("sessions.db"));
    let config = session::Config { store, policy: Policy::plain() };
    let (ring, clock) = (house.portal.engine.ring(), house.portal.clock.clone());
    house.portal.engine = Engine::start(config, ring, clock, house.portal.audit.clone()).await.unwrap();
    let mut browser = house.browser();
    browser.sign_in().await;
    assert!(browser.get("/account").await.text().contains(&words().this_session));
    house.portal.engine.stop().await;
    let page = browser.get("/account").await;
    assert_eq!(page.status(), 200);
    assert!(page.text().contains(&words().sessions_unknown), "{}", page.text());
    let fields = [("token", &*page.value("token")), ("all", "yes")];
    let ended = browser.send(Method::POST, "/account/sessions", &encoded(&fields)).await;
    assert!(matches!(ended, Err(PortalError::StoreUnavailable(_))));
}
