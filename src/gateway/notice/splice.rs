//! Puts our script into a page while it passes.
//!
//! The rewriter only looks: it tells where the head of the page ends and what policies stand in it. The bytes
//! that go on are those that came, so nothing is lost whatever it makes of them, and after the script nothing is
//! looked at any more. Invariants: without the script a page comes out byte for byte; no more of it is held than
//! [`HELD`], and a page for which that is too little passes on unchanged.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::mem;
use std::ops::Range;
use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use encoding_rs::Encoding;
use lol_html::html_content::{Attribute, Element};
use lol_html::{
    AsciiCompatibleEncoding, HandlerResult, HtmlRewriter, MemorySettings, OutputSink, Settings, doctype,
    element, end_tag,
};

use super::policy::Admission;
use super::refusal::{Refusal, Reporter};

/// A page on its way.
#[derive(Debug)]
pub(super) enum Splice {
    /// The place of the script is not found yet.
    Looking(Box<Looking>),
    /// The script is in, or this page gets none.
    Over,
}

impl Splice {
    /// For a page in this encoding, with the script that `admission` lets in.
    pub(super) fn new(admission: Admission, encoding: AsciiCompatibleEncoding, reporter: Reporter) -> Self {
        Self::Looking(Box::new(Looking::new(admission, encoding, reporter)))
    }

    /// What goes on of the page after this piece of it; may be nothing.
    pub(super) fn feed(&mut self, piece: Bytes) -> Bytes {
        let Self::Looking(looking) = self else { return piece };
        match looking.look_at(&piece) {
            Found::Nothing => looking.page.release(),
            Found::Place(place) => self.end(|looking| looking.page.insert(place)),
            Found::Trouble => self.end(|looking| looking.page.give_up()),
        }
    }

    /// What is left at the end of the page.
    pub(super) fn finish(&mut self) -> Bytes {
        self.end(Looking::finish)
    }

    /// What is left where the page broke off.
    pub(super) fn break_off(&mut self) -> Bytes {
        self.end(|looking| looking.page.held.freeze())
    }

    /// Whether nothing is held, and all that comes passes as it is.
    pub(super) const fn is_over(&self) -> bool {
        matches!(self, Self::Over)
    }

    fn end(&mut self, last: impl FnOnce(Looking) -> Bytes) -> Bytes {
        match mem::replace(self, Self::Over) {
            Self::Looking(looking) => last(*looking),
            Self::Over => Bytes::new(),
        }
    }
}

/// A page whose script is not in yet.
pub(super) struct Looking {
    rewriter: HtmlRewriter<'static, Passed>,
    page: Page,
}

impl Looking {
    fn new(admission: Admission, encoding: AsciiCompatibleEncoding, reporter: Reporter) -> Self {
        let passed = Rc::new(Cell::new(0));
        let sights = Rc::new(RefCell::new(Sights::new(admission)));
        let rewriter = HtmlRewriter::new(settings(&sights, encoding), Passed(Rc::clone(&passed)));
        Self { rewriter, page: Page { passed, sights, reporter, held: BytesMut::new(), start: 0 } }
    }

    fn look_at(&mut self, piece: &Bytes) -> Found {
        self.page.held.extend_from_slice(piece);
        let outcome = self.rewriter.write(piece);
        let sights = self.page.sights.borrow();
        match sights.place {
            Some(place) => Found::Place(place),
            None if outcome.is_err() => Found::Trouble,
            None if !sights.edits.is_empty() && self.page.held.len() > HELD => Found::Trouble,
            None => Found::Nothing,
        }
    }

    /// A page in which neither the head ends nor the body begins visibly gets the script last; what is no page
    /// gets none.
    fn finish(self) -> Bytes {
        let Self { rewriter, page } = self;
        if rewriter.end().is_err() {
            return page.give_up();
        }
        let is_document = page.sights.borrow().is_document;
        let end = page.start + page.held.len();
        if is_document { page.insert(end) } else { page.held.freeze() }
    }
}

impl fmt::Debug for Looking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Looking").field("start", &self.page.start).finish_non_exhaustive()
    }
}

enum Found {
    Nothing,
    /// Where the script belongs.
    Place(usize),
    Trouble,
}

/// What is known and held of a page.
struct Page {
    /// How many bytes the rewriter is done with.
    passed: Rc<Cell<usize>>,
    sights: Rc<RefCell<Sights>>,
    reporter: Reporter,
    /// What came and did not go on yet.
    held: BytesMut,
    /// The place of the first byte of it in the page.
    start: usize,
}

impl Page {
    /// What the rewriter is done with, unless a policy in it waits for the script.
    fn release(&mut self) -> Bytes {
        if !self.sights.borrow().edits.is_empty() {
            return Bytes::new();
        }
        let done = self.passed.get();
        self.take(done).freeze()
    }

    /// The page so far with the script at `place`, and the policies that let it in.
    fn insert(mut self, place: usize) -> Bytes {
        let (element, edits) = self.sights.borrow_mut().take();
        let more: usize = edits.iter().map(|edit| edit.text.len()).sum();
        let mut page = BytesMut::with_capacity(self.held.len() + element.len() + more);
        for Edit { range, text } in edits {
            page.extend_from_slice(&self.take(range.start));
            self.take(range.end);
            page.extend_from_slice(text.as_bytes());
        }
        page.extend_from_slice(&self.take(place));
        page.extend_from_slice(element.as_bytes());
        page.extend_from_slice(&self.held);
        page.freeze()
    }

    /// The page so far as it came.
    fn give_up(self) -> Bytes {
        let refusal = self.sights.borrow().refusal;
        self.reporter.report(refusal.unwrap_or(Refusal::Markup));
        self.held.freeze()
    }

    /// What is held before `end`, a place in the page.
    fn take(&mut self, end: usize) -> BytesMut {
        let count = end.saturating_sub(self.start).min(self.held.len());
        self.start += count;
        self.held.split_to(count)
    }
}

/// Counts what the rewriter is done with.
struct Passed(Rc<Cell<usize>>);

impl OutputSink for Passed {
    fn handle_chunk(&mut self, chunk: &[u8]) {
        self.0.set(self.0.get() + chunk.len());
    }
}

/// What the rewriter saw.
struct Sights {
    admission: Admission,
    /// Policies of the page that must let the script in.
    edits: Vec<Edit>,
    place: Option<usize>,
    /// Whether it is a page, not a piece of one.
    is_document: bool,
    refusal: Option<Refusal>,
}

/// A text that takes the place of another.
struct Edit {
    range: Range<usize>,
    text: String,
}

impl Sights {
    const fn new(admission: Admission) -> Self {
        Self { admission, edits: Vec::new(), place: None, is_document: false, refusal: None }
    }

    fn take(&mut self) -> (String, Vec<Edit>) {
        (self.admission.element(), mem::take(&mut self.edits))
    }

    /// The script belongs here; the rewriter has done its work.
    fn stop_at(&mut self, place: usize) -> HandlerResult {
        self.place = Some(place);
        Err("found".into())
    }

    fn refuse(&mut self, refusal: Refusal) -> HandlerResult {
        self.refusal = Some(refusal);
        Err("refused".into())
    }

    fn see_meta(&mut self, meta: &Element<'_, '_>) -> HandlerResult {
        let kind = meta.get_attribute("http-equiv").unwrap_or_default();
        let content = meta.attributes().iter().find(|attribute| attribute.name() == "content");
        if kind.eq_ignore_ascii_case("content-security-policy") {
            return content.map_or(Ok(()), |content| self.see_policy(content));
        }
        let of_type = content.filter(|_| kind.eq_ignore_ascii_case("content-type")).map(Attribute::value);
        let of_type = of_type
            .as_deref()
            .and_then(|text| text.split_once("charset="))
            .map(|(_, label)| label.to_owned());
        match meta.get_attribute("charset").or(of_type) {
            Some(label) if is_beyond_ascii(&label) => self.refuse(Refusal::Encoding),
            _ => Ok(()),
        }
    }

    /// A policy that is written with escapes, or as several, is left to browsers.
    fn see_policy(&mut self, content: &Attribute<'_>) -> HandlerResult {
        let text = content.value();
        if text.contains(['&', ',']) {
            return self.refuse(Refusal::PolicyUnreadable);
        }
        match (self.admission.admit_by(&text), content.value_source_location()) {
            (Ok(None), _) => Ok(()),
            // A value with blanks stands in quotation marks, and what is added holds none.
            (Ok(Some(amended)), Some(place)) if text.is_ascii() && text.contains(' ') => {
                self.edits.push(Edit { range: place.bytes(), text: amended });
                Ok(())
            }
            (Ok(Some(_)), _) => self.refuse(Refusal::PolicyUnreadable),
            (Err(refusal), _) => self.refuse(refusal),
        }
    }
}

/// Looks for the end of the head, or the beginning of the body, and for what stands in the head.
fn settings(sights: &Rc<RefCell<Sights>>, encoding: AsciiCompatibleEncoding) -> Settings<'static, 'static> {
    let [of_doctype, of_page, of_head, of_body, of_meta] = [(); 5].map(|()| Rc::clone(sights));
    Settings::new()
        .with_encoding(encoding)
        .with_strict(true)
        .with_memory_settings(MemorySettings::new().with_max_allowed_memory_usage(HELD))
        .append_document_content_handler(doctype!(move |_| {
            of_doctype.borrow_mut().is_document = true;
            Ok(())
        }))
        .append_element_content_handler(element!("html, title", move |_| {
            of_page.borrow_mut().is_document = true;
            Ok(())
        }))
        .append_element_content_handler(element!("head", move |head| {
            let sights = Rc::clone(&of_head);
            head.on_end_tag(end_tag!(move |end| {
                sights.borrow_mut().stop_at(end.source_location().bytes().start)
            }))
        }))
        .append_element_content_handler(element!("body", move |body| {
            of_body.borrow_mut().stop_at(body.source_location().bytes().start)
        }))
        .append_element_content_handler(element!("meta", move |meta| of_meta.borrow_mut().see_meta(meta)))
}

/// Whether markup looks otherwise in an encoding. Browsers take UTF-16 in a `meta` element for UTF-8.
fn is_beyond_ascii(label: &str) -> bool {
    let encoding = Encoding::for_label(label.trim().as_bytes());
    encoding.is_some_and(|encoding| AsciiCompatibleEncoding::new(encoding).is_none())
}

/// Bytes of a page that wait: of a tag that is not whole yet, or behind a policy that must let the script in.
const HELD: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::gateway::HostPattern;

    const ELEMENT: &str = "<script src=\"https://a.example/p/notice.js\" async></script>";
    const URL: &str = "https://a.example/p/notice.js";
    const ASKED: &str = "https://a.example/p/session https://a.example/p/session/";

    /// What comes out of a page that comes in these pieces.
    fn through<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
        let reporter = Reporter::of(&HostPattern::Any, "/");
        let admission = Admission::of("https://a.example/p");
        let mut splice = Splice::new(admission, AsciiCompatibleEncoding::utf_8(), reporter);
        let mut page = Vec::new();
        for piece in pieces {
            page.extend_from_slice(&splice.feed(Bytes::copy_from_slice(piece)));
        }
        page.extend_from_slice(&splice.finish());
        assert!(splice.is_over());
        page
    }

    fn changed(page: &str) -> String {
        String::from_utf8(through([page.as_bytes()])).unwrap()
    }

    /// `|` is where the script belongs.
    const PAGES: [&str; 12] = [
        "<!doctype html><html><head><title>a</title>|</head><body>b</body></html>",
        "<HTML><HEAD>|</HEAD ><BODY>b",
        "<head>\n<style>x</style>|<body class=\"b\">c</body>",
        "<html>|<body>b</body></html>",
        "<!DOCTYPE html><title>short</title><p>b|",
        "<head><!-- </head><body> --><script>let a = \"</head><body>\";</script>|</head><body>",
        "<head><title></head><body></title><style></head></style>|</head>",
        "<!doctype html>|",
        "<html><head><meta charset='utf-8'><base href='https://cdn.example/'>|</head>\u{fc}\u{20ac}",
        "<head><meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'self'\">|</head>",
        "<head><meta http-equiv=Content-Security-Policy content=upgrade-insecure-requests>|</head>",
        "<head><textarea></head><body></textarea>|</head>",
    ];

    /// What gets no script.
    const OTHERS: [&str; 11] = [
        "",
        "no markup at all",
        "{\"json\": \"<html\"}",
        "<li>a piece</li><li>of a page</li>",
        "<head><meta charset=iso-2022-jp></head><body>",
        "<head><meta http-equiv=\"content-type\" content=\"text/html; charset=iso-2022-jp\"></head>",
        "<head><meta http-equiv=Content-Security-Policy content=\"script-src &apos;none&apos;\"></head>",
        "<head><meta http-equiv=Content-Security-Policy content=script-src></head>",
        "<head><meta http-equiv=Content-Security-Policy content=\"script-src 'strict-dynamic'\"></head>",
        "<html><head><!-- the end never comes </head><body>",
        "<svg><title>a picture in a page",
    ];

    #[test]
    fn the_script_stands_at_the_end_of_the_head() {
        for page in PAGES {
            assert_eq!(changed(&page.replace('|', "")), page.replace('|', ELEMENT));
        }
    }

    #[test]
    fn what_is_no_page_or_cannot_take_the_script_comes_out_as_it_came() {
        for page in &OTHERS[..9] {
            assert_eq!(changed(page), *page);
        }
    }

    #[test]
    fn policies_in_the_page_let_the_script_in() {
        let page = "<head><meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src *\">\
                    <meta content='script-src  a.b;connect-src *' http-equiv=content-security-policy></head><body>";
        let expected = format!(
            "<head><meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src *; \
             script-src {URL}; connect-src {ASKED}\">\
             <meta content='script-src a.b {URL}; connect-src *' http-equiv=content-security-policy>{ELEMENT}</head><body>"
        );
        assert_eq!(changed(page), expected);
    }

    #[test]
    fn a_page_whose_second_policy_refuses_the_script_keeps_the_first() {
        let page = "<head><meta http-equiv=content-security-policy content=\"script-src 'none'\">\
                    <meta http-equiv=content-security-policy content=\"script-src 'strict-dynamic'\"></head><body>";
        assert_eq!(changed(page), page);
    }

    #[test]
    fn a_page_that_is_too_much_for_its_limits_is_never_cut() {
        let large = "x".repeat(3 * HELD);
        let policy = "<meta http-equiv=content-security-policy content=\"script-src 'none'\">";
        for page in [
            format!("<html><head><link href=\"{large}\"></head><body>{large}"),
            format!("<html><head>{policy}<style>{large}</style></head><body>"),
        ] {
            let pieces = page.as_bytes().chunks(1_000);
            assert!(through(pieces) == page.as_bytes(), "{}", page.len());
        }
    }

    #[test]
    fn a_large_head_passes_while_it_comes_and_the_rest_as_it_is() {
        let text = "x".repeat(1_000);
        let reporter = Reporter::of(&HostPattern::Any, "/");
        let mut splice =
            Splice::new(Admission::of("https://a.example/p"), AsciiCompatibleEncoding::utf_8(), reporter);
        splice.feed(Bytes::from("<html><head><style>"));
        let passed: usize = (0..500).map(|_| splice.feed(Bytes::from(text.clone())).len()).sum();
        assert!(passed > 499 * 1_000, "{passed}");
        splice.feed(Bytes::from("</style></head>"));
        assert!(splice.is_over());
        let piece = Bytes::from(text);
        assert_eq!(splice.feed(piece.clone()).as_ptr(), piece.as_ptr());
    }

    #[test]
    fn what_is_held_of_a_page_that_breaks_off_goes_on() {
        let reporter = Reporter::of(&HostPattern::Any, "/");
        let mut splice =
            Splice::new(Admission::of("https://a.example/p"), AsciiCompatibleEncoding::utf_8(), reporter);
        let mut page = splice.feed(Bytes::from("<html><head><link hre")).to_vec();
        page.extend_from_slice(&splice.break_off());
        assert_eq!(page, b"<html><head><link hre");
    }

    proptest! {
        #[test]
        fn it_does_not_matter_where_a_page_is_divided(which in 0..PAGES.len() + OTHERS.len(), cuts in prop::collection::vec(0..200_usize, 0..6)) {
            let page = PAGES.iter().chain(&OTHERS).nth(which).unwrap().replace('|', "");
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(page.len())).collect();
            cuts.extend([0, page.len()]);
            cuts.sort_unstable();
            let pieces = cuts.windows(2).map(|pair| &page.as_bytes()[pair[0]..pair[1]]);
            prop_assert_eq!(through(pieces), through([page.as_bytes()]));
        }

        #[test]
        fn whatever_comes_comes_out_with_at_most_the_script(
            parts in prop::collection::vec("(<(head|/head|body|html|title|/title|meta charset=x|!--|script|/script|svg|select|xmp|/)[ >]|-->|[a-z\"'<>/=&]{0,4})", 0..12),
            size in 1..16_usize,
        ) {
            let page = parts.concat();
            let out = String::from_utf8(through(page.as_bytes().chunks(size))).unwrap();
            prop_assert!(out == page || out.replacen(ELEMENT, "", 1) == page, "{out}");
        }
    }
}
