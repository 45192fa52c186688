//! A call to a service whose crate the SDK would have compiled for it alone: signed, sent, and its answer read up to a
//! limit. What is in the question and in the answer is the service's own.

use std::error::Error;
use std::time::{Duration, SystemTime};

use aws_config::SdkConfig;
use aws_sdk_ecr::config::{Credentials, ProvideCredentials};
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorSettings};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::byte_stream::ByteStream;
use zeroize::Zeroizing;

use super::session::connector;
use super::{AwsError, Kind};

const CONNECT: Duration = Duration::from_secs(3);

/// For credentials and answer together: whoever is waiting can do without.
const PATIENCE: Duration = Duration::from_secs(5);

/// A POST to the root of an endpoint.
pub(super) struct Question<'a> {
    /// As a policy names it.
    pub call: &'static str,
    pub endpoint: &'a str,
    pub region: &'a str,
    /// As the signature names it.
    pub service: &'static str,
    pub headers: &'a [(&'static str, &'a str)],
    pub body: &'a [u8],
    /// The longest answer that is read, in bytes.
    pub limit: usize,
}

pub(super) struct Answer {
    pub status: u16,
    /// It may hold a token.
    pub body: Zeroizing<Vec<u8>>,
}

impl Answer {
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

pub(super) async fn ask(config: &SdkConfig, question: &Question<'_>) -> Result<Answer, AwsError> {
    tokio::time::timeout(PATIENCE, asked(config, question)).await.unwrap_or_else(|_| {
        let why = format!("nothing within {} s", PATIENCE.as_secs());
        Err(AwsError::by_hand(question.call, Kind::Unreachable, why))
    })
}

async fn asked(config: &SdkConfig, question: &Question<'_>) -> Result<Answer, AwsError> {
    let failed = |kind: Kind, why: String| AwsError::by_hand(question.call, kind, why);
    let provider =
        config.credentials_provider().ok_or_else(|| failed(Kind::NoCredential, "there is no provider".to_owned()))?;
    let credentials =
        provider.provide_credentials().await.map_err(|error| failed(Kind::NoCredential, error.to_string()))?;
    let request = signed(question, credentials, SystemTime::now())
        .map_err(|error| failed(Kind::Unreachable, error.to_string()))?;
    let settings = HttpConnectorSettings::builder().connect_timeout(CONNECT).read_timeout(PATIENCE).build();
    let answer = connector(settings, config.sleep_impl()).call(request).await;
    read(question, answer.map_err(|error| failed(Kind::Unreachable, error.to_string()))?).await
}

/// The question with the signature of who asks.
fn signed(
    question: &Question<'_>,
    credentials: Credentials,
    now: SystemTime,
) -> Result<HttpRequest, Box<dyn Error + Send + Sync>> {
    let url = format!("{}/", question.endpoint.trim_end_matches('/'));
    let identity = credentials.into();
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region(question.region)
        .name(question.service)
        .time(now)
        .settings(SigningSettings::default())
        .build()?
        .into();
    let headers = question.headers.iter().copied();
    let to_sign = SignableRequest::new("POST", url.as_str(), headers, SignableBody::Bytes(question.body))?;
    let (signature, _) = sign(to_sign, &parameters)?.into_parts();
    let mut request = HttpRequest::new(SdkBody::from(question.body));
    request.set_method("POST")?;
    request.set_uri(url)?;
    for (name, value) in question.headers {
        request.headers_mut().try_insert(*name, (*value).to_owned())?;
    }
    for header in signature.into_parts().0 {
        request.headers_mut().try_insert(header.name(), header.value().to_owned())?;
    }
    Ok(request)
}

async fn read(question: &Question<'_>, answer: HttpResponse) -> Result<Answer, AwsError> {
    let status = answer.status().as_u16();
    let garbled = |why: String| AwsError::by_hand(question.call, Kind::Garbled, why);
    let (mut body, mut text) = (ByteStream::new(answer.into_body()), Zeroizing::new(Vec::new()));
    while let Some(piece) = body.next().await {
        text.extend_from_slice(&piece.map_err(|error| garbled(error.to_string()))?);
        if text.len() > question.limit {
            return Err(garbled(format!("more than {} bytes", question.limit)));
        }
    }
    Ok(Answer { status, body: text })
}
