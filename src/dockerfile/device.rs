//! `RUN --device=`: a device by its CDI name (Container Device Interface), and whether the command needs it.

use super::boolean::boolean;
use super::mount::{MountError, csv_fields, did_you_mean};

/// A device that `RUN --device` asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    pub name: String,
    pub required: bool,
}

/// Why the value of `--device` is not one; the words are BuildKit's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    #[error("failed to parse csv devices: {0}")]
    Csv(&'static str),
    #[error("invalid field '{0}' must be a key=value pair")]
    NoValue(String),
    #[error("device name already set to {0}")]
    TwoNames(String),
    #[error("invalid value for required: {0}")]
    Required(String),
    #[error("unexpected key '{key}' in '{field}'{meant}")]
    UnknownKey { key: String, field: String, meant: String },
    #[error("the device has no name")]
    NoName,
}

const KEYS: [&str; 2] = ["name", "required"];

impl Device {
    /// As BuildKit reads it (instructions/commands_rundevice.go): the first field that is no known key is the name, and
    /// `vendor.com/class=device` is such a field.
    pub fn parse(text: &str) -> Result<Self, DeviceError> {
        let fields = csv_fields(text).map_err(|error| match error {
            MountError::Csv(why) => DeviceError::Csv(why),
            // Nothing but the form of the fields is looked at there.
            other => DeviceError::NoValue(other.to_string()),
        })?;
        let (mut name, mut required) = (None, false);
        for field in fields {
            let (key, value) = match field.split_once('=') {
                Some((key, value)) => (key.to_lowercase(), Some(value)),
                None => (field.to_lowercase(), None),
            };
            match (key.as_str(), value, &name) {
                ("required", None, _) => required = true,
                ("required", Some(value), _) => {
                    required = boolean(value).ok_or_else(|| DeviceError::Required(value.to_owned()))?;
                }
                ("name", Some(_), Some(name)) => return Err(DeviceError::TwoNames(String::clone(name))),
                ("name", Some(value), None) => name = Some(value.to_owned()),
                (_, _, None) => name = Some(field),
                (_, None, Some(_)) => return Err(DeviceError::NoValue(field)),
                (key, Some(_), Some(_)) => {
                    let meant = did_you_mean(key, KEYS);
                    return Err(DeviceError::UnknownKey { key: key.to_owned(), field: field.clone(), meant });
                }
            }
        }
        match name.filter(|name| !name.is_empty()) {
            Some(name) => Ok(Self { name, required }),
            None => Err(DeviceError::NoName),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let shown = match Device::parse(text) {
            Ok(Device { name, required }) => format!("{name}{}", if required { " required" } else { "" }),
            Err(error) => format!("error: {error}"),
        };
        assert_eq!(shown, expected, "{text}");
    }

    #[test]
    fn a_device_is_a_name_and_whether_it_is_needed() {
        check("vendor.com/gpu=0", "vendor.com/gpu=0");
        check("vendor.com/gpu=0,required", "vendor.com/gpu=0 required");
        check("name=vendor.com/gpu,required=1", "vendor.com/gpu required");
        check("required=false,vendor.com/gpu=*", "vendor.com/gpu=*");
    }

    #[test]
    fn what_a_device_cannot_be_is_said() {
        check("", "error: failed to parse csv devices: EOF");
        check("required", "error: the device has no name");
        check("a=b,required=si", "error: invalid value for required: si");
        check("a,name=b", "error: device name already set to a");
        check("a,b", "error: invalid field 'b' must be a key=value pair");
        check("a,requird=true", "error: unexpected key 'requird' in 'requird=true' (did you mean required?)");
    }
}
