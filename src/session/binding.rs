//! Whether a request comes from the browser and the network that a session began in.
//!
//! Pure. Invariant: what is compared is what the login saw, never what a later request claimed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::record::{USER_AGENT_LIMIT, cut};

/// What a session is bound to; a mismatch ends it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Binding {
    /// The browser must be the same.
    pub user_agent: bool,
    /// The address must be of the same network: /24 for IPv4, /64 for IPv6.
    pub address: bool,
}

/// What a session was bound to and does not fit any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mismatch {
    /// Another browser.
    UserAgent,
    /// An address of another network.
    Address,
}

/// A browser and where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Device<'a> {
    /// What the browser says it is.
    pub user_agent: &'a str,
    /// Its address.
    pub address: IpAddr,
}

impl Binding {
    /// What keeps `now` from being the device that logged in as `then`.
    #[must_use]
    pub fn mismatch(self, then: Device<'_>, now: Device<'_>) -> Option<Mismatch> {
        if self.user_agent && !is_same_browser(then.user_agent, cut(now.user_agent)) {
            return Some(Mismatch::UserAgent);
        }
        if self.address && network(then.address) != network(now.address) {
            return Some(Mismatch::Address);
        }
        None
    }
}

/// Versions do not count: a browser that updates itself is still the same one. Where texts were cut, their
/// versions may have moved the cut, so what is missing behind it does not count either.
fn is_same_browser(then: &str, now: &str) -> bool {
    if then == now {
        return true;
    }
    let (mut then_named, mut now_named) = (without_versions(then), without_versions(now));
    let was_cut = |text: &str| text.len() + 3 >= USER_AGENT_LIMIT;
    loop {
        match (then_named.next(), now_named.next()) {
            (None, None) => return true,
            (Some(a), Some(b)) if a == b => {}
            (Some(_), Some(_)) => return false,
            (None, Some(_)) | (Some(_), None) => return was_cut(then) && was_cut(now),
        }
    }
}

fn without_versions(text: &str) -> impl Iterator<Item = u8> {
    text.bytes().filter(|byte| !byte.is_ascii_digit() && *byte != b'.')
}

fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => Ipv4Addr::from(u32::from(address) & (u32::MAX << 8)).into(),
        IpAddr::V6(address) => Ipv6Addr::from(u128::from(address) & (u128::MAX << 64)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIREFOX: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0";

    fn device<'a>(user_agent: &'a str, address: &str) -> Device<'a> {
        Device { user_agent, address: address.parse().unwrap() }
    }

    #[test]
    fn a_browser_that_updates_itself_is_the_same_one_and_another_is_not() {
        let binding = Binding { user_agent: true, address: false };
        let mismatch = |now: &str| binding.mismatch(device(FIREFOX, "192.0.2.1"), device(now, "203.0.113.9"));
        assert_eq!(mismatch(FIREFOX), None);
        assert_eq!(mismatch(&FIREFOX.replace("145.0", "146.0.1")), None);
        assert_eq!(mismatch(&FIREFOX.replace("Linux", "Windows")), Some(Mismatch::UserAgent));
        assert_eq!(mismatch("curl/8.5.0"), Some(Mismatch::UserAgent));
        assert_eq!(mismatch(""), Some(Mismatch::UserAgent));
    }

    #[test]
    fn a_long_name_may_end_where_its_version_moved_the_cut() {
        let binding = Binding { user_agent: true, address: false };
        let long = |version: &str| format!("App/{version} ({})", "x".repeat(300));
        let (then, now) = (long("99"), long("100"));
        assert_eq!(binding.mismatch(device(cut(&then), "::1"), device(&now, "::1")), None);
        let short = "App/99 (xxx";
        assert!(binding.mismatch(device(cut(&then), "::1"), device(short, "::1")).is_some());
    }

    #[test]
    fn an_address_of_the_same_network_is_the_same_place() {
        let binding = Binding { user_agent: false, address: true };
        let mismatch = |then, now| binding.mismatch(device("a", then), device("b", now)).is_some();
        assert!(!mismatch("192.0.2.1", "192.0.2.254"));
        assert!(mismatch("192.0.2.1", "192.0.3.1"));
        assert!(!mismatch("2001:db8:1:2::1", "2001:db8:1:2:ffff::9"));
        assert!(mismatch("2001:db8:1:2::1", "2001:db8:1:3::1"));
        assert!(!mismatch("::ffff:192.0.2.1", "192.0.2.9"));
        assert!(mismatch("192.0.2.1", "2001:db8::1"));
    }

    #[test]
    fn what_is_not_bound_may_change() {
        let (then, now) = (device("a", "192.0.2.1"), device("b", "2001:db8::1"));
        assert_eq!(Binding::default().mismatch(then, now), None);
    }

    #[test]
    fn a_long_user_agent_fits_what_was_kept_of_it() {
        let long = "u".repeat(1_000);
        let binding = Binding { user_agent: true, address: false };
        assert_eq!(binding.mismatch(device(cut(&long), "::1"), device(&long, "::1")), None);
    }
}
