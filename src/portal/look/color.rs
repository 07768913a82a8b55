//! Colours of the deployer's, and whether a text in them can be read on our pages.
//!
//! By the contrast that WCAG 2.2 defines (success criterion 1.4.3). Invariant: of a colour that
//! [`Scheme::fits`], every other that a page needs can be made.

use std::fmt;

/// A colour in sRGB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Color([u8; 3]);

impl Color {
    /// As in `#22564f` or `#fff`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix('#')?;
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        let number = u32::from_str_radix(digits, 16).ok()?;
        let [_, red, green, blue] = match digits.len() {
            3 => [8, 4, 0].into_iter().fold(0, |sum, shift| (sum << 8) | (((number >> shift) & 0xf) * 0x11)),
            6 => number,
            _ => return None,
        }
        .to_be_bytes();
        Some(Self([red, green, blue]))
    }

    /// From 1 for colours alike to 21 for black on white.
    #[must_use]
    pub fn contrast(self, other: Self) -> f64 {
        let (one, two) = (self.luminance(), other.luminance());
        (one.max(two) + 0.05) / (one.min(two) + 0.05)
    }

    fn luminance(self) -> f64 {
        let linear = |value: u8| match f64::from(value) / 255.0 {
            dark if dark <= 0.04045 => dark / 12.92,
            value => ((value + 0.055) / 1.055).powf(2.4),
        };
        let Self([red, green, blue]) = self;
        0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue)
    }

    /// That many hundredths of the way to `other`.
    fn toward(self, other: Self, percent: u16) -> Self {
        let Self([red, green, blue]) = self;
        let Self([to_red, to_green, to_blue]) = other;
        let between = |from: u8, to: u8| {
            let sum = u16::from(from) * (100 - percent) + u16::from(to) * percent;
            u8::try_from((sum + 50) / 100).unwrap_or(to)
        };
        Self([between(red, to_red), between(green, to_green), between(blue, to_blue)])
    }
}

/// As CSS writes it.
impl fmt::Display for Color {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self([red, green, blue]) = self;
        write!(f, "#{red:02x}{green:02x}{blue:02x}")
    }
}

/// Whether a browser shows pages light or dark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Dark letters on a light ground.
    Light,
    /// Light letters on a dark ground.
    Dark,
}

impl Scheme {
    /// The least contrast between `color` and what it stands on.
    #[must_use]
    pub fn contrast(self, color: Color) -> f64 {
        self.grounds().into_iter().map(|ground| ground.contrast(color)).fold(f64::INFINITY, f64::min)
    }

    /// Whether a text in `color` can be read.
    #[must_use]
    pub fn fits(self, color: Color) -> bool {
        self.contrast(color) >= ENOUGH
    }

    /// The colour most like `color` that fits.
    #[must_use]
    pub fn nearest(self, color: Color) -> Color {
        let steps = (0..=100).map(|percent| color.toward(self.far_end(), percent));
        steps.into_iter().find(|candidate| self.fits(*candidate)).unwrap_or(self.far_end())
    }

    /// The style rules that bring `accent` to buttons and links.
    #[must_use]
    pub fn declarations(self, accent: Color) -> String {
        let strong = accent.toward(self.far_end(), 25);
        format!("--accent:{accent};--accent-ink:{};--accent-strong:{strong}", self.ink())
    }

    /// The card and the page around it, as in `style.css`.
    const fn grounds(self) -> [Color; 2] {
        match self {
            Self::Light => [Color([0xff, 0xff, 0xff]), Color([0xf3, 0xf1, 0xec])],
            Self::Dark => [Color([0x1d, 0x21, 0x25]), Color([0x14, 0x17, 0x1a])],
        }
    }

    /// The letters on a button. What can be read on the card in the accent can be read on the accent in this.
    const fn ink(self) -> Color {
        match self {
            Self::Light => Color([0xff, 0xff, 0xff]),
            Self::Dark => Color([0x14, 0x17, 0x1a]),
        }
    }

    /// What is farthest from the grounds.
    const fn far_end(self) -> Color {
        match self {
            Self::Light => Color([0, 0, 0]),
            Self::Dark => Color([0xff, 0xff, 0xff]),
        }
    }
}

/// For text of ordinary size (WCAG 2.2, level AA).
pub const ENOUGH: f64 = 4.5;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn color(text: &str) -> Color {
        Color::parse(text).unwrap()
    }

    #[test]
    fn a_colour_is_written_as_in_css() {
        for (text, written) in [("#22564f", "#22564f"), ("#FFF", "#ffffff"), ("#1a0", "#11aa00")] {
            assert_eq!(color(text).to_string(), written);
        }
        for text in ["", "#", "22564f", "#ff", "#fffff", "#ffffffff", "#ggg", "#+12", "red", "#é0"] {
            assert_eq!(Color::parse(text), None, "{text}");
        }
    }

    #[test]
    fn contrast_is_that_of_the_guidelines() {
        let near = |one: &str, two: &str, expected: f64| {
            let found = color(one).contrast(color(two));
            assert!((found - expected).abs() < 0.01, "{one} {two}: {found}");
        };
        near("#000", "#fff", 21.0);
        near("#777777", "#ffffff", 4.48);
        near("#767676", "#ffffff", 4.54);
        near("#fff", "#fff", 1.0);
    }

    #[test]
    fn the_grounds_and_our_own_accents_are_those_of_the_stylesheet() {
        let style = include_str!("../assets/style.css");
        for (scheme, accent) in [(Scheme::Light, "#22564f"), (Scheme::Dark, "#8fc7bd")] {
            assert!(scheme.fits(color(accent)), "{accent}");
            for shown in
                scheme.grounds().map(|ground| ground.to_string()).iter().map(String::as_str).chain([accent])
            {
                assert!(style.contains(shown), "{shown}");
            }
        }
    }

    proptest! {
        #[test]
        fn every_colour_has_one_near_it_that_can_be_read_on_every_ground_and_under_the_letters_of_a_button(
            channels in any::<[u8; 3]>()
        ) {
            for scheme in [Scheme::Light, Scheme::Dark] {
                let accent = scheme.nearest(Color(channels));
                prop_assert!(scheme.fits(accent));
                prop_assert!(scheme.ink().contrast(accent) >= ENOUGH);
                prop_assert!(scheme.ink().contrast(accent.toward(scheme.far_end(), 25)) >= ENOUGH);
                prop_assert_eq!(scheme.nearest(accent), accent);
            }
        }
    }
}
