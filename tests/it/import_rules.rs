//! Who may import whom: the floors of the house, and the few things that only one room may do.

use crate::harness::source::Source;

#[test]
fn every_room_imports_only_from_floors_below() {
    let mut faults = Vec::new();
    for source in Source::all() {
        let Some(room) = Room::of(&source) else { continue };
        for (imported, line) in source.imports() {
            if imported != room.name && !room.may_import(&imported) {
                faults.push(format!("{}:{line} imports `{imported}`", source.path));
            }
        }
    }
    assert_none(&faults);
}

#[test]
fn every_file_belongs_to_a_room_with_a_floor() {
    let sources = Source::all();
    let homeless = sources.iter().filter(|source| Room::of(source).is_none() && source.path != "lib.rs");
    assert_none(&homeless.map(|source| source.path.clone()).collect::<Vec<_>>());
    assert!(sources.len() > 50, "the source was not found");
}

#[test]
fn no_file_leaves_its_room_by_super() {
    let mut faults = Vec::new();
    for source in Source::all() {
        let leaves = source.supers().into_iter().filter(|(count, _)| *count >= source.depth());
        faults.extend(leaves.map(|(_, line)| format!("{}:{line}", source.path)));
    }
    assert_none(&faults);
}

#[test]
fn main_calls_the_commands_and_nothing_else() {
    let main = Source::all().into_iter().find(|source| source.path == "main.rs").expect("main.rs");
    assert_eq!(main.lines_with(&["vestibule", "::"]), main.lines_with(&["vestibule", "::", "cli"]));
}

#[test]
fn only_the_gateway_forwards_to_a_backend() {
    let calls = lines(&["proxy", "::", "forward"], |source| source.room() != "gateway");
    assert_none(&calls);
    let imports = lines(&["forward"], |source| !["gateway", "proxy"].contains(&source.room()));
    assert_none(&imports);
}

#[test]
fn only_the_decision_makes_a_permit() {
    let mut made = lines(&["Permit", "{"], |source| source.path != "gateway/decision.rs");
    made.extend(lines(&["Permit", "("], |source| source.room() == "gateway"));
    assert_none(&made);
}

#[test]
fn only_the_configuration_the_key_file_and_the_words_of_pages_know_toml() {
    let homes = ["config/", "session/keyring/", "portal/languages/"];
    let may_know = |source: &Source| homes.iter().any(|home| source.path.starts_with(home));
    assert_none(&lines(&["toml"], |source| !may_know(source)));
}

#[test]
fn only_the_clock_reads_the_time() {
    for clock in ["SystemTime", "Instant"] {
        assert_none(&lines(&[clock, "::", "now"], |source| source.path != "clock.rs"));
    }
}

#[test]
fn every_file_says_first_what_it_does() {
    let silent = Source::all().into_iter().filter(|source| !source.text.starts_with("//! "));
    assert_none(&silent.map(|source| source.path).collect::<Vec<_>>());
}

#[test]
fn no_file_and_no_function_grows_too_long() {
    let mut faults = Vec::new();
    for source in Source::all() {
        if source.lines > LONGEST_FILE {
            faults.push(format!("{} has {} lines without its tests", source.path, source.lines));
        }
        let long = source.functions().into_iter().filter(|(_, lines)| *lines > LONGEST_FUNCTION);
        faults.extend(long.map(|(name, lines)| format!("{}: `{name}` has {lines} lines", source.path)));
    }
    assert_none(&faults);
}

#[test]
fn no_file_has_a_name_that_says_nothing() {
    let says_nothing = |part: &str| EMPTY_NAMES.contains(&part) || part.ends_with("_main");
    let sources = Source::all().into_iter();
    let found = sources.filter(|source| source.path.trim_end_matches(".rs").split('/').any(says_nothing));
    assert_none(&found.map(|source| source.path).collect::<Vec<_>>());
}

#[test]
fn imports_are_seen_in_every_spelling_and_tests_are_left_out() {
    let text = "use crate::{app::Gateway, session::{cookie, token}, clock};\n\
                /* crate::admin */ // crate::cli\n\
                fn call() { let text = \"crate::portal\"; crate::proxy::forward('\\'', b'\"') }\n\
                #[cfg(test)]\nmod tests {\n    use crate::config::Config;\n}\n\
                #[cfg(test)]\nmod trials;\n\
                fn last<'a>(text: &'a str) -> crate::login::Rate { r#\"crate::server \"\"# }\n";
    let source = Source::new("gateway/mod.rs".to_owned(), text.to_owned());
    let imports: Vec<String> = source.imports().into_iter().map(|(room, _)| room).collect();
    assert_eq!(imports, ["app", "session", "clock", "proxy", "login"]);
    assert_eq!(source.lines, 4);
    assert_eq!(source.functions(), [("call".to_owned(), 1), ("last".to_owned(), 1)]);
}

/// One of the top-level modules.
struct Room {
    name: &'static str,
    floor: u8,
    /// What it may not import although it is on a floor below.
    closed: &'static [&'static str],
}

impl Room {
    fn named(name: &str) -> Option<&'static Self> {
        ROOMS.iter().find(|room| room.name == name)
    }

    fn of(source: &Source) -> Option<&'static Self> {
        Self::named(source.room())
    }

    /// Only what is below: so there are no circles either.
    fn may_import(&self, imported: &str) -> bool {
        let below = Self::named(imported).is_some_and(|other| other.floor < self.floor);
        below && !self.closed.contains(&imported)
    }
}

/// Where these words follow each other in files that `is_wrong` says must not have them.
fn lines(words: &[&str], is_wrong: impl Fn(&Source) -> bool) -> Vec<String> {
    let sources = Source::all().into_iter().filter(is_wrong);
    sources
        .flat_map(|source| {
            let found = source.lines_with(words).into_iter();
            found.map(|line| format!("{}:{line}", source.path)).collect::<Vec<_>>()
        })
        .collect()
}

#[track_caller]
fn assert_none(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

const fn room(floor: u8, name: &'static str, closed: &'static [&'static str]) -> Room {
    Room { name, floor, closed }
}

const ROOMS: &[Room] = &[
    room(0, "secret", &[]),
    room(0, "clock", &[]),
    room(0, "identity", &[]),
    room(0, "ip_text", &[]),
    room(1, "pace", &[]),
    room(1, "telemetry", &[]),
    room(1, "storage", &[]),
    room(2, "session", &[]),
    room(2, "login", &[]),
    room(2, "proxy", &[]),
    room(2, "server", &[]),
    room(3, "portal", &["server", "proxy"]),
    room(3, "admin", &["server", "proxy"]),
    room(4, "gateway", &["server", "admin"]),
    room(5, "config", &[]),
    room(6, "app", &[]),
    room(7, "cli", &[]),
    room(7, "main", &[]),
];

const EMPTY_NAMES: &[&str] = &["utils", "util", "helpers", "common", "misc", "types", "manager"];

const LONGEST_FILE: usize = 450;

const LONGEST_FUNCTION: usize = 60;
