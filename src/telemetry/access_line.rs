//! One line of the access log, as text or as JSON.
//!
//! Written byte by byte: every request pays for it, and `core::fmt` would cost three times as much.
//! Invariant: no value from outside ends a field or a line (CWE-117). Queries are never written: they
//! hold tokens and names.

use std::io::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use super::Format;
use super::rule::Rule;
use crate::clock::Timestamp;
use crate::ip_text;

/// What is said of one request.
#[derive(Debug)]
pub struct AccessLine<'a> {
    /// When the request came.
    pub time: Timestamp,
    /// The real client.
    pub client: IpAddr,
    /// Who asked; none for guests.
    pub user: Option<&'a str>,
    /// The request method.
    pub method: &'a str,
    /// The protocol of the request.
    pub protocol: &'static str,
    /// The host asked for.
    pub host: &'a str,
    /// The path asked for, without its query.
    pub path: &'a str,
    /// The status of the response.
    pub status: u16,
    /// Bytes of the response body that were sent.
    pub bytes: u64,
    /// From the request head to the end of the response body.
    pub duration: Duration,
    /// What was done with the request.
    pub outcome: &'static str,
    /// Why it was not served.
    pub reason: Option<&'static str>,
    /// The part of the rule that would have refused it, had it not been told only to report that.
    pub spared: Option<Rule>,
    /// The upstream that answered.
    pub upstream: Option<&'a str>,
    /// The id that the response and the backend carry too.
    pub request_id: &'a str,
}

impl AccessLine<'_> {
    /// Appends the line and its end to `lines`.
    pub(super) fn write(&self, format: Format, lines: &mut Vec<u8>) {
        match format {
            Format::Text => self.write_text(lines),
            Format::Json => self.write_json(lines),
        }
        lines.push(b'\n');
    }

    /// `time client user "METHOD host path PROTOCOL" status bytes ms outcome[/reason] upstream request_id
    /// [report_only=rule]`
    fn write_text(&self, out: &mut Vec<u8>) {
        time(out, self.time);
        out.push(b' ');
        ip_text::push(out, self.client);
        out.push(b' ');
        plain(out, self.user.unwrap_or("-"));
        raw(out, " \"");
        plain(out, self.method);
        out.push(b' ');
        plain(out, self.host);
        plain(out, self.path);
        out.push(b' ');
        raw(out, self.protocol);
        raw(out, "\" ");
        number(out, self.status);
        out.push(b' ');
        number(out, self.bytes);
        out.push(b' ');
        milliseconds(out, self.duration);
        raw(out, "ms ");
        raw(out, self.outcome);
        if let Some(reason) = self.reason {
            out.push(b'/');
            raw(out, reason);
        }
        out.push(b' ');
        plain(out, self.upstream.unwrap_or("-"));
        out.push(b' ');
        raw(out, self.request_id);
        if let Some(rule) = self.spared {
            raw(out, " report_only=");
            raw(out, rule.as_str());
        }
    }

    fn write_json(&self, out: &mut Vec<u8>) {
        raw(out, "{\"time\":\"");
        time(out, self.time);
        raw(out, "\",\"client\":\"");
        ip_text::push(out, self.client);
        let texts = [
            ("\",\"user\":\"", self.user.unwrap_or_default()),
            ("\",\"method\":\"", self.method),
            ("\",\"host\":\"", self.host),
            ("\",\"path\":\"", self.path),
            ("\",\"protocol\":\"", self.protocol),
        ];
        for (name, value) in texts {
            raw(out, name);
            plain(out, value);
        }
        raw(out, "\",\"status\":");
        number(out, self.status);
        raw(out, ",\"bytes\":");
        number(out, self.bytes);
        raw(out, ",\"microseconds\":");
        number(out, u64::try_from(self.duration.as_micros()).unwrap_or(u64::MAX));
        let texts = [
            (",\"outcome\":\"", self.outcome),
            ("\",\"reason\":\"", self.reason.unwrap_or_default()),
            ("\",\"upstream\":\"", self.upstream.unwrap_or_default()),
            ("\",\"request_id\":\"", self.request_id),
        ];
        for (name, value) in texts {
            raw(out, name);
            plain(out, value);
        }
        if let Some(rule) = self.spared {
            raw(out, "\",\"report_only\":\"");
            raw(out, rule.as_str());
        }
        raw(out, "\"}");
    }
}

fn raw(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
}

fn number(out: &mut Vec<u8>, number: impl itoa::Integer) {
    raw(out, itoa::Buffer::new().format(number));
}

fn time(out: &mut Vec<u8>, time: Timestamp) {
    // Writing into a vector cannot fail.
    drop(write!(out, "{time}"));
}

/// With three digits behind the point.
fn milliseconds(out: &mut Vec<u8>, duration: Duration) {
    number(out, u64::try_from(duration.as_millis()).unwrap_or(u64::MAX));
    let micros = duration.subsec_micros() % 1000;
    out.push(b'.');
    for scale in [100, 10] {
        if micros < scale {
            out.push(b'0');
        }
    }
    number(out, micros);
}

/// Text from outside, with everything percent-encoded that could end a field or a line.
fn plain(out: &mut Vec<u8>, text: &str) {
    // SECURITY: no log injection (CWE-117): only visible ASCII passes, without `"` and `\`.
    let is_odd = |byte: &u8| !byte.is_ascii_graphic() || matches!(byte, b'"' | b'\\');
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(is_odd) {
        let (clean, odd) = rest.split_at(at);
        out.extend_from_slice(clean);
        if let Some((byte, after)) = odd.split_first() {
            out.extend_from_slice(&[b'%', digit(byte >> 4), digit(byte & 0xF)]);
            rest = after;
        }
    }
    out.extend_from_slice(rest);
}

const fn digit(value: u8) -> u8 {
    if value < 10 { b'0' + value } else { b'A' + value - 10 }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn line(path: &str) -> AccessLine<'_> {
        AccessLine {
            time: Timestamp::from_millis(0),
            client: Ipv4Addr::LOCALHOST.into(),
            user: Some("alice"),
            method: "GET",
            protocol: "HTTP/1.1",
            host: "wiki.example.com",
            path,
            status: 200,
            bytes: 42,
            duration: Duration::from_micros(1_034),
            outcome: "forwarded",
            reason: None,
            spared: None,
            upstream: Some("wiki"),
            request_id: "00112233aabbccdd",
        }
    }

    fn written(format: Format, line: &AccessLine<'_>) -> String {
        let mut lines = Vec::new();
        line.write(format, &mut lines);
        String::from_utf8(lines).unwrap()
    }

    #[test]
    fn a_text_line_says_who_asked_for_what_and_what_came_of_it() {
        assert_eq!(
            written(Format::Text, &line("/page")),
            "1970-01-01T00:00:00.000Z 127.0.0.1 alice \"GET wiki.example.com/page HTTP/1.1\" 200 42 1.034ms \
             forwarded wiki 00112233aabbccdd\n"
        );
        let refused = AccessLine { reason: Some("no_host"), upstream: None, user: None, ..line("/page") };
        assert!(written(Format::Text, &refused).ends_with(" 1.034ms forwarded/no_host - 00112233aabbccdd\n"));
    }

    #[test]
    fn a_line_says_which_rule_would_have_refused_what_passed() {
        let spared = AccessLine { spared: Some(Rule::Mfa), ..line("/page") };
        assert!(written(Format::Text, &spared).ends_with(" wiki 00112233aabbccdd report_only=mfa\n"));
        let value: serde_json::Value = serde_json::from_str(&written(Format::Json, &spared)).unwrap();
        assert_eq!(value["report_only"], "mfa");
        assert!(!written(Format::Json, &line("/page")).contains("report_only"));
    }

    #[test]
    fn a_duration_has_three_digits_behind_its_point() {
        for (micros, text) in
            [(0, "0.000"), (7, "0.007"), (70, "0.070"), (700, "0.700"), (61_000_010, "61000.010")]
        {
            let mut out = Vec::new();
            milliseconds(&mut out, Duration::from_micros(micros));
            assert_eq!(out, text.as_bytes());
        }
    }

    #[test]
    fn a_json_line_is_json_whatever_the_path_holds() {
        let text = written(Format::Json, &line("/a\"b\\c\nd\u{e9}"));
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["path"], "/a%22b%5Cc%0Ad%C3%A9");
        assert_eq!(value["microseconds"], 1034);
    }

    #[test]
    fn a_path_cannot_forge_a_second_line() {
        assert_eq!(written(Format::Text, &line("/a\r\n1970 forged")).lines().count(), 1);
    }
}
