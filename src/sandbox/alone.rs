//! A program that has its C library in itself must load no part of another one.

/// From now on names of hosts are looked up in `/etc/hosts` and by DNS, users and groups in `/etc/passwd` and `/etc/group`,
/// whatever `/etc/nsswitch.conf` says. For the program with a C library of its own, where the machine's modules (`resolve`,
/// `myhostname`, `systemd`, …) are those of another glibc, and loading one is a segmentation fault:
/// <https://sourceware.org/glibc/wiki/FAQ>.
/// Elsewhere it does nothing. To be called before anything is looked up, while there is one thread.
pub fn look_names_up_alone() {
    #[cfg(all(target_os = "linux", target_env = "gnu", target_feature = "crt-static"))]
    for (database, places) in [(c"hosts", c"files dns"), (c"passwd", c"files"), (c"group", c"files")] {
        // SAFETY: two C strings that live for ever; nobody else is in the C library's tables yet.
        let refused = unsafe { __nss_configure_lookup(database.as_ptr(), places.as_ptr()) };
        assert_eq!(refused, 0, "these places are in glibc itself");
    }
}

#[cfg(all(target_os = "linux", target_env = "gnu", target_feature = "crt-static"))]
unsafe extern "C" {
    /// glibc's nss.h.
    fn __nss_configure_lookup(database: *const std::ffi::c_char, places: *const std::ffi::c_char) -> std::ffi::c_int;
}
