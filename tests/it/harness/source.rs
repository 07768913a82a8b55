//! The gateway's own source as words: what is neither comment, nor text, nor test.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

/// One file of `src/`.
#[derive(Debug)]
pub(crate) struct Source {
    /// Relative to `src/`, as `session/mod.rs`.
    pub(crate) path: String,
    /// The whole file.
    pub(crate) text: String,
    /// Its words outside `#[cfg(test)]`.
    pub(crate) words: Vec<Word>,
    /// How many of its lines belong to no test.
    pub(crate) lines: usize,
    /// Files that exist for tests alone, as `session/engine/tests`.
    test_modules: Vec<String>,
}

/// An identifier, `::`, or one other character.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Word {
    pub(crate) text: String,
    pub(crate) line: usize,
}

impl Source {
    /// Every file of `src/` that is not for tests alone.
    pub(crate) fn all() -> Vec<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut sources: Vec<Self> =
            files(&root).iter().map(|file| Self::new(relative(file, &root), read(file))).collect();
        sources.sort_by(|one, other| one.path.cmp(&other.path));
        let of_tests: HashSet<String> =
            sources.iter().flat_map(|source| source.test_modules.clone()).collect();
        let is_of_tests =
            |path: &Path| path.ancestors().any(|part| of_tests.contains(&*part.to_string_lossy()));
        sources.retain(|source| !is_of_tests(Path::new(source.path.trim_end_matches(".rs"))));
        sources
    }

    pub(crate) fn new(path: String, text: String) -> Self {
        let all = words(&text);
        let mut source =
            Self { path, words: Vec::new(), lines: text.lines().count(), test_modules: Vec::new(), text };
        let mut at = 0;
        while at < all.len() {
            if !starts(&all[at..], &["#", "[", "cfg", "(", "test", ")", "]"]) {
                source.words.push(all[at].clone());
                at += 1;
                continue;
            }
            let end = item_end(&all, at + 7);
            source.leave_out(&all[at..end]);
            at = end;
        }
        source
    }

    fn leave_out(&mut self, item: &[Word]) {
        self.lines -= item[item.len() - 1].line - item[0].line + 1;
        if let Some(at) = item.iter().position(|word| word.text == "mod")
            && item[item.len() - 1].text == ";"
        {
            self.test_modules.push(format!("{}{}", self.folder(), item[at + 1].text));
        }
    }

    /// The folder of this file's child modules, as `session/engine/`.
    fn folder(&self) -> String {
        let path = self.path.trim_end_matches(".rs");
        match path.strip_suffix("mod") {
            Some(folder) => folder.to_owned(),
            None => format!("{path}/"),
        }
    }

    /// The top-level module that the file belongs to, as `session`.
    pub(crate) fn room(&self) -> &str {
        self.path.split('/').next().unwrap_or_default().trim_end_matches(".rs")
    }

    /// How many `super` lead to the crate's root.
    pub(crate) fn depth(&self) -> usize {
        self.folder().matches('/').count()
    }

    /// The lines where these words follow each other.
    pub(crate) fn lines_with(&self, wanted: &[&str]) -> Vec<usize> {
        let places = 0..self.words.len();
        places.filter(|at| starts(&self.words[*at..], wanted)).map(|at| self.words[at].line).collect()
    }

    /// The rooms that this file imports or names by path, with their lines.
    pub(crate) fn imports(&self) -> Vec<(String, usize)> {
        let mut imports = Vec::new();
        for at in 0..self.words.len() {
            if starts(&self.words[at..], &["crate", "::", "{"]) {
                imports.extend(heads_of_group(&self.words[at + 2..]));
            } else if starts(&self.words[at..], &["crate", "::"]) {
                imports.extend(self.words.get(at + 2).map(|word| (word.text.clone(), word.line)));
            }
        }
        imports
    }

    /// The longest chain of `super` that starts on each line.
    pub(crate) fn supers(&self) -> Vec<(usize, usize)> {
        let chain = |at: usize| {
            let rest = self.words[at..].chunks(2);
            rest.take_while(|pair| pair[0].text == "super" && pair.len() == 2 && pair[1].text == "::").count()
        };
        (0..self.words.len())
            .map(|at| (chain(at), self.words[at].line))
            .filter(|(count, _)| *count > 0)
            .collect()
    }

    /// Every function with the number of its lines.
    pub(crate) fn functions(&self) -> Vec<(String, usize)> {
        let mut functions = Vec::new();
        for (at, pair) in self.words.windows(2).enumerate() {
            if pair[0].text == "fn"
                && pair[1].text.starts_with(|first: char| first.is_alphabetic() || first == '_')
            {
                let end = item_end(&self.words, at);
                functions.push((pair[1].text.clone(), self.words[end - 1].line - pair[0].line + 1));
            }
        }
        functions
    }
}

/// The first name of each path in `{ ... }`.
fn heads_of_group(words: &[Word]) -> Vec<(String, usize)> {
    let mut depth = 0;
    let mut heads = Vec::new();
    for pair in words.windows(2) {
        match pair[0].text.as_str() {
            "{" => depth += 1,
            "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            break;
        }
        if depth == 1 && matches!(pair[0].text.as_str(), "{" | ",") && pair[1].text != "}" {
            heads.push((pair[1].text.clone(), pair[1].line));
        }
    }
    heads
}

/// The place after an item: after its `;`, or after the brace that closes its first one.
fn item_end(words: &[Word], start: usize) -> usize {
    let (mut braces, mut others) = (0, 0);
    for (at, word) in words.iter().enumerate().skip(start) {
        match word.text.as_str() {
            "{" => braces += 1,
            "}" => braces -= 1,
            "(" | "[" => others += 1,
            ")" | "]" => others -= 1,
            _ => {}
        }
        if braces == 0 && others == 0 && matches!(word.text.as_str(), ";" | "}") {
            return at + 1;
        }
    }
    words.len()
}

fn starts(words: &[Word], wanted: &[&str]) -> bool {
    words.len() >= wanted.len() && words.iter().zip(wanted).all(|(word, wanted)| word.text == *wanted)
}

/// Cuts source text into words; comments, texts and characters leave nothing.
fn words(text: &str) -> Vec<Word> {
    let mut words = Vec::new();
    let (mut rest, mut line) = (text, 1);
    while let Some(first) = rest.chars().next() {
        let length = blank(rest).unwrap_or_else(|| {
            let length = word_length(rest);
            words.push(Word { text: rest[..length].to_owned(), line });
            length
        });
        let length = length.max(first.len_utf8());
        line += rest[..length].matches('\n').count();
        rest = &rest[length..];
    }
    words
}

/// The length of what begins here and is no word: space, a comment, a text, a character.
fn blank(rest: &str) -> Option<usize> {
    let first = rest.chars().next()?;
    if first.is_whitespace() {
        return Some(first.len_utf8());
    }
    if rest.starts_with("//") {
        return Some(rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return Some(rest.find("*/").map_or(rest.len(), |end| end + 2));
    }
    let bare = rest.trim_start_matches(['b', 'r']);
    let prefix = rest.len() - bare.len();
    let hashes = bare.len() - bare.trim_start_matches('#').len();
    if rest[..prefix].contains('r') && bare[hashes..].starts_with('"') {
        let end = format!("\"{}", "#".repeat(hashes));
        let body = prefix + hashes + 1;
        return Some(rest[body..].find(&end).map_or(rest.len(), |at| body + at + end.len()));
    }
    if bare.starts_with('"') && prefix < 2 {
        return Some(prefix + quoted(bare, '"'));
    }
    let is_character = bare.starts_with("'\\") || bare.chars().nth(2) == Some('\'');
    (bare.starts_with('\'') && is_character && prefix < 2).then(|| prefix + quoted(bare, '\''))
}

/// The length up to the closing quote.
fn quoted(text: &str, quote: char) -> usize {
    let mut is_escaped = false;
    for (at, character) in text.char_indices().skip(1) {
        if character == quote && !is_escaped {
            return at + 1;
        }
        is_escaped = character == '\\' && !is_escaped;
    }
    text.len()
}

fn word_length(rest: &str) -> usize {
    if rest.starts_with("::") {
        return 2;
    }
    rest.find(|character: char| !character.is_alphanumeric() && character != '_')
        .unwrap_or(rest.len())
        .max(rest.chars().next().map_or(0, char::len_utf8))
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    entries
        .flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] })
        .filter(|path| path.extension().is_some_and(|ending| ending == "rs"))
        .collect()
}

fn relative(file: &Path, root: &Path) -> String {
    file.strip_prefix(root).expect("a file of the folder").display().to_string()
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).expect("a source file")
}
