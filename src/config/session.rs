//! `[session]` and `[session.cookie]`: where sessions are kept, how long, and how the cookie looks.
//!
//! Invariant: a remembered session outlives an ordinary one, and no session can be idle for longer
//! than it lives.

use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Duration;

use crate::portal::own_cookies;
use crate::session::lifetime::RENEWAL_GRACE;
use crate::session::{
    Beyond, Binding, Config, CookieConfig, Guests, Lifetimes, Limit, Policy, SameSite, StoreDown, StoreKind,
};
use crate::storage::{memcached, redis, sql};

use super::kind::choose;
use super::path::sqlite_file;
use super::problem::{Wrong, nearest, quoted};
use super::quantity::{self, show_duration};
use super::read::{Empty, Section, Zero};
use super::secret_text::{self, Keys};

/// Reads `[session]`; databases are relative to `state_dir`, files with secrets to `folder`.
pub(super) fn read(root: &mut Section<'_>, folder: &Path, state_dir: &Path) -> Config {
    root.within("session", |section| {
        let store = secret_text::read(section, &STORE, folder, |text| store(state_dir, text))
            .unwrap_or_else(|| StoreKind::Sqlite(state_dir.join("sessions.db")));
        let store = read_deny_list(section, folder, state_dir, store);
        let lifetimes = read_lifetimes(section);
        let cookie = section.within("cookie", read_cookie);
        let limit = read_limit(section);
        let binding = read_binding(section);
        let guests = if section.flag("anonymous", false) { Guests::Recognised } else { Guests::Unknown };
        let store_down = section.text("store_down", store_down).unwrap_or(StoreDown::Refuse);
        let recheck = section.duration("recheck", Duration::from_secs(5), Zero::Refused);
        Config { store, policy: Policy { lifetimes, cookie, limit, binding, guests, store_down, recheck } }
    })
}

/// SECURITY: what follows the scheme may hold a password, so no message repeats it.
fn store(state_dir: &Path, text: &str) -> Result<StoreKind, Wrong> {
    if let Some(file) = sqlite_file(state_dir, text) {
        return file.map(StoreKind::Sqlite);
    }
    let scheme = text.split(':').next().unwrap_or(text);
    match scheme {
        "memory" if text == "memory:" => Ok(StoreKind::Memory),
        "cookie" if text == "cookie:" => Ok(StoreKind::Browser(Box::new(ended(state_dir)))),
        "memory" | "cookie" => Err(Wrong::new(format!("`{scheme}:` has nothing after its colon"))
            .did_you_mean(&format!("{scheme}:"))),
        _ if REDIS.contains(&scheme) => {
            redis::Location::parse(text).map(StoreKind::Redis).map_err(not_a_place)
        }
        "memcached" => memcached::Location::parse(text).map(StoreKind::Memcached).map_err(not_a_place),
        _ if SQL.contains(&scheme) => sql::Location::parse(text).map(StoreKind::Sql).map_err(not_a_place),
        _ => Err(unknown_store(scheme)),
    }
}

fn not_a_place(error: impl std::fmt::Display) -> Wrong {
    Wrong::new(error.to_string())
}

/// Where sessions that browsers keep are marked as ended, unless `deny_list` says otherwise.
fn ended(state_dir: &Path) -> StoreKind {
    StoreKind::Sqlite(state_dir.join("ended.db"))
}

/// Reads where ended sessions are marked, for sessions that browsers keep.
fn read_deny_list(section: &mut Section<'_>, folder: &Path, state_dir: &Path, store: StoreKind) -> StoreKind {
    let marks = secret_text::read(section, &DENY_LIST, folder, |text| deny_list(state_dir, text));
    match (store, marks) {
        (StoreKind::Browser(_), Some(marks)) => StoreKind::Browser(Box::new(marks)),
        (StoreKind::Browser(marks), None) => StoreKind::Browser(marks),
        (store, Some(_)) => {
            let wrong = Wrong::new("it has no effect, since only `store = \"cookie:\"` needs it");
            section.refuse("deny_list", wrong.help("leave it out"));
            store
        }
        (store, None) => store,
    }
}

fn deny_list(state_dir: &Path, text: &str) -> Result<StoreKind, Wrong> {
    match store(state_dir, text)? {
        // SECURITY: a mark that is lost brings an ended session back.
        StoreKind::Memory | StoreKind::Memcached(_) | StoreKind::Browser(_) => {
            Err(Wrong::new("ended sessions would come back when it forgets them")
                .help("write `sqlite:FILE`, or a Redis or database"))
        }
        kept => Ok(kept),
    }
}

fn unknown_store(scheme: &str) -> Wrong {
    let wrong = Wrong::new(format!("{} is not a kind of session store", quoted(scheme)));
    let known = ["memory", "sqlite", "cookie", "memcached"].into_iter().chain(REDIS).chain(SQL);
    match nearest(scheme, known) {
        Some(near) => wrong.did_you_mean(&format!("{near}:")),
        None => wrong.help(STORES),
    }
}

fn read_lifetimes(section: &mut Section<'_>) -> Lifetimes {
    let lifetimes = Lifetimes {
        idle: section.duration("idle", Duration::from_mins(30), Zero::Refused),
        absolute: section.duration("absolute", Duration::from_hours(12), Zero::Refused),
        remember: section.duration("remember", Duration::from_hours(30 * 24), Zero::Allowed),
        renew_id: section.duration("renew_id", Duration::from_mins(15), Zero::Allowed),
    };
    if section.is_sound(&["renew_id"]) {
        check_renewal(section, &lifetimes);
    }
    if section.is_sound(&["idle", "absolute"]) {
        check_idle(section, &lifetimes);
    }
    if section.is_sound(&["absolute", "remember"]) {
        check_remember(section, &lifetimes);
    }
    lifetimes
}

fn check_idle(section: &mut Section<'_>, lifetimes: &Lifetimes) {
    if lifetimes.idle <= lifetimes.absolute {
        return;
    }
    let key = if section.gives("idle") { "idle" } else { "absolute" };
    let idle = value(section, "idle", lifetimes.idle);
    let absolute = value(section, "absolute", lifetimes.absolute);
    let wrong = Wrong::new(format!("a session would end before it could be idle: {idle}, {absolute}"));
    section.refuse(key, wrong.help("make `idle` the shorter one"));
}

fn check_remember(section: &mut Section<'_>, lifetimes: &Lifetimes) {
    let Lifetimes { absolute, remember, .. } = *lifetimes;
    let key = if section.gives("remember") { "remember" } else { "absolute" };
    if !remember.is_zero() && remember < absolute {
        let remember = value(section, "remember", remember);
        let absolute = value(section, "absolute", absolute);
        let wrong =
            Wrong::new(format!("a remembered session would be the shorter one: {remember}, {absolute}"));
        section.refuse(key, wrong.help("make `remember` the longer one, or `0s` not to offer it"));
    } else if remember > COOKIE_LIFE {
        let wrong = Wrong::new("browsers keep no cookie for longer than 400 days");
        section.refuse(key, wrong.help("write `400d` or less"));
    }
}

/// SECURITY: a token that is replaced faster than the grace of its predecessor ends could not be told
/// from a stolen one.
fn check_renewal(section: &mut Section<'_>, lifetimes: &Lifetimes) {
    let Lifetimes { renew_id, .. } = *lifetimes;
    if !renew_id.is_zero() && renew_id < 2 * RENEWAL_GRACE {
        let wrong = Wrong::new("requests that are under way could not keep up with such a renewal");
        section.refuse("renew_id", wrong.help("write `1m` or more, or `0s` to keep the first token"));
    }
}

fn read_limit(section: &mut Section<'_>) -> Option<Limit> {
    let count = section.integer("max_per_user", 5_usize, &(0..=1_000));
    let beyond = section.one_of("at_limit", Beyond::EvictOldest, &BEYOND, &[]);
    if count == 0 && section.gives("at_limit") {
        let wrong = Wrong::new("it has no effect, since `max_per_user` is 0 and sets no limit");
        section.refuse("at_limit", wrong.help("leave it out, or set `max_per_user`"));
    }
    NonZeroUsize::new(count).map(|sessions| Limit { sessions, beyond })
}

fn read_binding(section: &mut Section<'_>) -> Binding {
    let parts = section.list("bind", Empty::Allowed, |text| choose(text, &BINDINGS, &[]));
    let parts = parts.unwrap_or_else(|| vec![BoundTo::UserAgent]);
    Binding { user_agent: parts.contains(&BoundTo::UserAgent), address: parts.contains(&BoundTo::Address) }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum BoundTo {
    UserAgent,
    Address,
}

fn store_down(text: &str) -> Result<StoreDown, Wrong> {
    let help = "write `refuse`, or a grace as in `grace 5m`";
    match text.split_once(' ') {
        None if text == "refuse" => Ok(StoreDown::Refuse),
        Some(("grace", duration)) => {
            let grace = quantity::duration(duration.trim())?;
            if grace > GRACE_LIMIT {
                return Err(Wrong::new("a session that was revoked could go on for more than a day")
                    .help("write `24h` or less"));
            }
            Ok(StoreDown::Grace(grace))
        }
        _ => Err(Wrong::new(format!("{} is not known here", quoted(text))).help(help)),
    }
}

/// What `key` is set to and where, for a message about two keys.
fn value(section: &Section<'_>, key: &str, duration: Duration) -> String {
    let shown = show_duration(duration);
    match section.place_of(key).filter(|_| section.gives(key)) {
        Some(place) => format!("`{key}` is {shown} (line {})", place.line),
        None => format!("`{key}` is {shown} (the default)"),
    }
}

fn read_cookie(section: &mut Section<'_>) -> CookieConfig {
    CookieConfig {
        name: section.text("name", cookie_name).unwrap_or_else(|| "__Host-vestibule".to_owned()),
        same_site: section.text("same_site", same_site).unwrap_or(SameSite::Lax),
    }
}

fn cookie_name(text: &str) -> Result<String, Wrong> {
    let name = text.strip_prefix("__Host-").ok_or_else(|| {
        // SECURITY: only with this prefix do browsers refuse the cookie from other hosts and over
        // clear text (RFC 6265bis, section 4.1.3.2).
        Wrong::new(format!("{} does not begin with `__Host-`", quoted(text)))
            .help("the prefix keeps other hosts of your domain from setting the cookie")
    })?;
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if name.is_empty() || text.len() > COOKIE_NAME_LIMIT || !name.bytes().all(allowed) {
        return Err(Wrong::new(format!("{} is not a name for the session cookie", quoted(text)))
            .help("after `__Host-` write up to 57 letters, digits or `-_.`"));
    }
    // SECURITY: one would be taken for the other.
    if own_cookies("").contains(&text) {
        return Err(Wrong::new(format!("{} is another cookie of the gateway", quoted(text)))
            .help("choose another name"));
    }
    Ok(text.to_owned())
}

fn same_site(text: &str) -> Result<SameSite, Wrong> {
    match text.to_ascii_lowercase().as_str() {
        "lax" => Ok(SameSite::Lax),
        "strict" => Ok(SameSite::Strict),
        // SECURITY: the session would then accompany requests that any other site makes.
        "none" => Err(Wrong::new("`none` would send the session with requests that other sites make")
            .help("write `lax` or `strict`")),
        _ => Err(Wrong::new(format!("{} is not known here", quoted(text))).help("write `lax` or `strict`")),
    }
}

/// RFC 6265bis, section 5.5.
const COOKIE_LIFE: Duration = Duration::from_hours(400 * 24);

const GRACE_LIMIT: Duration = Duration::from_hours(24);

const BEYOND: [(&str, Beyond); 2] = [("evict-oldest", Beyond::EvictOldest), ("refuse", Beyond::Refuse)];

const BINDINGS: [(&str, BoundTo); 2] = [("user-agent", BoundTo::UserAgent), ("address", BoundTo::Address)];

const COOKIE_NAME_LIMIT: usize = 64;

const STORE: Keys = Keys { here: "store", file: "store_file", env: "store_env" };

const DENY_LIST: Keys = Keys { here: "deny_list", file: "deny_list_file", env: "deny_list_env" };

const STORES: &str = "write `sqlite:FILE`, `memory:`, `cookie:`, or the URL of a Redis or a database";

const REDIS: [&str; 6] =
    ["redis", "rediss", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster"];

const SQL: [&str; 4] = ["postgres", "postgresql", "mysql", "mariadb"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_in_a_store_is_not_repeated() {
        for text in [
            "redis://u:hunter2@host:x",
            "mongodb://u:hunter2@host",
            "memory:hunter2",
            "postgres://:hunter2@h",
        ] {
            let wrong = store(Path::new("/state"), text).unwrap_err();
            assert!(!format!("{wrong:?}").contains("hunter2"), "{wrong:?}");
        }
    }

    #[test]
    fn a_store_file_lies_in_the_state_folder() {
        let kind = store(Path::new("/state"), "sqlite:s.db");
        assert_eq!(kind, Ok(StoreKind::Sqlite("/state/s.db".into())));
    }

    #[test]
    fn a_cookie_name_that_other_hosts_could_set_is_refused() {
        assert!(cookie_name("__Host-wiki_1").is_ok());
        for bad in [
            "sid",
            "__host-sid",
            "__Secure-sid",
            "__Host-",
            "__Host-a b",
            "__Host-a=b",
            "__Host-a;",
            "__Host-vestibule-form",
        ] {
            assert!(cookie_name(bad).is_err(), "{bad:?}");
        }
    }
}
