//! A text that may be a secret: given in the file, in a file of its own, or in the environment.
//!
//! Invariant: no message repeats any part of it; a file that others can read is refused.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::path::file_in;
use super::problem::{Wrong, quoted};
use super::read::Section;

/// The three keys of one secret, as `store`, `store_file` and `store_env`.
pub(super) struct Keys {
    pub(super) here: &'static str,
    pub(super) file: &'static str,
    pub(super) env: &'static str,
}

/// Reads a secret that `parse` understands; files are relative to `folder`. None if it is absent or
/// refused.
pub(super) fn read<T>(
    section: &mut Section<'_>,
    keys: &Keys,
    folder: &Path,
    parse: impl Fn(&str) -> Result<T, Wrong>,
) -> Option<T> {
    let given: Vec<_> =
        [keys.here, keys.file, keys.env].into_iter().filter(|key| section.gives(key)).collect();
    if let [first, second, ..] = given.as_slice() {
        let wrong = Wrong::new(format!("`{first}` gives it already"));
        section.refuse(second, wrong.help("a secret is given in one way only"));
    }
    let here = section.text(keys.here, &parse);
    let file = section.text(keys.file, |text| parse(&from_file(&file_in(folder, text)?)?));
    let env = section.text(keys.env, |name| parse(&from_environment(name)?));
    here.or(file).or(env)
}

fn from_file(path: &PathBuf) -> Result<Zeroizing<String>, Wrong> {
    let unreadable = |error| Wrong::new(format!("cannot read `{}`: {error}", path.display()));
    let mut file = File::open(path).map_err(unreadable)?;
    let mode = file.metadata().map_err(unreadable)?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(Wrong::new(format!(
            "`{}` has mode {:03o}, so others can read it",
            path.display(),
            mode & 0o777
        ))
        .help(format!("run `chmod 600 {}`", path.display())));
    }
    let mut text = Zeroizing::new(String::new());
    file.read_to_string(&mut text).map_err(unreadable)?;
    let length = text.trim_end().len();
    text.truncate(length);
    Ok(text)
}

fn from_environment(name: &str) -> Result<Zeroizing<String>, Wrong> {
    std::env::var(name).map(Zeroizing::new).map_err(|_| {
        Wrong::new(format!("the environment has no variable {}", quoted(name)))
            .help("set it for the gateway and for its commands")
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn file(mode: u32, text: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        (folder, path)
    }

    #[test]
    fn a_file_gives_its_text_without_the_end_of_its_line() {
        let (_folder, path) = file(0o600, "redis://:hunter2@h\n");
        assert_eq!(*from_file(&path).unwrap(), "redis://:hunter2@h");
    }

    #[test]
    fn a_file_that_others_can_read_is_refused_and_not_repeated() {
        let (_folder, path) = file(0o640, "redis://:hunter2@h");
        let wrong = format!("{:?}", from_file(&path).unwrap_err());
        assert!(
            wrong.contains("640") && wrong.contains("chmod 600") && !wrong.contains("hunter2"),
            "{wrong}"
        );
    }

    #[test]
    fn a_variable_that_is_not_set_is_named() {
        let wrong = format!("{:?}", from_environment("VESTIBULE_TEST_NO_SUCH_VARIABLE").unwrap_err());
        assert!(wrong.contains("VESTIBULE_TEST_NO_SUCH_VARIABLE"), "{wrong}");
    }
}
