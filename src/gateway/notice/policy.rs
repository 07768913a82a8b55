//! What a content security policy must allow for our script (CSP Level 3).
//!
//! Reads no more of a policy than it needs: a source that it does not know is taken to allow nothing, so that at
//! worst something is added that was allowed already. Invariants: what is added is the address of our script and
//! those that it asks, to the directives that stand in the way; everything else stays.

use std::borrow::Cow;

use super::refusal::Refusal;

/// What our script needs of the policies of a page, and the nonce that it has to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Admission {
    address: String,
    script: String,
    connect: String,
    nonce: Option<String>,
}

impl Admission {
    /// For the script below `portal`, an address without a slash at its end.
    pub(super) fn of(portal: &str) -> Self {
        let address = format!("{portal}/notice.js");
        // In a source these stand escaped (CSP 6.7.2.12); here they would end it, or an attribute.
        let portal = portal.replace(';', "%3B").replace(',', "%2C").replace('\'', "%27");
        let connect = format!("{portal}/session {portal}/session/");
        Self { address, script: format!("{portal}/notice.js"), connect, nonce: None }
    }

    /// The element that loads the script.
    pub(super) fn element(&self) -> String {
        let escaped = self.address.replace('&', "&amp;").replace('"', "&quot;");
        let nonce = self.nonce.as_ref().map(|nonce| format!(" nonce=\"{nonce}\""));
        format!("<script src=\"{escaped}\"{} async></script>", nonce.unwrap_or_default())
    }

    /// Lets the script pass a list of policies, as in a header; none if it passes already.
    pub(super) fn admit(&mut self, policies: &str) -> Result<Option<String>, Refusal> {
        let (mut list, mut is_other) = (Vec::new(), false);
        for text in policies.split(',') {
            let amended = self.admit_by(text)?;
            is_other |= amended.is_some();
            list.push(amended.map_or(Cow::Borrowed(text), Cow::Owned));
        }
        Ok(is_other.then(|| list.join(",")))
    }

    /// The same for one policy, as in a `meta` element.
    pub(super) fn admit_by(&mut self, text: &str) -> Result<Option<String>, Refusal> {
        let mut policy = Policy::read(text);
        if policy.isolates() {
            return Err(Refusal::Sandbox);
        }
        self.admit_script(&mut policy)?;
        if let Some(governing) = policy.governing(&["connect-src", "default-src"])
            && !policy.allows_own_site(governing)
        {
            policy.add(governing, "connect-src", &self.connect);
        }
        Ok(policy.is_amended.then(|| policy.to_text()))
    }

    fn admit_script(&mut self, policy: &mut Policy<'_>) -> Result<(), Refusal> {
        let Some(governing) = policy.governing(&["script-src-elem", "script-src", "default-src"]) else {
            return Ok(());
        };
        let is_strict = policy.has(governing, "'strict-dynamic'");
        if !is_strict && policy.allows_own_site(governing) {
            return Ok(());
        }
        let nonces = policy.nonces(governing);
        let is_shown = self.nonce.as_deref().is_some_and(|shown| nonces.contains(&shown));
        match nonces.first() {
            Some(_) if is_shown => {}
            Some(nonce) if self.nonce.is_none() => self.nonce = Some((*nonce).to_owned()),
            Some(_) if is_strict => return Err(Refusal::Nonces),
            // SECURITY: with `strict-dynamic` addresses count for nothing, and a hash of ours would let
            // in what others write into the page.
            None if is_strict => return Err(Refusal::StrictDynamic),
            _ => policy.add(governing, "script-src", &self.script),
        }
        Ok(())
    }
}

/// One policy.
struct Policy<'a> {
    directives: Vec<Directive<'a>>,
    is_amended: bool,
}

#[derive(Clone)]
struct Directive<'a> {
    name: &'a str,
    values: Vec<Cow<'a, str>>,
}

impl<'a> Policy<'a> {
    fn read(text: &'a str) -> Self {
        let directives = text.split(';').filter_map(|directive| {
            let mut words = directive.split_ascii_whitespace();
            Some(Directive { name: words.next()?, values: words.map(Cow::Borrowed).collect() })
        });
        Self { directives: directives.collect(), is_amended: false }
    }

    /// The place of the directive that decides: the first of these names that is there, and of several by that
    /// name the first.
    fn governing(&self, names: &[&str]) -> Option<usize> {
        let place = |name: &&str| {
            self.directives.iter().position(|directive| directive.name.eq_ignore_ascii_case(name))
        };
        names.iter().find_map(place)
    }

    fn values(&self, place: usize) -> impl Iterator<Item = &str> {
        self.directives.get(place).into_iter().flat_map(|it| it.values.iter().map(AsRef::as_ref))
    }

    fn has(&self, place: usize, word: &str) -> bool {
        self.values(place).any(|value| value.eq_ignore_ascii_case(word))
    }

    fn allows_own_site(&self, place: usize) -> bool {
        ["'self'", "*", "https:"].iter().any(|word| self.has(place, word))
    }

    fn nonces(&self, place: usize) -> Vec<&str> {
        self.values(place).filter_map(nonce).collect()
    }

    /// Whether the page is in a sandbox in which the script could not run, or would be of no origin.
    fn isolates(&self) -> bool {
        self.governing(&["sandbox"])
            .is_some_and(|place| !(self.has(place, "allow-scripts") && self.has(place, "allow-same-origin")))
    }

    /// Adds `what` to a directive; in place of `default-src`, which stands for more, to a new one that says the
    /// same and is called `name`.
    fn add(&mut self, place: usize, name: &'a str, what: &str) {
        let Some(found) = self.directives.get_mut(place) else { return };
        self.is_amended = true;
        if found.name.eq_ignore_ascii_case("default-src") {
            let mut own = Directive { name, ..found.clone() };
            own.add(what);
            self.directives.push(own);
        } else {
            found.add(what);
        }
    }

    fn to_text(&self) -> String {
        let texts: Vec<_> = self.directives.iter().map(Directive::to_text).collect();
        texts.join("; ")
    }
}

impl Directive<'_> {
    fn add(&mut self, what: &str) {
        self.values.retain(|value| !value.eq_ignore_ascii_case("'none'"));
        self.values.push(Cow::Owned(what.to_owned()));
    }

    fn to_text(&self) -> String {
        let words: Vec<&str> = [self.name].into_iter().chain(self.values.iter().map(AsRef::as_ref)).collect();
        words.join(" ")
    }
}

/// The value of a source like `'nonce-abc'`, if it can stand in an attribute.
fn nonce(source: &str) -> Option<&str> {
    let (start, rest) = source.split_at_checked("'nonce-".len())?;
    let value = rest.strip_suffix('\'').filter(|_| start.eq_ignore_ascii_case("'nonce-"))?;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=-_".contains(&byte);
    (!value.is_empty() && value.bytes().all(is_plain)).then_some(value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const URL: &str = "https://a.example/.vestibule/notice.js";
    const ASKED: &str = "https://a.example/.vestibule/session https://a.example/.vestibule/session/";

    fn admission() -> Admission {
        Admission::of("https://a.example/.vestibule")
    }

    #[track_caller]
    fn assert_amended(policy: &str, expected: &str, nonce: Option<&str>) {
        let mut admission = admission();
        let amended = admission.admit(policy).unwrap().unwrap_or_else(|| policy.to_owned());
        assert_eq!(amended, expected.replace("URL", URL).replace("ASKED", ASKED));
        assert_eq!(admission.nonce.as_deref(), nonce, "{policy}");
    }

    #[test]
    fn what_lets_the_script_pass_stays_as_it_is() {
        for policy in [
            "",
            "frame-ancestors 'self'",
            "default-src 'self'",
            "DEFAULT-SRC 'SELF'; object-src 'none'",
            "script-src https: 'unsafe-inline'",
            "default-src 'none'; script-src *; connect-src 'self'",
            "script-src 'nonce-x' 'self'",
            "default-src 'self', frame-ancestors 'none'",
            "sandbox allow-scripts allow-same-origin allow-forms",
        ] {
            assert_amended(policy, policy, None);
        }
    }

    #[test]
    fn only_what_stands_in_the_way_is_added_to() {
        assert_amended("script-src 'none'", "script-src URL", None);
        assert_amended("script-src", "script-src URL", None);
        assert_amended("script-src 'sha256-AA='; img-src *", "script-src 'sha256-AA=' URL; img-src *", None);
        assert_amended("script-src cdn.example", "script-src cdn.example URL", None);
        assert_amended(
            "script-src 'self'; script-src-elem a.b",
            "script-src 'self'; script-src-elem a.b URL",
            None,
        );
        assert_amended("connect-src api.example", "connect-src api.example ASKED", None);
        assert_amended(
            "default-src 'none'; style-src 'self'",
            "default-src 'none'; style-src 'self'; script-src URL; connect-src ASKED",
            None,
        );
        assert_amended(
            "default-src cdn.example 'unsafe-eval'",
            "default-src cdn.example 'unsafe-eval'; script-src cdn.example 'unsafe-eval' URL; \
             connect-src cdn.example 'unsafe-eval' ASKED",
            None,
        );
        // Of two directives of one name the first counts.
        assert_amended("script-src a.b; script-src 'self'", "script-src a.b URL; script-src 'self'", None);
        assert_amended("default-src 'self',script-src 'none'", "default-src 'self',script-src URL", None);
    }

    #[test]
    fn a_nonce_of_the_page_is_shown_before_anything_is_loosened() {
        let strict = "script-src 'strict-dynamic' 'nonce-r4nd0m+/=' https: 'self'";
        assert_amended(strict, strict, Some("r4nd0m+/="));
        assert_amended("script-src 'Nonce-aA'", "script-src 'Nonce-aA'", Some("aA"));
        let twice = "script-src 'nonce-a' 'nonce-b',script-src 'nonce-a' 'strict-dynamic'";
        assert_amended(twice, twice, Some("a"));
        let mixed = "script-src 'nonce-a',script-src 'nonce-b'";
        assert_amended(mixed, "script-src 'nonce-a',script-src 'nonce-b' URL", Some("a"));
        let mut shown = admission();
        shown.admit("script-src 'nonce-x1'").unwrap();
        assert_eq!(shown.element(), format!("<script src=\"{URL}\" nonce=\"x1\" async></script>"));
    }

    #[test]
    fn a_policy_that_trusts_only_trusted_scripts_is_never_broken() {
        for (policy, refusal) in [
            ("script-src 'strict-dynamic' 'sha256-AA='", Refusal::StrictDynamic),
            ("default-src 'self' 'strict-dynamic'", Refusal::StrictDynamic),
            ("script-src 'strict-dynamic' 'nonce-\"><b>'", Refusal::StrictDynamic),
            ("script-src 'strict-dynamic' 'nonce-a',script-src 'strict-dynamic' 'nonce-b'", Refusal::Nonces),
            ("sandbox", Refusal::Sandbox),
            ("sandbox allow-scripts", Refusal::Sandbox),
        ] {
            assert_eq!(admission().admit(policy), Err(refusal), "{policy}");
        }
    }

    #[test]
    fn a_portal_with_signs_that_divide_policies_is_written_so_that_it_does_not() {
        let mut odd = Admission::of("https://a.example/a;b,c'&");
        let amended = odd.admit("script-src 'none'").unwrap().unwrap();
        assert_eq!(amended, "script-src https://a.example/a%3Bb%2Cc%27&/notice.js");
        assert!(odd.element().contains("\"https://a.example/a;b,c'&amp;/notice.js\""));
    }

    proptest! {
        #[test]
        fn what_was_amended_needs_no_more(policy in "((script-src|default-src|connect-src|img-src)( ('none'|'self'|a\\.b|'nonce-a')){0,3}[;,] ?){0,5}") {
            let mut first = admission();
            if let Ok(Some(amended)) = first.admit(&policy) {
                // The addresses of ours are what a browser would find to allow the script.
                let known = amended.replace(URL, "'self'").replace(ASKED, "'self'");
                prop_assert_eq!(first.clone().admit(&known), Ok(None));
            }
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,80}") {
            let _ = admission().admit(&text);
        }
    }
}
