//! Pages in the clothes of a deployer, and what is told them when these do not fit.

use std::collections::BTreeMap;

use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use tempfile::TempDir;

use super::*;

const PATH: &str = "/.vestibule";

/// A folder of templates with these files.
fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in files {
        std::fs::write(folder.path().join(name), content).unwrap();
    }
    folder
}

fn config(folder: &TempDir) -> Config {
    Config { templates: Some(folder.path().to_owned()), ..Config::at(PATH) }
}

/// What is wrong with a folder of these files, without the folder.
fn faults(files: &[(&str, &str)]) -> Vec<String> {
    let folder = folder(files);
    let errors = Look::load(&config(&folder)).err().unwrap_or_default();
    let prefix = format!("{}/", folder.path().display());
    errors.iter().map(|error| error.to_string().replace(&prefix, "")).collect()
}

fn error_page(look: &Look, language: Language) -> String {
    let words = [
        ("title", "T"),
        ("happened", "H"),
        ("advice", "A"),
        ("host", "wiki"),
        ("request_id", "r"),
        ("next", "x"),
    ];
    let mut context: BTreeMap<&str, Value> =
        words.into_iter().map(|(key, value)| (key, Value::from(value))).collect();
    context.extend(["user", "groups", "again"].map(|key| (key, Value::from(()))));
    context.extend(["is_stranger", "is_start", "is_explained"].map(|key| (key, Value::from(false))));
    context.insert("status", Value::from(403));
    look.render(language, "error.html", &context).unwrap()
}

#[test]
fn a_template_takes_the_place_of_ours_and_the_others_stay() {
    let folder = folder(&[
        (
            "error.html",
            "{% extends \"base.html\" %}{% block content %}<p>{{ happened }} ({{ strings.sign_in }}){% endblock %}",
        ),
        ("notes.txt", "{{ this is no template"),
    ]);
    let look = Look::load(&config(&folder)).unwrap();
    let page = error_page(&look, Language::German);
    assert!(page.contains("<p>H (Anmelden)") && page.contains("<html lang=\"de\">"), "{page}");
}

#[test]
fn what_a_visitor_brings_is_escaped_in_every_template() {
    let folder = folder(&[("error.html", "{{ title }} {{ title|upper }} {{ title ~ title }}")]);
    let look = Look::load(&config(&folder)).unwrap();
    let context = BTreeMap::from([("title", "<b>")]);
    let page = look.render(Language::English, "error.html", &context).unwrap();
    assert_eq!(page, "&lt;b&gt; &lt;B&gt; &lt;b&gt;&lt;b&gt;");
}

#[test]
fn a_template_that_fails_on_a_real_page_leaves_its_place_to_ours() {
    let folder = folder(&[("error.html", "{{ title.no.such.thing }}")]);
    let look = Look::load(&config(&folder)).unwrap();
    assert!(error_page(&look, Language::English).contains("<h1>T</h1>"));
}

#[test]
fn a_template_that_cannot_work_is_refused_with_its_line() {
    for (name, source, expected) in [
        ("login.html", "a\n{% if x %}", "login.html:2: "),
        ("login.html", "a\nb\n{{ usr }}", "login.html:3: `usr` is not known on this page"),
        ("login.html", "{{ codes_left }}", "login.html:1: `codes_left` is not known on this page"),
        (
            "login.html",
            "\n{{ strings.sing_in }}",
            "login.html:2: `strings.sing_in` is not known on this page",
        ),
        ("login.html", "\n{{ brand.colour }}", "login.html:2: `brand.colour` is not known on this page"),
        ("login.html", "\n{% extends \"bse.html\" %}", "login.html:2: "),
        ("login.html", "{% include \"foot.html\" %}", "login.html:1: "),
        ("login.html", "\n\n{{ host|shout }}", "login.html:3: "),
        ("login.html", "{{ host|safe }}", "login.html:1: "),
        (
            "login.html",
            "\n{%- autoescape false %}{{ host }}{% endautoescape %}",
            "login.html:2: escaping cannot be turned off",
        ),
        (
            "logn.html",
            "",
            "logn.html: no template of ours has this name; `vestibule templates FOLDER` writes them all",
        ),
    ] {
        let found = faults(&[(name, source)]);
        assert!(found.len() == 1 && found[0].starts_with(expected), "{source:?}: {found:?}");
    }
}

#[test]
fn everything_that_is_wrong_is_told_at_once() {
    let found = faults(&[("login.html", "{{ usr }}\n{{ pasword }}"), ("error.html", "{{ titel }}")]);
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(faults(&[("login.html", "{% if %}"), ("error.html", "{{ }}")]).len() == 2);
}

#[test]
fn our_own_templates_written_to_a_folder_are_in_order_there() {
    let files: Vec<_> = originals().collect();
    let folder = folder(&files);
    let look = Look::load(&config(&folder)).unwrap_or_else(|errors| panic!("{errors:#?}"));
    let ours = Look::load(&Config::at(PATH)).unwrap();
    for language in Language::ALL {
        assert_eq!(error_page(&look, language), error_page(&ours, language));
    }
}

#[test]
fn a_stylesheet_beside_the_templates_takes_the_place_of_ours() {
    let folder = folder(&[("style.css", "body { color: red }")]);
    let look = Look::load(&config(&folder)).unwrap();
    let page = error_page(&look, Language::English);
    let link = page.split("href=\"").nth(1).unwrap().split('"').next().unwrap().replace("&#x2f;", "/");
    let asset = look.asset(link.strip_prefix("/.vestibule/assets/").unwrap()).unwrap();
    assert_eq!(asset.body(), "body { color: red }");
}

#[test]
fn a_picture_is_shown_on_every_page_and_can_do_nothing_by_itself() {
    let folder =
        folder(&[("logo.svg", "<svg xmlns=\"http://www.w3.org/2000/svg\"><script>alert(1)</script></svg>")]);
    let branding = Branding {
        logo: Some(folder.path().join("logo.svg")),
        name: Some("A & B".to_owned()),
        ..Branding::default()
    };
    let look = Look::load(&Config { branding, ..Config::at(PATH) }).unwrap();
    let page = error_page(&look, Language::English);
    assert!(page.contains("alt=\"A &amp; B\"") && page.contains("<title>T · A &amp; B</title>"), "{page}");
    let name = page.split("assets&#x2f;logo-").nth(1).unwrap().split('"').next().unwrap();
    let asset = look.asset(&format!("logo-{name}")).unwrap();
    assert_eq!(asset.headers()[CONTENT_TYPE], "image/svg+xml");
    assert!(asset.headers()[CONTENT_SECURITY_POLICY].to_str().unwrap().starts_with("default-src 'none'"));
    assert!(asset.headers()[CONTENT_SECURITY_POLICY].to_str().unwrap().ends_with("; sandbox"));
}

#[test]
fn a_picture_that_is_none_or_too_large_or_not_there_is_refused() {
    let large = format!("<svg>{}</svg>", "x".repeat(logo::LARGEST));
    let folder = folder(&[("page.svg", "<html></html>"), ("large.svg", &large)]);
    for (file, expected) in [
        ("page.svg", "neither an SVG nor a PNG"),
        ("large.svg", "larger than 16 KiB"),
        ("none.svg", "No such file"),
    ] {
        let branding = Branding { logo: Some(folder.path().join(file)), ..Branding::default() };
        let errors = Look::load(&Config { branding, ..Config::at(PATH) }).unwrap_err();
        assert!(errors.len() == 1 && errors[0].to_string().contains(expected), "{errors:?}");
    }
}
