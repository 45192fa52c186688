//! Word expansion: quotes, escapes and `$variables`, as BuildKit's `shell.Lex` does it.

/// Where the values of variables come from.
pub trait Lookup {
    fn value(&self, name: &str) -> Option<&str>;
}

impl Lookup for std::collections::BTreeMap<String, String> {
    fn value(&self, name: &str) -> Option<&str> {
        self.get(name).map(String::as_str)
    }
}
