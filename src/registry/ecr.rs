//! The host names of Amazon ECR, told exactly: a credential for AWS hangs on it.

use std::fmt;
use std::str::FromStr;

/// The one host of ECR Public.
pub const ECR_PUBLIC: &str = "public.ecr.aws";

/// `ACCOUNT.dkr.ecr.REGION.amazonaws.com`, with `ecr-fips` and `.cn` where AWS has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EcrHost {
    pub account: String,
    pub region: String,
    name: String,
}

/// The host is not one of ECR's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the host name of an ECR registry")]
pub struct NotEcr;

impl FromStr for EcrHost {
    type Err = NotEcr;

    fn from_str(host: &str) -> Result<Self, NotEcr> {
        let labels: Vec<&str> = host.split('.').collect();
        let (account, region, china) = match labels[..] {
            [account, "dkr", "ecr" | "ecr-fips", region, "amazonaws", "com"] => (account, region, false),
            [account, "dkr", "ecr" | "ecr-fips", region, "amazonaws", "com", "cn"] => (account, region, true),
            _ => return Err(NotEcr),
        };
        let is_account = account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit());
        if !is_account || !is_region(region) || region.starts_with("cn-") != china {
            return Err(NotEcr);
        }
        Ok(Self { account: account.to_owned(), region: region.to_owned(), name: host.to_owned() })
    }
}

impl fmt::Display for EcrHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// `eu-west-1`, `us-gov-east-1`: lower-case words and a number.
fn is_region(region: &str) -> bool {
    let mut words: Vec<&str> = region.split('-').collect();
    let number = words.pop().unwrap_or_default();
    !number.is_empty()
        && number.bytes().all(|b| b.is_ascii_digit())
        && words.len() >= 2
        && words.iter().all(|word| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_of_ecr_are_known() {
        for (host, region) in [
            ("123456789012.dkr.ecr.eu-west-1.amazonaws.com", "eu-west-1"),
            ("123456789012.dkr.ecr-fips.us-gov-east-1.amazonaws.com", "us-gov-east-1"),
            ("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn", "cn-north-1"),
        ] {
            let found: EcrHost = host.parse().unwrap();
            assert_eq!((found.account.as_str(), found.region.as_str()), ("123456789012", region));
            assert_eq!(found.to_string(), host);
        }
    }

    #[test]
    fn what_only_looks_like_one_is_none() {
        for host in [
            "",
            "1.dkr.ecr.eu-west-1.amazonaws.com",
            "123456789012.dkr.ecr.eu-west-1.amazonaws.com.evil.com",
            "123456789012.dkr.ecr.eu-west-1.amazonaws.com.",
            "123456789012.dkr.ecr.eu-west-1.amazonaws.com:443",
            "123456789012.dkr.ecr.eu-west-1.amazonaws.com@evil.com",
            "123456789012.dkr.ecr.EU-WEST-1.amazonaws.com",
            "123456789012.DKR.ecr.eu-west-1.amazonaws.com",
            "123456789012.dkr.ecr.eu-west-1.amazonaws.com.cn",
            "123456789012.dkr.ecr.cn-north-1.amazonaws.com",
            "x.123456789012.dkr.ecr.eu-west-1.amazonaws.com",
            "123456789012-dkr-ecr.eu-west-1.amazonaws.com",
            "123456789012.dkr.ecr.evil.amazonaws.com",
            "123456789012.dkr.ecr..amazonaws.com",
            "12345678901٢.dkr.ecr.eu-west-1.amazonaws.com",
            "public.ecr.aws",
        ] {
            assert_eq!(host.parse::<EcrHost>(), Err(NotEcr), "{host}");
        }
    }
}
