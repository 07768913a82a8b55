//! The parts of a route's rule, by the names that they have in the configuration.
//!
//! What each of them means is the gateway's matter; here they are words, for lines, counts and reports.

/// A part of a route's rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Rule {
    /// Somebody must be signed in.
    Access,
    /// They, or a group of theirs, must be named: `users` and `groups`.
    Groups,
    /// They must come from one of these networks.
    Networks,
    /// They must come at these hours.
    Hours,
    /// They must use one of these methods.
    Methods,
    /// They must have shown a second factor.
    Mfa,
    /// They must have shown lately that it is still them.
    Fresh,
}

impl Rule {
    /// All parts, in their order.
    pub const ALL: [Self; 7] =
        [Self::Access, Self::Groups, Self::Networks, Self::Hours, Self::Methods, Self::Mfa, Self::Fresh];

    /// The key in the configuration, and the label in metrics, lines and reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Access => "access",
            Self::Groups => "groups",
            Self::Networks => "networks",
            Self::Hours => "hours",
            Self::Methods => "methods",
            Self::Mfa => "mfa",
            Self::Fresh => "fresh",
        }
    }
}

impl std::fmt::Display for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
