//! The credentials that every service is asked with: found once for all, and found anew before they expire, which they
//! may while a build runs.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_credential_types::credential_feature::AwsCredentialFeature;
use aws_credential_types::provider::{self, future};
use aws_sdk_ecr::config::{Credentials, ProvideCredentials, SharedCredentialsProvider};
use tokio::sync::Mutex;

/// Within so long of their end they are looked for again: more than the SDK's own clients allow themselves, which is at
/// most fifteen seconds.
const MARGIN: Duration = Duration::from_secs(20);

/// A chain of providers, asked once: a process that makes credentials may ask its user for a code.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    chain: SharedCredentialsProvider,
    /// Held while they are looked for, so that many calls look once.
    found: Arc<Mutex<Option<Credentials>>>,
}

/// Where credentials came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    Environment,
    Profile,
    Process,
    Sso,
    Login,
    WebIdentity,
    AssumedRole,
    /// The endpoint that ECS, EKS and CodeBuild give their containers.
    Container,
    Instance,
}

impl Keys {
    pub fn new(chain: SharedCredentialsProvider) -> Self {
        Self { chain, found: Arc::default() }
    }

    async fn fresh(&self) -> provider::Result {
        let mut found = self.found.lock().await;
        let soon = SystemTime::now() + MARGIN;
        if let Some(credentials) = found.as_ref().filter(|found| found.expiry().is_none_or(|end| end > soon)) {
            return Ok(credentials.clone());
        }
        let credentials = self.chain.provide_credentials().await?;
        *found = Some(credentials.clone());
        Ok(credentials)
    }
}

impl ProvideCredentials for Keys {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.fresh())
    }
}

impl Origin {
    /// The steps on which these credentials were come by, the last first; none where nobody says.
    pub(super) fn of(credentials: &Credentials) -> Vec<Self> {
        let mut all: Vec<Self> = credentials
            .get_property::<Vec<AwsCredentialFeature>>()
            .into_iter()
            .flatten()
            .filter_map(Self::named)
            .collect();
        all.dedup();
        all
    }

    fn named(feature: &AwsCredentialFeature) -> Option<Self> {
        use AwsCredentialFeature as F;
        Some(match feature {
            F::CredentialsEnvVars => Self::Environment,
            F::CredentialsProfile | F::CredentialsProfileSourceProfile | F::CredentialsProfileNamedProvider => {
                Self::Profile
            }
            F::CredentialsProcess | F::CredentialsProfileProcess => Self::Process,
            F::CredentialsSso | F::CredentialsProfileSso => Self::Sso,
            F::CredentialsLogin | F::CredentialsProfileLogin => Self::Login,
            F::CredentialsEnvVarsStsWebIdToken
            | F::CredentialsProfileStsWebIdToken
            | F::CredentialsStsAssumeRoleWebId => Self::WebIdentity,
            F::CredentialsStsAssumeRole => Self::AssumedRole,
            F::CredentialsHttp => Self::Container,
            F::CredentialsImds => Self::Instance,
            // Features of calls, and ways that the chain does not take.
            _ => return None,
        })
    }

    pub fn phrase(self) -> &'static str {
        match self {
            Self::Environment => "the environment (AWS_ACCESS_KEY_ID)",
            Self::Profile => "the profile",
            Self::Process => "the program of credential_process",
            Self::Sso => "an SSO session",
            Self::Login => "`aws login`",
            Self::WebIdentity => "a web identity (AWS_WEB_IDENTITY_TOKEN_FILE)",
            Self::AssumedRole => "an assumed role",
            Self::Container => "the container's role",
            Self::Instance => "the instance's role",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Gives credentials for so long, and counts.
    #[derive(Clone, Debug)]
    struct Counting(Arc<AtomicUsize>, Option<Duration>);

    impl ProvideCredentials for Counting {
        fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
        where
            Self: 'a,
        {
            let number = self.0.fetch_add(1, Ordering::Relaxed);
            let expiry = self.1.map(|left| SystemTime::now() + left);
            future::ProvideCredentials::ready(Ok(Credentials::new(format!("AKID{number}"), "s", None, expiry, "test")))
        }
    }

    #[tokio::test]
    async fn credentials_are_found_once_until_they_are_about_to_expire() {
        for (lives, calls) in [(None, 1), (Some(Duration::from_secs(3600)), 1), (Some(Duration::from_secs(5)), 3)] {
            let count = Arc::new(AtomicUsize::new(0));
            let keys = Keys::new(SharedCredentialsProvider::new(Counting(count.clone(), lives)));
            for _ in 0..3 {
                keys.provide_credentials().await.unwrap();
            }
            assert_eq!(count.load(Ordering::Relaxed), calls, "{lives:?}");
        }
    }

    #[test]
    fn where_credentials_came_from_is_told_step_by_step() {
        let mut credentials = Credentials::new("AKID", "s", None, None, "test");
        assert_eq!(Origin::of(&credentials), []);
        credentials.set_property(vec![
            AwsCredentialFeature::CredentialsStsAssumeRole,
            AwsCredentialFeature::CredentialsProfile,
            AwsCredentialFeature::ResolvedAccountId,
        ]);
        assert_eq!(Origin::of(&credentials), [Origin::AssumedRole, Origin::Profile]);
    }
}
