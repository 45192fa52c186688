//! Who we are: `sts:GetCallerIdentity`, which needs no permission.

/// The identity that calls are made as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    pub arn: String,
    pub account: String,
    /// `aws`, `aws-cn`, `aws-us-gov`: the first part of every ARN that we make.
    pub partition: String,
}

impl Caller {
    /// `None` where the ARN is not one, or the account is not twelve digits.
    pub(super) fn parse(arn: &str, account: &str) -> Option<Self> {
        let partition = arn.strip_prefix("arn:")?.split(':').next()?;
        let named = partition.starts_with("aws") && partition.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
        let numbered = account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit());
        (named && numbered).then(|| Self {
            arn: arn.to_owned(),
            account: account.to_owned(),
            partition: partition.to_owned(),
        })
    }
}

pub(super) async fn caller(client: &aws_sdk_sts::Client) -> Result<Caller, super::AwsError> {
    const CALL: &str = "sts:GetCallerIdentity";
    let answer = client.get_caller_identity().send().await.map_err(|error| super::AwsError::new(CALL, None, error))?;
    Caller::parse(answer.arn().unwrap_or(""), answer.account().unwrap_or(""))
        .ok_or_else(|| super::AwsError::garbled(CALL, None, "identity: an ARN, and an account of twelve digits"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_partition_is_that_of_the_callers_arn() {
        for (arn, partition) in [
            ("arn:aws:iam::123456789012:user/a", "aws"),
            ("arn:aws-cn:sts::123456789012:assumed-role/r/s", "aws-cn"),
            ("arn:aws-us-gov:iam::123456789012:root", "aws-us-gov"),
        ] {
            assert_eq!(Caller::parse(arn, "123456789012").unwrap().partition, partition);
        }
        assert_eq!(Caller::parse("arn:evil:iam::1:x", "123456789012"), None);
        assert_eq!(Caller::parse("arn:aws:iam::1:x", "1"), None);
    }
}
