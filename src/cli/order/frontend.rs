//! Build arguments that are no variables but options of BuildKit's Dockerfile frontend: each is honoured, or refused.
//!
//! Those that are honoured are so elsewhere.

use std::collections::BTreeMap;

use super::super::Failure;

/// Honoured, where what they steer is.
pub const HONOURED: [&str; 6] = [
    "BUILDKIT_CACHE_MOUNT_NS",
    "BUILDKIT_CONTEXT_KEEP_GIT_DIR",
    "BUILDKIT_DOCKERFILE_CHECK",
    "BUILDKIT_SANDBOX_HOSTNAME",
    "BUILDKIT_SYNTAX",
    "SOURCE_DATE_EPOCH",
];

/// With what is the case without them.
pub const REFUSED: [(&str, &str); 6] = [
    ("BUILDKIT_INLINE_CACHE", "no cache is written into the image"),
    ("BUILDKIT_MULTI_PLATFORM", "the image of one platform is no index"),
    ("BUILDKIT_SBOM_SCAN_CONTEXT", "no attestation is made"),
    ("BUILDKIT_SBOM_SCAN_STAGE", "no attestation is made"),
    ("BUILDKIT_ATTEST_SBOM", "no attestation is made"),
    ("BUILDKIT_ATTEST_PROVENANCE", "no attestation is made"),
];

/// Refuses what would be ignored.
pub fn check(build_args: &BTreeMap<String, String>) -> Result<(), Failure> {
    for (name, why) in REFUSED {
        if let Some(value) = build_args.get(name).filter(|value| !is_off(value)) {
            return Err(Failure::usage(format!("--build-arg {name}={value} is not supported yet"))
                .hint(format!("{why}; {name}=false says so")));
        }
    }
    Ok(())
}

/// Nothing, what Go's `strconv.ParseBool` takes for false, and an attestation's own way to say it.
fn is_off(value: &str) -> bool {
    matches!(value, "" | "disabled=true" | "0" | "f" | "F" | "false" | "FALSE" | "False")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_be_ignored_is_refused_by_name() {
        let given = |name: &str, value: &str| check(&BTreeMap::from([(name.to_owned(), value.to_owned())]));
        let refused = given("BUILDKIT_INLINE_CACHE", "1").expect_err("it is not made");
        assert_eq!(refused.message, "--build-arg BUILDKIT_INLINE_CACHE=1 is not supported yet");
        assert!(given("BUILDKIT_ATTEST_PROVENANCE", "mode=max").is_err());
        for (name, value) in [
            ("BUILDKIT_INLINE_CACHE", "0"),
            ("BUILDKIT_ATTEST_SBOM", "false"),
            ("BUILDKIT_ATTEST_PROVENANCE", "disabled=true"),
            ("BUILDKIT_SANDBOX_HOSTNAME", "h"),
            ("VERSION", "1"),
        ] {
            assert!(given(name, value).is_ok(), "{name}={value}");
        }
    }
}
