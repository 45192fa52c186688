//! JSON that every reader reads alike: serde takes the last of two equal keys, others the first, and Go's reader does
//! not even tell `layers` from `Layers`. What one tool checks must be what the next one runs.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// The document, unless an object in it has a key twice; at the top, in whatever case. Depth is bounded by serde_json.
pub(super) fn unambiguous(bytes: &[u8]) -> Result<Value, serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = Reader.deserialize(&mut reader)?;
    reader.end()?;
    if let Value::Object(fields) = &value {
        let mut seen = BTreeSet::new();
        if let Some(twice) = fields.keys().find(|key| !seen.insert(key.to_ascii_lowercase())) {
            return Err(twice_in(twice));
        }
    }
    Ok(value)
}

fn twice_in<E: Error>(key: &str) -> E {
    E::custom(format_args!("the key `{}` comes twice", key.chars().take(100).collect::<String>().escape_debug()))
}

struct Reader;

impl<'de> DeserializeSeed<'de> for Reader {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut fields = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let value = entries.next_value_seed(Reader)?;
            if fields.insert(key.clone(), value).is_some() {
                return Err(twice_in(&key));
            }
        }
        Ok(Value::Object(fields))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(Reader)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::String(text.to_owned()))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(Value::Number(number.into()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Number(number.into()))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Value, E> {
        Number::from_f64(number).map(Value::Number).ok_or_else(|| E::custom("a number that is none"))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_what_serde_json_reads() {
        let text = br#"{"a":[1,-2,0.5,null,true,"x\u00e9"],"b":{"c":{}},"B2":18446744073709551615}"#;
        assert_eq!(unambiguous(text).unwrap(), serde_json::from_slice::<Value>(text).unwrap());
    }

    #[test]
    fn a_key_comes_once() {
        for text in [r#"{"a":1,"a":1}"#, r#"{"a":{"b":1,"b":2}}"#, r#"[{"a":1,"a":2}]"#, r#"{"a":1,"A":1}"#, "{} {}"] {
            assert!(unambiguous(text.as_bytes()).is_err(), "{text}");
        }
        assert!(unambiguous(br#"{"labels":{"a":1,"A":1}}"#).is_ok());
    }
}
