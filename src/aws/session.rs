//! Profile, region, credentials and one HTTP client for all services.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
#[cfg(test)]
use std::time::Duration;

use aws_config::meta::region::ProvideRegion;
use aws_config::profile::{ProfileFileCredentialsProvider, ProfileFileRegionProvider};
use aws_config::provider_config::ProviderConfig;
use aws_config::retry::RetryConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_sts::config::{ProvideCredentials, SharedAsyncSleep, SharedCredentialsProvider};
use aws_smithy_http_client::{
    Connector,
    proxy::ProxyConfig,
    tls::{Provider, rustls_provider::CryptoMode},
};
use aws_smithy_runtime_api::client::http::{
    HttpConnectorSettings, SharedHttpClient, SharedHttpConnector, http_client_fn,
};

use super::keys::Keys;
use super::{AwsError, Caller, Ec2, Ecr, Ecs, Iam, Logs, Origin, Scheduler, Secrets, sts};

/// The profile that is used when it exists and nobody asked for another identity.
const HOUSE_PROFILE: &str = "locus";

/// What the user asked for: flags beat the environment, the environment beats the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CloudOptions {
    /// `--profile`.
    pub profile: Option<String>,
    /// `--region`.
    pub region: Option<String>,
    /// `profile` of `locus.toml`.
    pub file_profile: Option<String>,
    /// `region` of `locus.toml`.
    pub file_region: Option<String>,
}

/// One account in one region, as one identity.
#[derive(Clone, Debug)]
pub struct Cloud {
    pub caller: Arc<Caller>,
    pub region: String,
    /// The profile that was used, where one was named.
    pub profile: Option<String>,
    /// How the credentials were come by, the last step first.
    pub origin: Vec<Origin>,
    pub ec2: Ec2,
    pub ecr: Ecr,
    pub ecs: Ecs,
    pub iam: Iam,
    pub logs: Logs,
    pub scheduler: Scheduler,
    pub secrets: Secrets,
}

/// Why there is no session with AWS: no region, no profile, or an identity that AWS does not take.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ConnectError {
    #[error(
        "no AWS region is given: neither --region, REGION, AWS_REGION, AWS_DEFAULT_REGION, locus.toml nor the profile has one"
    )]
    NoRegion,
    #[error("`{}` is not an AWS region, such as eu-west-1", .0.escape_debug())]
    BadRegion(String),
    #[error("there is no AWS profile `{}` in {files}", .name.escape_debug())]
    NoProfile { name: String, files: String },
    #[error("{error}")]
    Identity { error: AwsError, profile: Option<String> },
}

impl ConnectError {
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoRegion => {
                Some("export REGION=eu-west-1 (or whichever it is), or write region = \"…\" in locus.toml".to_owned())
            }
            Self::BadRegion(_) => None,
            Self::NoProfile { .. } => {
                Some("`aws configure --profile NAME` or `aws configure sso` makes one".to_owned())
            }
            Self::Identity { error, profile } => {
                let profile = profile.as_deref().unwrap_or("default").escape_debug().to_string();
                error.hint().map(|hint| {
                    hint.replace("the profile,", &format!("the profile `{profile}` (keys, SSO, assumed role),"))
                })
            }
        }
    }
}

impl Cloud {
    /// Finds region and credentials, and asks AWS who we are.
    pub async fn connect(options: &CloudOptions) -> Result<Self, ConnectError> {
        let (config, profile) = settle(options).await?;
        let region = config.region().map(|region| region.as_ref().to_owned()).ok_or(ConnectError::NoRegion)?;
        if !is_region(&region) {
            return Err(ConnectError::BadRegion(region.chars().take(100).collect()));
        }
        let caller = sts::caller(&aws_sdk_sts::Client::new(&config))
            .await
            .map_err(|error| ConnectError::Identity { error, profile: profile.clone() })?;
        // Those that it was just asked with.
        let credentials = match config.credentials_provider() {
            Some(keys) => keys.provide_credentials().await.ok(),
            None => None,
        };
        let origin = credentials.as_ref().map(Origin::of).unwrap_or_default();
        let retries = patient(config.retry_config().cloned().unwrap_or_else(RetryConfig::standard));
        let config = config.into_builder().retry_config(retries).build();
        Ok(Self { origin, ..Self::over(&config, caller, region, profile) })
    }

    fn over(config: &SdkConfig, caller: Caller, region: String, profile: Option<String>) -> Self {
        let caller = Arc::new(caller);
        Self {
            origin: Vec::new(),
            ec2: Ec2::new(config, &region, &caller),
            ecr: Ecr::new(config, &caller),
            ecs: Ecs::new(config, &caller),
            iam: Iam::new(config, &caller),
            logs: Logs::new(config, &caller),
            scheduler: Scheduler::new(config, &caller),
            secrets: Secrets::new(config, &caller),
            caller,
            region,
            profile,
        }
    }

    /// An account that a test plays, on loopback.
    #[cfg(test)]
    pub(crate) fn played_at(endpoint: &str) -> Self {
        let caller = Caller::parse("arn:aws:iam::123456789012:user/ann", "123456789012").expect("it is written here");
        Self::over(&played(endpoint), caller, "eu-west-1".to_owned(), None)
    }
}

/// What a test calls an account on loopback with.
#[cfg(test)]
pub(super) fn played(endpoint: &str) -> SdkConfig {
    let keys = aws_sdk_sts::config::Credentials::new("AKIDPLAYED", "played", None, None, "test");
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .http_client(http_client())
        .region(Region::from_static("eu-west-1"))
        .retry_config(patient(RetryConfig::standard()).with_initial_backoff(Duration::from_millis(1)))
        .endpoint_url(endpoint)
        .credentials_provider(SharedCredentialsProvider::new(keys))
        .build()
}

/// What the user's options, environment and files come to; and the profile, where one was named.
pub(super) async fn settle(options: &CloudOptions) -> Result<(SdkConfig, Option<String>), ConnectError> {
    let profile = Profile::choose(options, variable, &ProfileFiles::of_this_user())?;
    Ok((load(options, &profile).await, profile.name))
}

/// ECS and its companions let a caller wait (429, `ThrottlingException`) longer than the SDK's three attempts last. Whether
/// AWS answers at all is found with those three, by the first call.
fn patient(wanted: RetryConfig) -> RetryConfig {
    let attempts = wanted.max_attempts().max(6);
    wanted.with_max_attempts(attempts)
}

async fn load(options: &CloudOptions, profile: &Profile) -> SdkConfig {
    let http = http_client();
    let mut loader = aws_config::defaults(BehaviorVersion::latest()).http_client(http.clone());
    let region = options
        .region
        .clone()
        .or_else(|| ["REGION", "AWS_REGION", "AWS_DEFAULT_REGION"].into_iter().find_map(variable))
        .or_else(|| options.file_region.clone())
        .map(Region::new);
    if let Some(region) = region.clone() {
        loader = loader.region(region);
    }
    if let Some(name) = &profile.name {
        loader = loader.profile_name(name);
        // As with the AWS CLI, a profile that was asked for beats keys in the environment.
        if profile.asked_for {
            // STS is asked for a role's credentials in some region.
            let region = match region {
                Some(region) => Some(region),
                None => ProfileFileRegionProvider::builder().profile_name(name).build().region().await,
            };
            let config = ProviderConfig::default().with_http_client(http).with_region(region);
            loader = loader.credentials_provider(
                ProfileFileCredentialsProvider::builder().profile_name(name).configure(&config).build(),
            );
        }
    }
    let config = loader.load().await;
    match config.credentials_provider() {
        Some(chain) => {
            let keys = SharedCredentialsProvider::new(Keys::new(chain));
            config.into_builder().credentials_provider(keys).build()
        }
        None => config,
    }
}

/// One client, so that one TLS provider and one pool of connections serve all; proxies as the environment has them.
fn http_client() -> SharedHttpClient {
    let one = OnceLock::new();
    http_client_fn(move |settings, components| {
        one.get_or_init(|| connector(settings.clone(), components.sleep_impl())).clone()
    })
}

/// One request after the other, over connections of its own.
pub(super) fn connector(settings: HttpConnectorSettings, sleep: Option<SharedAsyncSleep>) -> SharedHttpConnector {
    let mut connector = Connector::builder()
        .connector_settings(settings)
        .proxy_config(ProxyConfig::from_env())
        .tls_provider(Provider::Rustls(CryptoMode::Ring));
    connector.set_sleep_impl(sleep);
    SharedHttpConnector::new(connector.build())
}

/// The profile, and whether a flag named it.
#[derive(Debug, PartialEq, Eq)]
struct Profile {
    name: Option<String>,
    asked_for: bool,
}

impl Profile {
    fn choose(
        options: &CloudOptions,
        variable: impl Fn(&str) -> Option<String>,
        files: &ProfileFiles,
    ) -> Result<Self, ConnectError> {
        if let Some(name) = &options.profile {
            files.must_have(name)?;
            return Ok(Self { name: Some(name.clone()), asked_for: true });
        }
        if let Some(name) = variable("AWS_PROFILE") {
            files.must_have(&name)?;
            return Ok(Self { name: Some(name), asked_for: false });
        }
        // Keys, a web identity or a container's role are an identity that was asked for.
        let identities = [
            "AWS_ACCESS_KEY_ID",
            "AWS_WEB_IDENTITY_TOKEN_FILE",
            "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
            "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        ];
        if identities.iter().any(|name| variable(name).is_some()) {
            return Ok(Self { name: None, asked_for: false });
        }
        if let Some(name) = &options.file_profile {
            files.must_have(name)?;
            return Ok(Self { name: Some(name.clone()), asked_for: false });
        }
        let name = files.has(HOUSE_PROFILE).then(|| HOUSE_PROFILE.to_owned());
        Ok(Self { name, asked_for: false })
    }
}

/// The text of the user's two profile files.
struct ProfileFiles {
    named: String,
    config: String,
    credentials: String,
}

impl ProfileFiles {
    fn of_this_user() -> Self {
        let path = |name: &str, file: &str| {
            variable(name).map(PathBuf::from).or_else(|| Some(std::env::home_dir()?.join(".aws").join(file)))
        };
        let paths = [path("AWS_CONFIG_FILE", "config"), path("AWS_SHARED_CREDENTIALS_FILE", "credentials")];
        // A file that is not there has no profiles; the SDK says what is wrong with one that it cannot read.
        let [config, credentials] = paths
            .each_ref()
            .map(|path| path.as_ref().and_then(|path| std::fs::read_to_string(path).ok()).unwrap_or_default());
        let named: Vec<_> =
            paths.iter().flatten().map(|path| path.display().to_string().escape_debug().to_string()).collect();
        Self { named: named.join(" and "), config, credentials }
    }

    fn has(&self, name: &str) -> bool {
        let headed = |text: &str, prefixes: &[&str]| {
            text.lines().filter_map(|line| line.trim().strip_prefix('[')?.split_once(']')).any(|(head, _)| {
                let head: Vec<&str> = head.split_whitespace().collect();
                prefixes.iter().any(|prefix| match head[..] {
                    [one] => prefix.is_empty() && one == name,
                    [first, second] => first == *prefix && second == name,
                    _ => false,
                })
            })
        };
        let plain: &[&str] = if name == "default" { &["profile", ""] } else { &["profile"] };
        headed(&self.config, plain) || headed(&self.credentials, &[""])
    }

    fn must_have(&self, name: &str) -> Result<(), ConnectError> {
        if self.has(name) {
            return Ok(());
        }
        Err(ConnectError::NoProfile { name: name.chars().take(100).collect(), files: self.named.clone() })
    }
}

/// An empty variable is none.
pub(super) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// A region becomes part of a host name.
fn is_region(text: &str) -> bool {
    (1..=40).contains(&text.len())
        && !text.starts_with('-')
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files() -> ProfileFiles {
        ProfileFiles {
            named: "FILES".to_owned(),
            config: "[default]\nregion=x\n[profile work]\n[sso-session locus]\n".to_owned(),
            credentials: "# [old]\n[ locus ]\naws_access_key_id = x\n".to_owned(),
        }
    }

    #[track_caller]
    fn choose(options: CloudOptions, variables: &[(&str, &str)]) -> (Option<String>, bool) {
        let variable =
            |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        let profile = Profile::choose(&options, variable, &files()).unwrap();
        (profile.name, profile.asked_for)
    }

    #[test]
    fn the_house_profile_is_used_when_nothing_else_was_asked_for() {
        assert_eq!(choose(CloudOptions::default(), &[]), (Some("locus".into()), false));
        assert_eq!(choose(CloudOptions::default(), &[("AWS_ACCESS_KEY_ID", "x")]), (None, false));
        assert_eq!(choose(CloudOptions::default(), &[("AWS_PROFILE", "work")]), (Some("work".into()), false));
        let file = CloudOptions { file_profile: Some("work".into()), ..CloudOptions::default() };
        assert_eq!(choose(file.clone(), &[]), (Some("work".into()), false));
        assert_eq!(choose(file, &[("AWS_PROFILE", "default")]), (Some("default".into()), false));
        let flag = CloudOptions { profile: Some("work".into()), ..CloudOptions::default() };
        assert_eq!(choose(flag, &[("AWS_PROFILE", "locus"), ("AWS_ACCESS_KEY_ID", "x")]), (Some("work".into()), true));
    }

    #[test]
    fn a_profile_that_is_not_there_is_said() {
        let options = CloudOptions { profile: Some("wrok".into()), ..CloudOptions::default() };
        let error = Profile::choose(&options, |_| None, &files()).unwrap_err();
        assert_eq!(error.to_string(), "there is no AWS profile `wrok` in FILES");
    }

    #[test]
    fn a_profile_is_told_from_other_sections() {
        for (name, there) in [("default", true), ("work", true), ("locus", true), ("old", false), ("profile", false)] {
            assert_eq!(files().has(name), there, "{name}");
        }
    }

    #[test]
    fn a_region_is_no_host() {
        for (text, good) in [("eu-west-1", true), ("us-gov-west-1", true), ("evil.com/", false), ("", false)] {
            assert_eq!(is_region(text), good, "{text}");
        }
    }
}
