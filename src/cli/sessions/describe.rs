//! Sessions in words for people.
//!
//! Invariant: nothing that came from a browser reaches the terminal as more than text.

use std::fmt::Write;
use std::time::Duration;

use super::browser::{browser, printable};
use crate::admin::question::{Entry, Left, SessionInfo, SessionReport, Stats, Verdict};
use crate::cli::span::span;

/// The head of a list.
pub(super) const HEAD: &str = "SESSION           USER              CREATED               LAST SEEN             \
    ENDS IN   ADDRESS          REMEMBERED  BROWSER\n";

/// A line of a list.
pub(super) fn line(entry: &Entry) -> String {
    match entry {
        Entry::Live(session) => format!(
            "{}  {:<16}  {}  {}  {:<8}  {:<15}  {:<10}  {}\n",
            short(&session.id),
            session.user,
            to_the_second(&session.created),
            to_the_second(&session.last_seen),
            span(Duration::from_secs(session.ends_in_seconds)),
            session.address,
            yes_or_no(session.remembered),
            browser(&session.user_agent),
        ),
        Entry::Unreadable { id, unreadable } => format!("{}  (cannot be used: {unreadable})\n", short(id)),
    }
}

/// One session and how it stands.
pub(super) fn report(report: &SessionReport) -> String {
    let mut text = format!("session        {}\n", report.id);
    if report.verdict != Verdict::Live {
        row(&mut text, "state", &report.reason);
    }
    text + &report.session.as_ref().map(session).unwrap_or_default()
}

/// All that is known of a session but its id.
pub(in crate::cli) fn session(session: &SessionInfo) -> String {
    let mut text = String::new();
    let groups = if session.groups.is_empty() { "-".to_owned() } else { session.groups.join(", ") };
    row(&mut text, "user", &session.user);
    row(&mut text, "groups", &groups);
    for (name, value) in [("name", &session.name), ("e-mail", &session.email)] {
        row(&mut text, name, &printable(value.as_deref().unwrap_or("-")));
    }
    row(&mut text, "method", &session.method);
    row(&mut text, "created", &session.created);
    row(&mut text, "authenticated", &session.authenticated);
    row(&mut text, "last seen", &session.last_seen);
    row(&mut text, "address", &session.address.to_string());
    let user_agent = if session.user_agent.is_empty() { "-" } else { &session.user_agent };
    row(&mut text, "browser", &printable(user_agent));
    row(&mut text, "key", &session.key);
    row(&mut text, "ends", &session.ends);
    for (limit, seconds) in limits(session.left) {
        row(&mut text, &format!("{limit} left"), &span(Duration::from_secs(seconds)));
    }
    text
}

/// The sessions in numbers.
pub(super) fn stats(stats: &Stats) -> String {
    let mut text = String::new();
    row(&mut text, "live sessions", &stats.live.to_string());
    row(&mut text, "users", &stats.users.to_string());
    row(&mut text, "oldest", stats.oldest.as_deref().unwrap_or("-"));
    row(&mut text, "in memory", &stats.cached.to_string());
    for key in &stats.keys {
        row(&mut text, &format!("key {}", key.key), &format!("{}, until {}", key.sessions, key.until));
    }
    text
}

/// A name and its value.
pub(in crate::cli) fn row(text: &mut String, name: &str, value: &str) {
    // Writing into a string cannot fail.
    let _infallible = writeln!(text, "{name:<13}  {value}");
}

fn limits(left: Left) -> Vec<(&'static str, u64)> {
    match left {
        Left::Ordinary { idle, absolute } => vec![("idle", idle), ("absolute", absolute)],
        Left::Remembered(seconds) => vec![("remembered", seconds)],
    }
}

fn short(id: &str) -> &str {
    id.get(..16).unwrap_or(id)
}

fn to_the_second(time: &str) -> String {
    time.split_once('.').map_or_else(|| time.to_owned(), |(seconds, _)| format!("{seconds}Z"))
}

const fn yes_or_no(flag: bool) -> &'static str {
    if flag { "yes" } else { "no" }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn info(left: Left) -> SessionInfo {
        SessionInfo {
            id: "0123456789abcdef".repeat(4),
            user: "alice".to_owned(),
            groups: vec!["staff".to_owned(), "wiki".to_owned()],
            name: Some("A.\u{1b}[31m".to_owned()),
            email: None,
            method: "password".to_owned(),
            created: "2026-11-21T04:10:00.123Z".to_owned(),
            authenticated: "2026-11-21T04:10:00.123Z".to_owned(),
            last_seen: "2026-11-21T04:11:00.456Z".to_owned(),
            address: IpAddr::from([192, 0, 2, 1]),
            user_agent: "curl/8.5.0\u{7}".to_owned(),
            remembered: matches!(left, Left::Remembered(_)),
            key: "5f3a09c1".to_owned(),
            ends: "2026-11-21T04:41:00.456Z".to_owned(),
            ends_in_seconds: 1_740,
            left,
        }
    }

    #[test]
    fn a_line_of_the_list_stands_below_its_head() {
        let line = line(&Entry::Live(Box::new(info(Left::Remembered(86_400)))));
        assert_eq!(
            line,
            "0123456789abcdef  alice             2026-11-21T04:10:00Z  2026-11-21T04:11:00Z  29 min    \
             192.0.2.1        yes         curl/8.5.0\u{fffd}\n"
        );
        for column in ["USER", "CREATED", "LAST SEEN", "ENDS IN", "ADDRESS", "REMEMBERED", "BROWSER"] {
            let at = HEAD.find(column).unwrap();
            let (before, value) = line.split_at(at);
            assert!(before.ends_with("  ") && !value.starts_with(' '), "{column}");
        }
        let unreadable = Entry::Unreadable { id: "ab".repeat(32), unreadable: "damaged".to_owned() };
        assert_eq!(super::line(&unreadable), "abababababababab  (cannot be used: damaged)\n");
    }

    #[test]
    fn a_session_is_told_with_what_is_left_of_its_limits() {
        let text = session(&info(Left::Ordinary { idle: 1_740, absolute: 43_140 }));
        assert!(text.ends_with("idle left      29 min\nabsolute left  11 h\n"), "{text}");
        assert!(
            text.contains("groups         staff, wiki\nname           A.\u{fffd}[31m\ne-mail         -\n")
        );
        let text = session(&info(Left::Remembered(259_200)));
        assert!(text.ends_with("remembered left  3 days\n"), "{text}");
    }
}
