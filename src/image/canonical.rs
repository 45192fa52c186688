//! JSON in one order, so that one document has one digest.

use serde::Serialize;
use serde_json::Value;

/// The document as JSON without white space, the keys of every object sorted by their bytes.
///
/// `oci-spec` keeps labels and annotations in a `HashMap`, whose order differs from run to run; and whether
/// `serde_json::Value` sorts depends on a feature that any dependency may turn on. So the sorting is done here.
pub fn canonical_json(document: &impl Serialize) -> Result<Vec<u8>, serde_json::Error> {
    let mut out = Vec::new();
    write(&serde_json::to_value(document)?, &mut out)?;
    Ok(out)
}

fn write(value: &Value, out: &mut Vec<u8>) -> Result<(), serde_json::Error> {
    match value {
        Value::Object(fields) => {
            let mut keys: Vec<_> = fields.iter().collect();
            keys.sort_unstable_by_key(|(key, _)| key.as_bytes());
            out.push(b'{');
            for (n, (key, value)) in keys.into_iter().enumerate() {
                if n > 0 {
                    out.push(b',');
                }
                serde_json::to_writer(&mut *out, key)?;
                out.push(b':');
                write(value, out)?;
            }
            out.push(b'}');
        }
        Value::Array(values) => {
            out.push(b'[');
            for (n, value) in values.iter().enumerate() {
                if n > 0 {
                    out.push(b',');
                }
                write(value, out)?;
            }
            out.push(b']');
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => serde_json::to_writer(out, value)?,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn keys_come_sorted_at_every_depth() {
        let bytes = canonical_json(&json!({"b": [{"z": 1, "a": "é"}], "a": null})).unwrap();
        assert_eq!(String::from_utf8(bytes).unwrap(), r#"{"a":null,"b":[{"a":"é","z":1}]}"#);
    }
}
