//! Where the values of ARG come from: predefined ones, build arguments, defaults.

use std::collections::BTreeMap;

use crate::image::Platform;

/// Set in every RUN without declaration, outside history and cache key.
pub const PROXIES: [&str; 10] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "FTP_PROXY",
    "ftp_proxy",
    "NO_PROXY",
    "no_proxy",
    "ALL_PROXY",
    "all_proxy",
];

/// The ARGs that need no default: usable in FROM as they are, in a stage after `ARG NAME`.
pub fn predefined(target: &Platform, build: &Platform, target_stage: &str) -> BTreeMap<String, String> {
    let mut args = BTreeMap::new();
    for (prefix, platform) in [("TARGET", target), ("BUILD", build)] {
        args.insert(format!("{prefix}PLATFORM"), platform.to_string());
        args.insert(format!("{prefix}OS"), platform.os.clone());
        args.insert(format!("{prefix}OSVERSION"), String::new());
        args.insert(format!("{prefix}ARCH"), platform.architecture.clone());
        args.insert(format!("{prefix}VARIANT"), platform.variant.clone().unwrap_or_default());
    }
    args.insert("TARGETSTAGE".to_owned(), target_stage.to_owned());
    args
}
