//! One-time codes: the secret, how an application learns it, and which time step a code belongs to.
//!
//! Pure. SHA-1, six digits and 30 seconds are what every application understands (RFC 6238 section 5.2,
//! RFC 4226 section 5.3). Whether a step was used before is left to the store. Invariant: a code is taken
//! from the present step and from one before and after it, by the gateway's clock alone.

use std::fmt::Write;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use qrcode::{Color, EcLevel, QrCode};
use totp_rs::{Algorithm, Builder, Totp};

use crate::clock::Timestamp;
use crate::secret::Secret;

/// What an application and the gateway share: 160 bits (RFC 4226 section 4, R6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TotpSecret(Secret<Vec<u8>>);

impl TotpSecret {
    /// A new one.
    pub fn generate() -> Result<Self, getrandom::Error> {
        let mut bytes = vec![0; LENGTH];
        getrandom::fill(&mut bytes)?;
        Ok(Self(Secret::new(bytes)))
    }

    /// One that was kept.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        (bytes.len() == LENGTH).then(|| Self(Secret::new(bytes.to_vec())))
    }

    /// What is to be sealed.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.0.expose().clone()
    }

    /// The time step that `code` belongs to, of the present one and its neighbours; spaces do not matter.
    #[must_use]
    pub fn step_of(&self, code: &str, now: Timestamp) -> Option<i64> {
        let code: String = code.chars().filter(|character| !character.is_whitespace()).collect();
        if code.len() != usize::from(DIGITS) || !code.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let step = self.totp()?.check(&code, u64::try_from(now.as_seconds()).ok()?)?;
        i64::try_from(step).ok()
    }

    /// The secret in groups of four letters, for people to type.
    #[must_use]
    pub fn to_groups(&self) -> String {
        let text = self.to_base32();
        let groups: Vec<&str> = text.as_bytes().chunks(4).filter_map(|it| str::from_utf8(it).ok()).collect();
        groups.join(" ")
    }

    /// What the square code holds: the secret, whose it is and where it is asked for.
    #[must_use]
    pub fn to_uri(&self, user: &str, host: &str) -> String {
        // A `:` would part issuer and account once more.
        let issuer = utf8_percent_encode(host, IN_URI);
        let user = utf8_percent_encode(user, IN_URI);
        let secret = self.to_base32();
        format!(
            "otpauth://totp/{issuer}:{user}?secret={secret}&issuer={issuer}&digits={DIGITS}&period={STEP}"
        )
    }

    fn to_base32(&self) -> String {
        self.totp().map(|totp| totp.secret().to_base32()).unwrap_or_default()
    }

    fn totp(&self) -> Option<Totp> {
        let secret: [u8; LENGTH] = self.0.expose().as_slice().try_into().ok()?;
        Builder::new()
            .with_algorithm(Algorithm::SHA1)
            .with_digits(DIGITS)
            .with_skew(DRIFT)
            .with_step_duration(STEP)
            .with_secret(totp_rs::Secret::new_stack(secret))
            .build()
            .ok()
    }
}

/// A square code as the outline of its dark modules, one unit each, within a quiet border.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Square {
    /// The side, with the border.
    pub side: usize,
    /// The `d` of an SVG path.
    pub path: String,
}

impl Square {
    /// The code that holds `text`; nothing if it is too long.
    #[must_use]
    pub fn of(text: &str) -> Option<Self> {
        let code = QrCode::with_error_correction_level(text, EcLevel::M).ok()?;
        let width = code.width();
        let mut path = String::new();
        for (y, row) in code.to_colors().chunks(width).enumerate() {
            let mut x = 0;
            for run in row.chunk_by(|one, next| one == next) {
                if run.first() == Some(&Color::Dark) {
                    // Writing into a string cannot fail.
                    let _infallible = write!(path, "M{} {}h{2}v1h-{2}z", x + BORDER, y + BORDER, run.len());
                }
                x += run.len();
            }
        }
        Some(Self { side: width + 2 * BORDER, path })
    }
}

const LENGTH: usize = 20;
const DIGITS: u8 = 6;
/// Seconds.
const STEP: u64 = 30;
/// Steps before and after the present one.
const DRIFT: u16 = 1;
/// Modules that must be light around a square code (ISO/IEC 18004).
const BORDER: usize = 4;

const IN_URI: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The secret of RFC 6238, appendix B.
    fn secret() -> TotpSecret {
        TotpSecret::from_bytes(b"12345678901234567890").unwrap()
    }

    const fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    #[test]
    fn the_codes_of_the_rfc_belong_to_their_steps() {
        for (seconds, code) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
            (20_000_000_000, "353130"),
        ] {
            assert_eq!(secret().step_of(code, at(seconds)), Some(seconds / 30), "{code}");
            let (one, two) = code.split_at(3);
            let spaced = format!(" {one} {two} ");
            assert_eq!(secret().step_of(&spaced, at(seconds)), Some(seconds / 30));
        }
    }

    #[test]
    fn one_step_of_drift_is_borne_and_no_more() {
        let step = 1_111_111_109 / 30;
        for (away, expected) in [(-2, None), (-1, Some(step)), (0, Some(step)), (1, Some(step)), (2, None)] {
            assert_eq!(secret().step_of("081804", at((step + away) * 30)), expected, "{away}");
        }
    }

    #[test]
    fn the_secret_is_shown_for_people_and_for_applications() {
        assert_eq!(secret().to_groups(), "GEZD GNBV GY3T QOJQ GEZD GNBV GY3T QOJQ");
        assert_eq!(
            secret().to_uri("o'neil@example.com", "wiki.example.com:8443"),
            "otpauth://totp/wiki.example.com%3A8443:o%27neil%40example.com?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ\
             &issuer=wiki.example.com%3A8443&digits=6&period=30"
        );
        assert!(!format!("{:?}", secret()).contains("123"));
        assert_ne!(TotpSecret::generate().unwrap(), TotpSecret::generate().unwrap());
        assert!(TotpSecret::from_bytes(b"short").is_none());
    }

    #[test]
    fn a_square_code_is_an_outline_within_its_border() {
        let square = Square::of(&secret().to_uri("alice", "localhost")).unwrap();
        assert!(square.path.starts_with("M4 4h7v1h-7z") && square.side > 30, "{}", square.side);
        assert!(Square::of(&"x".repeat(5000)).is_none());
    }

    proptest! {
        #[test]
        fn whatever_is_typed_is_a_code_or_none(text in ".{0,16}", seconds in 0_i64..4_000_000_000) {
            let step = secret().step_of(&text, at(seconds));
            prop_assert!(step.is_none_or(|step| (step - seconds / 30).abs() <= 1));
        }
    }
}
