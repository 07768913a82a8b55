//! The configuration as a whole: the reference, the deployment stories and the bad configurations.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use super::*;
use crate::login::accounts::Place;

#[test]
fn every_bad_configuration_gets_its_exact_message() {
    let bless = env::var_os("BLESS").is_some();
    for file in toml_files("tests/bad_configs") {
        let text = fs::read_to_string(&file).unwrap();
        let name = Path::new(file.file_name().unwrap());
        let problems = Config::parse(&text, name).expect_err(&file.display().to_string());
        let expected = file.with_extension("expected");
        let found = format!("{problems}\n");
        if bless {
            fs::write(&expected, &found).unwrap();
        }
        let expected = fs::read_to_string(&expected).unwrap_or_default();
        assert_eq!(found, expected, "{}", file.display());
    }
}

#[test]
fn every_deployment_story_loads() {
    for file in toml_files("config") {
        if let Err(problems) = Config::load(&file) {
            panic!("{problems}");
        }
    }
}

#[test]
fn the_reference_names_every_key_that_the_code_knows() {
    let described = keys_in(&reference_text());
    let known: BTreeSet<String> = known_keys().into_iter().collect();
    let missing: Vec<_> = known.difference(&described).collect();
    assert!(missing.is_empty(), "missing in config/reference.toml: {missing:?}");
    let unknown: Vec<_> = described.difference(&known).collect();
    assert!(unknown.is_empty(), "config/reference.toml describes what no code reads: {unknown:?}");
}

#[test]
fn the_reference_shows_the_defaults() {
    let path = Path::new("/etc/vestibule/vestibule.toml");
    let reference = Config::parse(&reference_text(), path).unwrap();
    let least = Config::parse(LEAST, path).unwrap();
    assert_eq!(reference.server, least.server);
    assert_eq!(reference.keys, least.keys);
    assert_eq!(reference.session, least.session);
    // What a program has depends on how it was built.
    let methods = least.login.methods.clone();
    assert_eq!(crate::login::Config { methods, ..reference.login }, least.login);
    assert_eq!(reference.gateway.identity, least.gateway.identity);
    assert_eq!(reference.gateway.headers, least.gateway.headers);
    assert_eq!(reference.gateway.trusted_proxies, least.gateway.trusted_proxies);
    assert_eq!((reference.admin, reference.telemetry), (least.admin, least.telemetry));
    // Nobody's pages are dressed by default.
    let (branding, templates) = (least.portal.branding.clone(), None);
    let portal = crate::portal::Config { branding, templates, ..reference.portal };
    assert_eq!((portal, reference.state_dir), (least.portal, least.state_dir));
}

#[test]
fn files_are_relative_to_the_configuration_and_state_to_the_state_folder() {
    let text = LEAST.replace("[server]", "[server]\nstate_dir = \"state\"");
    let config = Config::parse(&text, Path::new("/srv/gate/vestibule.toml")).unwrap();
    let certificate = config.server.tls.certificates.first().unwrap();
    assert_eq!(certificate.cert, Path::new("/srv/gate/certs/gateway.pem"));
    assert_eq!(config.keys, Path::new("/srv/gate/keys.toml"));
    assert_eq!(config.login.users, Place::Sqlite("/srv/gate/state/users.db".into()));
    assert_eq!(config.admin.socket, Path::new("/srv/gate/state/admin.sock"));
    assert_eq!(config.telemetry.audit, Path::new("/srv/gate/state/audit.log"));
}

#[test]
fn a_file_that_is_not_there_is_one_clear_problem() {
    let problems = Config::load(Path::new("nowhere/vestibule.toml")).unwrap_err();
    assert_eq!(
        problems.to_string(),
        "nowhere/vestibule.toml: there is no such file; \
         name the file with `-c FILE`, or let `vestibule quickstart` write one"
    );
}

#[test]
fn a_file_that_is_not_text_is_one_clear_problem() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vestibule.toml");
    fs::write(&path, b"\xff\xfe").unwrap();
    let problems = Config::load(&path).unwrap_err();
    assert!(problems.to_string().ends_with("the file is not UTF-8 text"), "{problems}");
}

#[test]
fn an_array_lists_the_keys_of_its_elements_though_it_is_empty() {
    let known = known_keys();
    for key in ["server.limits.body_bytes", "tls.certificate[].key", "upstream[].name", "route[].path"] {
        assert!(known.iter().any(|known| known == key), "{key}");
    }
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in "\\PC{0,200}|(\\[{0,2}[a-z.]{0,9}\\]{0,2}\n?|[a-z_]{1,9} = [0-9\"\\[{]{0,3}\n){0,9}") {
        let _ = Config::parse(&text, Path::new("v.toml"));
    }
}

fn toml_files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files.filter(|file| file.extension().is_some_and(|end| end == "toml")).collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

fn reference_text() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("config/reference.toml")).unwrap()
}

/// The dotted keys of a configuration, those in comments of the form `# key = value` included.
fn keys_in(text: &str) -> BTreeSet<String> {
    let (mut section, mut array, mut keys) = (String::new(), String::new(), BTreeSet::new());
    for line in text.lines().map(|line| line.trim_start_matches("# ")) {
        if let Some(name) = line.strip_prefix("[[").and_then(|rest| rest.split("]]").next()) {
            name.clone_into(&mut array);
            section = format!("{name}[]");
        } else if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            // A table below the last element of an array belongs to that element.
            let below = name.strip_prefix(array.as_str()).filter(|rest| rest.starts_with('.'));
            section = below.map_or_else(|| name.to_owned(), |rest| format!("{array}[]{rest}"));
        } else if let Some((key, _)) = line.split_once(" = ").filter(|(key, _)| is_key(key)) {
            keys.insert(format!("{section}.{key}"));
        }
    }
    keys
}

fn is_key(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

/// Everything left out that has a default.
const LEAST: &str = r#"
[server]
[[tls.certificate]]
cert = "certs/gateway.pem"
key = "certs/gateway.key"
[[route]]
upstream = "builtin"
"#;
