//! The gateway's own pages as people read them: in their language, in the clothes of the deployer, with a way on.

use crate::harness::{Answer, Backend, Client, Folder, Gateway, Setup};

const LOGIN: &str = "/.vestibule/login";

fn house() -> (Backend, Gateway) {
    let backend = Backend::start();
    let gateway = Gateway::start(&setup(&backend));
    (backend, gateway)
}

fn setup(backend: &Backend) -> Setup {
    Setup::in_front_of(&backend.url())
        .upstream("broken", "http://127.0.0.1:1")
        .route("path = '/broken'; upstream = 'broken'; access = 'public'")
        .route("path = '/works'; upstream = 'app'; access = 'public'; maintenance = true")
        .route("path = '/elsewhere'; upstream = 'app'; access = 'public'; networks = ['192.0.2.0/24']")
        .route(
            "path = '/both'; upstream = 'app'; access = 'login'; groups = ['admin', 'crew']; users = ['ada']",
        )
        .route("path = '/ada'; upstream = 'app'; access = 'login'; users = ['ada']")
}

fn reading(gateway: &Gateway, languages: &'static str) -> Client {
    gateway.visitor().always("accept-language", languages)
}

#[track_caller]
fn assert_says(page: &Answer, words: &[&str]) {
    let text = page.text().replace("&#x27;", "'").replace("&#x2f;", "/");
    for word in words {
        assert!(text.contains(word), "{word:?} is missing in {text}");
    }
}

#[test]
fn the_login_page_is_in_the_language_that_the_browser_asks_for() {
    let (_backend, gateway) = house();
    for (languages, tag, title) in [
        ("en", "en", "Sign in"),
        ("de-CH,de;q=0.9,en;q=0.5", "de", "Anmelden"),
        ("nl, fr;q=0.7", "fr", "Se connecter"),
        ("es-419", "es", "Iniciar sesión"),
        ("zh-CN,zh;q=0.9", "zh-Hans", "登录"),
        ("ja", "ja", "サインイン"),
        ("tlh", "en", "Sign in"),
    ] {
        let page = reading(&gateway, languages).page(LOGIN);
        assert_says(&page, &[&format!("<h1>{title}</h1>"), &format!("<html lang=\"{tag}\">")]);
        assert_eq!((page.header("content-language"), page.header("vary")), (tag, "accept-language"));
    }
}

#[test]
fn every_error_that_a_person_meets_is_in_their_language_and_programs_get_english() {
    let (_backend, gateway) = house();
    let visitor = reading(&gateway, "de").signed_in_as("alice");
    for (path, status, words) in [
        ("/.vestibule/none", 404, ["Hier ist nichts", "Unter dieser Adresse antwortet keine Anwendung."]),
        ("/broken", 502, ["Die Anwendung antwortet nicht", "Erneut versuchen"]),
        ("/works", 503, ["Wir sind gleich wieder da", "Erneut versuchen"]),
        ("/admin", 403, ["Zutritt haben nur Mitglieder der Gruppe admin.", "Ihre Gruppen: staff"]),
        ("/closed", 403, ["Hier hat niemand Zutritt.", "Zur Startseite"]),
    ] {
        let page = visitor.page(path);
        assert_eq!(page.status, status, "{path}");
        assert_says(&page, &words);
        let json = visitor.get(path).json()["message"].to_string();
        assert!(json.is_ascii() && json.contains(' '), "{json}");
    }
}

#[test]
fn what_goes_wrong_on_the_way_in_is_told_in_ones_language() {
    let (_backend, gateway) = house();
    for (languages, refused) in [
        ("de", "Benutzername oder Passwort ist nicht richtig."),
        ("fr", "Le nom d’utilisateur ou le mot de passe est incorrect."),
        ("es", "El nombre de usuario o la contraseña no son correctos."),
        ("zh", "用户名或密码不正确。"),
        ("ja", "ユーザー名またはパスワードが正しくありません。"),
    ] {
        let page = reading(&gateway, languages).try_login("/", "alice", "wrong");
        assert_eq!(page.status, 401);
        assert_says(&page, &[refused]);
    }
    let visitor = reading(&gateway, "fr");
    let late = (0..40).map(|_| visitor.try_login("/", "alice", "wrong")).find(|page| page.status == 429);
    assert_says(&late.expect("an end of the patience"), &["Trop de tentatives. Veuillez réessayer dans"]);
}

#[test]
fn the_house_has_a_language_for_those_whose_browsers_ask_for_none_of_ours() {
    let backend = Backend::start();
    let gateway = Gateway::start(&setup(&backend).set("portal.language", "'ja'"));
    assert_says(&gateway.visitor().page(LOGIN), &["<html lang=\"ja\">"]);
    assert_says(&gateway.visitor().page("/.vestibule/none"), &["ここには何もありません"]);
    assert_says(&reading(&gateway, "en").page(LOGIN), &["<html lang=\"en\">"]);
}

#[test]
fn who_may_not_pass_reads_what_is_missing_and_how_to_go_on() {
    let (_backend, gateway) = house();
    let alice = gateway.visitor().signed_in_as("alice");
    let switch = "/.vestibule/login?next=";
    let you = "You are signed in as <strong>alice</strong>";
    let many = "Only members of one of these groups are let in: admin, crew.";
    assert_says(&alice.page("/both"), &[you, many, "Your groups: staff", switch, "href=\"/\""]);
    assert!(!alice.page("/both").text().contains("ada"), "who is let in by name is nobody's business");
    assert_says(&alice.page("/ada"), &[you, "Only certain people are let in", switch]);
    assert_says(&alice.page("/elsewhere"), &["opens only from certain networks. You come from 127.0.0.1."]);
    assert_says(&gateway.visitor().page("/elsewhere"), &["You come from 127.0.0.1.", "href=\"/\""]);
}

#[test]
fn a_deployers_name_colours_words_and_links_are_on_every_page() {
    let backend = Backend::start();
    let links = "[{ text = { en = 'Imprint', de = 'Impressum' }, url = 'https://example.com/imprint' }]";
    let dressed = setup(&backend)
        .set("portal.branding.name", "'Rabbit & Sons'")
        .set("portal.branding.accent", "'#7a1f5c'")
        .set("portal.branding.lead", "{ en = 'Use your card.', de = 'Mit Ihrer Karte.' }")
        .set("portal.branding.link", links);
    let gateway = Gateway::start(&dressed);
    let page = reading(&gateway, "de").page(LOGIN);
    assert_says(
        &page,
        &["<title>Anmelden · Rabbit &amp; Sons</title>", "Mit Ihrer Karte.", ">Impressum</a>"],
    );
    assert_says(&reading(&gateway, "fr").page("/.vestibule/none"), &["Rabbit &amp; Sons", ">Imprint</a>"]);
    let text = page.text().replace("&#x2f;", "/");
    let path =
        text.split('"').find(|part| part.contains("/assets/colors-")).expect("a stylesheet").to_owned();
    let style = gateway.visitor().get(&path);
    assert_eq!(style.header("content-type"), "text/css; charset=utf-8");
    assert!(style.text().starts_with(":root{--accent:#7a1f5c;"), "{}", style.text());
    assert!(!page.header("content-security-policy").contains("unsafe"), "no style stands in the page");
    setup(&backend).set("portal.branding.name", "'Hare'").write_to(&gateway.folder);
    assert!(gateway.reload().expect("a reload").contains("portal"));
    assert_says(&gateway.visitor().page(LOGIN), &["<title>Sign in · Hare</title>"]);
}

#[test]
fn templates_are_written_out_changed_and_taken_over_and_a_wrong_one_leaves_all_as_it_was() {
    let (backend, gateway) = house();
    let folder = gateway.folder.path("pages");
    let name = folder.to_str().expect("a path in UTF-8").to_owned();
    let written = gateway.folder.run(&["templates", &name]);
    assert_eq!(written.code, 0, "{}", written.stderr);
    assert_eq!(gateway.folder.run(&["templates", &name]).code, 2, "nothing is written over");
    let setup = setup(&backend).set("portal.templates", &format!("'{name}'"));
    setup.write_to(&gateway.folder);
    let before = gateway.visitor().page("/.vestibule/none").text().len();
    assert!(gateway.reload().expect("a reload").contains("portal"));
    assert_eq!(gateway.visitor().page("/.vestibule/none").text().len(), before, "they are ours still");
    let ours = std::fs::read_to_string(folder.join("error.html")).expect("a template");
    let theirs = ours.replace("<h1>{{ title }}</h1>", "<h1>Oh dear: {{ title }}</h1>");
    std::fs::write(folder.join("error.html"), &theirs).expect("a template");
    gateway.reload().expect("a reload");
    assert_says(&gateway.visitor().page("/.vestibule/none"), &["Oh dear: There is nothing here"]);
    std::fs::write(folder.join("error.html"), theirs.replace("{{ advice }}", "{{ advise }}"))
        .expect("a template");
    let refused = gateway.reload().expect_err("a wrong template");
    assert!(refused.contains("error.html:7: `advise` is not known on this page"), "{refused}");
    assert_says(&gateway.visitor().page("/.vestibule/none"), &["Oh dear: There is nothing here"]);
    let checked = gateway.folder.run(&["check"]);
    assert!(checked.code == 2 && checked.stderr.contains("error.html:7: "), "{}", checked.stderr);
}

#[test]
fn a_picture_that_is_none_keeps_a_gateway_from_starting() {
    let backend = Backend::start();
    let folder = Folder::new();
    folder.write("logo.svg", "no picture");
    setup(&backend).set("portal.branding.logo", "'logo.svg'").write_to(&folder);
    let checked = folder.run(&["check"]);
    assert_eq!(checked.code, 2);
    assert!(checked.stderr.contains("logo.svg: the logo is neither an SVG nor a PNG"), "{}", checked.stderr);
}

#[test]
fn a_login_method_that_is_not_configured_takes_no_login() {
    let backend = Backend::start();
    let gateway = Gateway::start(&setup(&backend).set("login.methods", "['password']"));
    let visitor = gateway.visitor();
    let page = visitor.page(LOGIN);
    assert!(!page.text().contains("data-passkey"), "{}", page.text());
    assert_eq!(visitor.post("/.vestibule/login/passkey", "answer=x").status, 404);
}

#[cfg(feature = "passkeys")]
#[test]
fn where_only_passkeys_sign_in_there_is_no_form_for_a_password_and_none_is_taken() {
    let backend = Backend::start();
    let gateway = Gateway::start(&setup(&backend).set("login.methods", "['passkey']"));
    let visitor = gateway.visitor();
    let page = visitor.page(LOGIN);
    assert!(!page.text().contains("type=\"password\""), "{}", page.text());
    assert_says(&page, &["Sign in with a passkey", "<noscript><p>Passkeys need JavaScript.</p></noscript>"]);
    assert_eq!(visitor.post(LOGIN, "user=alice&password=x").status, 404);
}

#[cfg(feature = "passkeys")]
#[test]
fn login_methods_are_offered_in_their_order() {
    let backend = Backend::start();
    let place = |methods: &str| {
        let gateway = Gateway::start(&setup(&backend).set("login.methods", methods));
        let text = gateway.visitor().page(LOGIN).text();
        assert_eq!(text.matches("class=\"or\"").count(), 1, "{text}");
        text.find("data-passkey").expect("passkeys") < text.find("type=\"password\"").expect("a password")
    };
    assert!(place("['passkey', 'password']"));
    assert!(!place("['password', 'passkey']"));
}
