//! The key file: TOML, readable by its owner alone, replaced as a whole.
//!
//! Invariant: no error and no log shows any part of a secret, so the texts of the TOML parser, which
//! quote the line, are not used.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use toml::{Table, Value};
use zeroize::Zeroizing;

use crate::clock::Timestamp;
use crate::secret::Secret;
use crate::session::token::random;

use super::{Key, KeyId, KeyProblem, KeyRing, KeyRingError, KeyRole};

pub(super) fn load(path: &Path) -> Result<KeyRing, KeyRingError> {
    let unreadable = |source| KeyRingError::Read { path: path.to_path_buf(), source };
    let file = File::open(path).map_err(unreadable)?;
    // SECURITY: the mode of what was opened, not of what the path may name a moment later.
    let mode = file.metadata().map_err(unreadable)?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(KeyRingError::Exposed { path: path.to_path_buf(), mode: mode & 0o777 });
    }
    let mut text = Zeroizing::new(String::new());
    (&file).take(SIZE_LIMIT).read_to_string(&mut text).map_err(unreadable)?;
    parse(&text).map_err(|problem| KeyRingError::Invalid { path: path.to_path_buf(), problem })
}

pub(super) fn parse(text: &str) -> Result<KeyRing, KeyProblem> {
    let mut table = text.parse::<Table>().map_err(|error| syntax(text, &error))?;
    let count = table.remove("count");
    let entries = match table.remove("key") {
        Some(Value::Array(entries)) => entries,
        Some(_) => return Err(field("the file", "`key` must be a list of tables: write `[[key]]`")),
        None => Vec::new(),
    };
    if let Some(unknown) = table.keys().next() {
        let message = format!("`{unknown}` is not known here; only `count` and `[[key]]` are");
        return Err(field("the file", &message));
    }
    check_count(count.as_ref(), entries.len())?;
    let keys = entries.into_iter().enumerate().map(|(position, entry)| read_key(position, entry));
    KeyRing::new(keys.collect::<Result<_, _>>()?)
}

pub(super) fn save(ring: &KeyRing, path: &Path) -> io::Result<()> {
    // A link stays a link: what it names is replaced.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    let folder = match target.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_path_buf(),
        _ => PathBuf::from("."),
    };
    let temporary = folder.join(format!(".keys-{:016x}", u64::from_ne_bytes(*random())));
    let replaced = write(ring, &temporary, &target).and_then(|()| fs::rename(&temporary, &target));
    if let Err(error) = replaced {
        let _never_made = fs::remove_file(&temporary);
        return Err(error);
    }
    File::open(folder)?.sync_all()
}

fn write(ring: &KeyRing, temporary: &Path, target: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(temporary)?;
    if let Ok(old) = fs::metadata(target) {
        // An administrator who rotates as root must not lock the gateway out.
        let new = file.metadata()?;
        if (old.uid(), old.gid()) != (new.uid(), new.gid()) {
            fchown(&file, Some(old.uid()), Some(old.gid()))?;
        }
    }
    file.write_all(format(ring).as_bytes())?;
    file.sync_all()
}

fn format(ring: &KeyRing) -> Zeroizing<String> {
    // Room for all of it at once: a string that grows leaves copies behind.
    let mut text = Zeroizing::new(String::with_capacity(HEADER.len() + 64 + ring.keys.len() * 256));
    let _infallible = writeln!(text, "{HEADER}count = {}", ring.keys.len());
    for key in ring.keys() {
        let secret = Zeroizing::new(STANDARD.encode(key.secret().expose()));
        let _infallible = write!(
            text,
            "\n[[key]]\nid = \"{}\"\ncreated = \"{}\"\nrole = \"{}\"\nsecret = \"{}\"\n",
            key.id(),
            key.created(),
            key.role().as_str(),
            secret.as_str(),
        );
    }
    text
}

/// A file that is cut off between two keys is valid TOML; only its count tells.
fn check_count(count: Option<&Value>, found: usize) -> Result<(), KeyProblem> {
    match count {
        None => Ok(()),
        Some(Value::Integer(said)) if usize::try_from(*said) == Ok(found) => Ok(()),
        Some(&Value::Integer(said)) => Err(KeyProblem::Count { said, found }),
        Some(_) => Err(field("the file", "`count` must be the number of keys")),
    }
}

fn read_key(position: usize, entry: Value) -> Result<Arc<Key>, KeyProblem> {
    let place = format!("key {}", position.saturating_add(1));
    let Value::Table(mut entry) = entry else {
        return Err(field(&place, "it must be a table: write `[[key]]`"));
    };
    let id = text(&mut entry, &place, "id")?;
    let id: KeyId = id.parse().map_err(|problem| field(&place, &format!("`id`: {problem}")))?;
    let place = format!("{place} (`{id}`)");
    let created = read_time(&text(&mut entry, &place, "created")?)
        .ok_or_else(|| field(&place, "`created` must be a time as in `2026-11-21T04:10:00Z`"))?;
    let role = match text(&mut entry, &place, "role")?.as_str() {
        "active" => KeyRole::Active,
        "verify" => KeyRole::Verify,
        _ => return Err(field(&place, "`role` must be `active` or `verify`")),
    };
    let secret = read_secret(&text(&mut entry, &place, "secret")?).map_err(|why| field(&place, why))?;
    if let Some(unknown) = entry.keys().next() {
        let message = format!("`{unknown}` is not known; a key has `id`, `created`, `role` and `secret`");
        return Err(field(&place, &message));
    }
    Ok(Arc::new(Key::new(id, created, role, secret)))
}

fn text(entry: &mut Table, place: &str, name: &str) -> Result<Zeroizing<String>, KeyProblem> {
    match entry.remove(name) {
        Some(Value::String(text)) => Ok(Zeroizing::new(text)),
        Some(_) => Err(field(place, &format!("`{name}` must be a text in quotes"))),
        None => Err(field(place, &format!("`{name}` is missing; the file may be cut off"))),
    }
}

fn read_time(text: &str) -> Option<Timestamp> {
    let time = humantime::parse_rfc3339_weak(text).ok()?;
    let since_epoch = time.duration_since(UNIX_EPOCH).ok()?;
    i64::try_from(since_epoch.as_millis()).ok().map(Timestamp::from_millis)
}

fn read_secret(text: &str) -> Result<Secret<[u8; Key::SECRET]>, &'static str> {
    let bytes = Zeroizing::new(STANDARD.decode(text).map_err(|_| "`secret` must be base64 of 32 bytes")?);
    let secret: Zeroizing<[u8; Key::SECRET]> = Zeroizing::new(
        bytes.as_slice().try_into().map_err(|_| "`secret` must be base64 of exactly 32 bytes")?,
    );
    // SECURITY: a placeholder of one repeated byte is a key that everybody knows.
    if secret.iter().all(|byte| Some(byte) == secret.first()) {
        return Err("`secret` is one byte repeated; `vestibule keys rotate` makes a real one");
    }
    Ok(Secret::new(*secret))
}

fn syntax(text: &str, error: &toml::de::Error) -> KeyProblem {
    let start = error.span().map_or(0, |span| span.start);
    let line = text.bytes().take(start).filter(|&byte| byte == b'\n').count().saturating_add(1);
    // SECURITY: not the parser's own text, which may quote what it found.
    let message = "this is not valid TOML; the file may be cut off".to_owned();
    KeyProblem::Syntax { line, message }
}

fn field(place: &str, message: &str) -> KeyProblem {
    KeyProblem::Field { place: place.to_owned(), message: message.to_owned() }
}

/// No ring is larger.
const SIZE_LIMIT: u64 = 1024 * 1024;

const HEADER: &str = "\
# The keys that sign Vestibule's session cookies and seal its sessions.
# Written by `vestibule keys`. Keep it secret (mode 0600) and out of backups that others can read:
# who has it can make cookies. The newest `active` key signs, all listed keys verify.
";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECRET: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

    fn entry(id: &str, role: &str, secret: &str) -> String {
        format!(
            "[[key]]\nid = \"{id}\"\ncreated = \"2026-11-21T04:10:00Z\"\nrole = \"{role}\"\nsecret = \"{secret}\"\n"
        )
    }

    fn refusal(text: &str) -> String {
        let problem = parse(text).unwrap_err().to_string();
        assert!(!problem.contains("AAECAwQF"), "{problem}");
        problem
    }

    #[test]
    fn a_saved_ring_is_read_back_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.toml");
        let ring = KeyRing::generate(Timestamp::from_millis(1_000)).rotate(Timestamp::from_millis(2_500));
        ring.save(&path).unwrap();
        ring.save(&path).unwrap();
        let again = load(&path).unwrap();
        let ids =
            |ring: &KeyRing| ring.keys().map(|key| (key.id(), key.created(), key.role())).collect::<Vec<_>>();
        assert_eq!(ids(&ring), ids(&again));
        assert!(ring.keys().zip(again.keys()).all(|(one, other)| one.secret() == other.secret()));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "no temporary file stays");
    }

    #[test]
    fn a_link_to_a_key_file_stays_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let (real, link) = (folder.path().join("real"), folder.path().join("link"));
        let ring = KeyRing::generate(Timestamp::default());
        ring.save(&real).unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        ring.rotate(Timestamp::default()).save(&link).unwrap();
        assert_eq!(load(&real).unwrap().keys().count(), 2);
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.toml");
        KeyRing::generate(Timestamp::default()).save(&path).unwrap();
        for mode in [0o640, 0o604, 0o620, 0o601] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let refused = load(&path).unwrap_err().to_string();
            assert!(refused.contains("chmod 600") && refused.contains("keys.toml"), "{refused}");
        }
    }

    #[test]
    fn every_cut_of_a_file_is_refused() {
        let ring = KeyRing::generate(Timestamp::default()).rotate(Timestamp::default());
        let text = format(&ring);
        let whole = text.trim_end().len();
        for cut in 0..whole {
            assert!(parse(text.get(..cut).unwrap()).is_err(), "cut at {cut} of {whole}");
        }
        assert!(parse(text.trim_end()).is_ok());
    }

    #[test]
    fn each_mistake_is_named() {
        let good = entry("0a0b0c0d", "active", SECRET);
        let short = entry("0a0b0c0d", "active", "AAECAwQF");
        let cases = [
            (String::new(), "no `[[key]]`"),
            (entry("0a0b0c0d", "verify", SECRET), "no key has the role `active`"),
            (entry("0a0b0c", "active", SECRET), "8 hexadecimal digits"),
            (entry("0a0b0c0d", "signer", SECRET), "`active` or `verify`"),
            (short, "exactly 32 bytes"),
            (entry("0a0b0c0d", "active", "AAECAwQF!"), "base64"),
            (entry("0a0b0c0d", "active", &STANDARD.encode([0; 32])), "repeated"),
            (good.replace("2026-11-21T04:10:00Z", "yesterday"), "2026-11-21T04:10:00Z"),
            (good.replace("secret =", "secert ="), "`secret` is missing"),
            (format!("{good}more = 1\n"), "`more` is not known"),
            (format!("extra = 1\n{good}"), "`extra` is not known"),
            (format!("count = 2\n{good}"), "says 2 keys but there are 1"),
            (good.replace("\"active\"", ""), "line 4"),
            (good.clone() + &good, "`0a0b0c0d` is there twice"),
            (good.clone() + &entry("01010101", "verify", SECRET), "same secret"),
            ("key = 1".to_owned(), "[[key]]"),
            ("key = [1]".to_owned(), "key 1"),
            (good.replace(&format!("\"{SECRET}\""), "17"), "text in quotes"),
        ];
        for (text, expected) in cases {
            let problem = refusal(&text);
            assert!(problem.contains(expected), "{problem:?} lacks {expected:?}");
        }
    }

    #[test]
    fn a_missing_file_is_named() {
        let refused = load(Path::new("/nonexistent/keys.toml")).unwrap_err().to_string();
        assert!(refused.contains("/nonexistent/keys.toml"), "{refused}");
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "(?s).{0,400}") {
            let _outcome = parse(&text);
        }

        #[test]
        fn no_change_of_one_byte_makes_the_parser_panic(position in 0_usize..180, byte in 0_u8..128) {
            let mut text = entry("0a0b0c0d", "active", SECRET).into_bytes();
            if let Some(place) = text.get_mut(position) {
                *place = byte;
            }
            let _outcome = parse(&String::from_utf8(text).unwrap());
        }
    }
}
