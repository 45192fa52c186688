//! The XML of AWS's Query services, as a tree. `xmlparser`, on which the SDK's own reader stands, says what is a tag;
//! that reader itself takes a cut document for a short one.

use xmlparser::{ElementEnd, Token, Tokenizer};

/// Deeper than any answer that is asked for.
const DEEPEST: usize = 32;

/// More elements than any answer has; a tree takes far more memory than its text.
const MOST: usize = 200_000;

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Element {
    name: String,
    text: String,
    children: Vec<Element>,
}

impl Element {
    /// The root of a document; `None` where that is not well-formed, has a DTD, or is larger than any answer.
    pub fn parse(xml: &str) -> Option<Self> {
        let (mut open, mut root, mut count) = (Vec::<Self>::new(), None, 0);
        for token in Tokenizer::from(xml) {
            match token.ok()? {
                Token::ElementStart { local, .. } if root.is_none() && open.len() < DEEPEST && count < MOST => {
                    count += 1;
                    open.push(Self { name: local.as_str().to_owned(), ..Self::default() });
                }
                Token::ElementEnd { end: ElementEnd::Open, .. } => {}
                Token::ElementEnd { end, .. } => {
                    let done = open.pop()?;
                    if matches!(end, ElementEnd::Close(_, local) if local.as_str() != done.name) {
                        return None;
                    }
                    match open.last_mut() {
                        Some(parent) => parent.children.push(done),
                        None => root = Some(done),
                    }
                }
                Token::Text { text } => {
                    if let Some(element) = open.last_mut() {
                        element.text += &unescaped(text.as_str())?;
                    }
                }
                Token::Cdata { text, .. } => open.last_mut()?.text += text.as_str(),
                Token::Attribute { .. }
                | Token::Declaration { .. }
                | Token::Comment { .. }
                | Token::ProcessingInstruction { .. } => {}
                Token::ElementStart { .. }
                | Token::DtdStart { .. }
                | Token::EmptyDtd { .. }
                | Token::EntityDeclaration { .. }
                | Token::DtdEnd { .. } => return None,
            }
        }
        root.filter(|_| open.is_empty())
    }

    pub fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.name == name)
    }

    /// What a child says, where it is there and says something.
    pub fn text_of(&self, name: &str) -> Option<&str> {
        self.child(name).map(|child| child.text.trim()).filter(|text| !text.is_empty())
    }

    /// The items of a set; none where there is no set.
    pub fn items(&self, set: &str) -> impl Iterator<Item = &Self> {
        self.child(set).into_iter().flat_map(|set| &set.children).filter(|child| child.name == "item")
    }

    /// Of each item of a set what it says itself, or what its child of this name says.
    pub fn texts(&self, set: &str, name: Option<&str>) -> Vec<String> {
        let text = |item: &Self| match name {
            Some(name) => item.text_of(name).map(str::to_owned),
            None => Some(item.text.trim().to_owned()).filter(|text| !text.is_empty()),
        };
        self.items(set).filter_map(text).collect()
    }
}

/// The five entities of XML itself, and characters by number (XML 1.0, 4.1 and 4.6).
fn unescaped(text: &str) -> Option<String> {
    let mut parts = text.split('&');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (name, rest) = part.split_once(';')?;
        out.push(match name {
            "amp" => '&',
            "lt" => '<',
            "gt" => '>',
            "quot" => '"',
            "apos" => '\'',
            name => {
                let number = name.strip_prefix('#')?;
                let code = match number.strip_prefix('x') {
                    Some(hex) => u32::from_str_radix(hex, 16),
                    None => number.parse(),
                };
                char::from_u32(code.ok()?)?
            }
        });
        out += rest;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_found() {
        let root = Element::parse(
            "<?xml version=\"1.0\"?>\n<R xmlns=\"x\"><id> a&lt;b&#x26;c </id><set><item>1</item><other/><item><id>2</id>\
             </item></set><no/><c><![CDATA[<&]]></c></R>\n",
        )
        .expect("it is well-formed");
        assert_eq!(root.text_of("id"), Some("a<b&c"));
        assert_eq!(root.text_of("c"), Some("<&"));
        assert_eq!((root.text_of("no"), root.text_of("nowhere")), (None, None));
        assert_eq!(root.texts("set", None), ["1"]);
        assert_eq!(root.texts("set", Some("id")), ["2"]);
        assert_eq!(root.items("nowhere").count(), 0);
    }

    #[test]
    fn what_is_cut_or_crooked_or_too_much_is_nothing() {
        let deep = |n: usize| format!("{}{}", "<a>".repeat(n), "</a>".repeat(n));
        assert!(Element::parse(&deep(DEEPEST)).is_some());
        for bad in [
            "",
            "text",
            "<a><b></b>",
            "<a><b></a></b>",
            "<a/><b/>",
            "</a>",
            "<a>&nbsp;</a>",
            "<a>&#xD800;</a>",
            "<!DOCTYPE a [<!ENTITY x \"y\">]><a>&x;</a>",
            &deep(DEEPEST + 1),
            &format!("<a>{}</a>", "<b/>".repeat(MOST)),
        ] {
            assert_eq!(Element::parse(bad), None, "{}", &bad[..bad.len().min(60)]);
        }
    }
}
