//! Reads a form out of a page and fills it in, as a browser without scripts does.

use form_urlencoded::Serializer;

/// A form that is sent by POST.
#[derive(Debug)]
pub(crate) struct Form {
    pub(crate) action: String,
    inputs: Vec<Input>,
}

#[derive(Debug)]
struct Input {
    name: String,
    kind: String,
    value: String,
    is_sent: bool,
}

impl Form {
    /// The first form in `html` whose method is POST and which holds an input of `kind` (any, if empty).
    pub(crate) fn find(html: &str, kind: &str) -> Option<Self> {
        Self::all(html).find(|form| kind.is_empty() || form.has(kind))
    }

    /// The form in `html` that is sent to `action`.
    pub(crate) fn sent_to(html: &str, action: &str) -> Option<Self> {
        Self::all(html).find(|form| form.action == action)
    }

    /// The form in `html` that has an input of this name.
    pub(crate) fn asking_for(html: &str, name: &str) -> Option<Self> {
        Self::all(html).find(|form| form.asks_for(name))
    }

    /// Every form whose method is POST.
    fn all(html: &str) -> impl Iterator<Item = Self> {
        html.split("<form").skip(1).filter_map(|rest| {
            let text = rest.split("</form").next()?;
            let head = text.split('>').next()?;
            let is_post = attribute(head, "method")?.eq_ignore_ascii_case("post");
            let mut inputs = elements(text, "<input");
            inputs.extend(elements(text, "<button"));
            is_post.then(|| Self { action: attribute(head, "action").unwrap_or_default(), inputs })
        })
    }

    /// Types into the input of that kind (`text`, `password`).
    #[track_caller]
    pub(crate) fn fill(mut self, kind: &str, value: &str) -> Self {
        let input = self.inputs.iter_mut().find(|input| input.kind == kind).expect("an input of that kind");
        value.clone_into(&mut input.value);
        self
    }

    /// Types into the input of that name.
    #[track_caller]
    pub(crate) fn fill_name(self, name: &str, value: &str) -> Self {
        self.forge(name, value)
    }

    /// Whether it has an input of that name.
    pub(crate) fn asks_for(&self, name: &str) -> bool {
        self.inputs.iter().any(|input| input.name == name)
    }

    /// Puts `value` into the input of that name, for attackers.
    #[track_caller]
    pub(crate) fn forge(mut self, name: &str, value: &str) -> Self {
        let input = self.inputs.iter_mut().find(|input| input.name == name).expect("an input of that name");
        value.clone_into(&mut input.value);
        self
    }

    /// Puts `value` in the place of `old` in the input of that name, for attackers.
    #[track_caller]
    pub(crate) fn exchange(mut self, name: &str, old: &str, value: &str) -> Self {
        let mut inputs = self.inputs.iter_mut();
        let input = inputs.find(|input| input.name == name && input.value == old).expect("such an input");
        value.clone_into(&mut input.value);
        self
    }

    /// Leaves out every hidden input: the form of another site.
    pub(crate) fn without_hidden(mut self) -> Self {
        self.inputs.retain(|input| input.kind != "hidden");
        self
    }

    /// Ticks the checkbox.
    #[track_caller]
    pub(crate) fn tick(mut self) -> Self {
        let input = self.inputs.iter_mut().find(|input| input.kind == "checkbox").expect("a checkbox");
        input.is_sent = true;
        self
    }

    /// Ticks the checkbox, or presses the button, of that name and value.
    #[track_caller]
    pub(crate) fn choose(mut self, name: &str, value: &str) -> Self {
        let mut inputs = self.inputs.iter_mut();
        let input = inputs.find(|input| input.name == name && input.value == value);
        input.expect("something of that name and value to choose").is_sent = true;
        self
    }

    /// What can be chosen under that name, in the order of the page.
    pub(crate) fn choices(&self, name: &str) -> Vec<String> {
        let inputs = self.inputs.iter().filter(|input| input.name == name && input.kind != "hidden");
        inputs.map(|input| input.value.clone()).collect()
    }

    /// The value of the input of that kind.
    pub(crate) fn value(&self, kind: &str) -> Option<&str> {
        self.inputs.iter().find(|input| input.kind == kind).map(|input| input.value.as_str())
    }

    pub(crate) fn has(&self, kind: &str) -> bool {
        self.inputs.iter().any(|input| input.kind == kind)
    }

    /// The value of the hidden input of that name.
    #[track_caller]
    pub(crate) fn hidden_value(&self, name: &str) -> String {
        let mut hidden = self.inputs.iter().filter(|input| input.kind == "hidden");
        hidden.find(|input| input.name == name).expect("a hidden input of that name").value.clone()
    }

    /// The body as `application/x-www-form-urlencoded`.
    pub(crate) fn encoded(&self) -> String {
        let mut body = Serializer::new(String::new());
        for input in self.inputs.iter().filter(|input| input.is_sent) {
            body.append_pair(&input.name, &input.value);
        }
        body.finish()
    }
}

/// The elements whose tag begins so, and that have a name.
fn elements(html: &str, tag: &str) -> Vec<Input> {
    let tags = html.split(tag).skip(1).filter_map(|rest| rest.split('>').next());
    tags.filter_map(|tag| {
        let kind = attribute(tag, "type").unwrap_or_else(|| "text".to_owned());
        let is_sent = !["checkbox", "submit"].contains(&kind.as_str()) || tag.contains(" checked");
        let value =
            attribute(tag, "value").unwrap_or_else(|| if kind == "checkbox" { "on" } else { "" }.to_owned());
        Some(Input { name: attribute(tag, "name")?, kind, value, is_sent })
    })
    .collect()
}

/// The value of an attribute in quotes, with its escapes undone.
fn attribute(tag: &str, name: &str) -> Option<String> {
    let start =
        tag.match_indices(&format!("{name}=")).find(|(at, _)| tag[..*at].ends_with(char::is_whitespace))?.0;
    let rest = &tag[start + name.len() + 1..];
    let value = match rest.chars().next()? {
        quote @ ('"' | '\'') => rest[1..].split(quote).next()?,
        _ => rest.split(|c: char| c.is_whitespace() || c == '/').next()?,
    };
    Some(unescape(value))
}

/// Undoes the escapes that template engines write.
pub(crate) fn unescape(text: &str) -> String {
    let mut plain = text.to_owned();
    for (escape, character) in [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&#x27;", "'"),
        ("&#39;", "'"),
        ("&#x2f;", "/"),
        ("&#x2F;", "/"),
    ] {
        plain = plain.replace(escape, character);
    }
    plain.replace("&amp;", "&")
}
