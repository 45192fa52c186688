//! ECR Public's token. One call, signed by hand: the SDK's crate for the service would be compiled for it alone.

use std::time::{Duration, SystemTime};

use aws_config::SdkConfig;
use aws_sdk_ecr::config::{Credentials, ProvideCredentials};
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorSettings};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::byte_stream::ByteStream;
use serde::Deserialize;

use super::session::{connector, settle, variable};
use super::{AwsError, CloudOptions, ConnectError, Kind};
use crate::secret::Secret;

/// As a policy names it.
const CALL: &str = "ecr-public:GetAuthorizationToken";

/// What the service calls itself where it is asked, as in the SDKs.
const TARGET: &str = "SpencerFrontendService.GetAuthorizationToken";

/// Its one home for this call, whatever region the rest is in (ECR Public user guide, "Registry authentication").
const REGION: &str = "us-east-1";
const ENDPOINT: &str = "https://api.ecr-public.us-east-1.amazonaws.com";

/// The longest answer that is read, in bytes; real ones are below 8 KiB.
const ANSWER_LIMIT: usize = 64 << 10;

const CONNECT: Duration = Duration::from_secs(3);

/// For credentials and answer together: whoever is waiting can do without, if more slowly served.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Given {
    authorization_data: Token,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Token {
    authorization_token: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Refused {
    #[serde(rename = "__type")]
    code: String,
    #[serde(alias = "Message")]
    message: String,
}

/// What public.ecr.aws is asked with by somebody it knows: base64 of `AWS:<password>`, good for twelve hours.
pub async fn public_login(options: &CloudOptions) -> Result<Secret, ConnectError> {
    let (config, profile) = settle(options).await?;
    let asked = tokio::time::timeout(PATIENCE, login(&config)).await.unwrap_or_else(|_| {
        Err(AwsError::by_hand(CALL, Kind::Unreachable, format!("nothing within {} s", PATIENCE.as_secs())))
    });
    asked.map_err(|error| ConnectError::Identity { error, profile })
}

async fn login(config: &SdkConfig) -> Result<Secret, AwsError> {
    let unreachable = |error: &dyn std::error::Error| AwsError::by_hand(CALL, Kind::Unreachable, error.to_string());
    let none = |why: String| AwsError::by_hand(CALL, Kind::NoCredential, why);
    let provider = config.credentials_provider().ok_or_else(|| none("there is no provider".to_owned()))?;
    let credentials = provider.provide_credentials().await.map_err(|error| none(error.to_string()))?;
    let endpoint = variable("AWS_ENDPOINT_URL_ECR_PUBLIC").or_else(|| config.endpoint_url().map(str::to_owned));
    let request = signed(endpoint.as_deref().unwrap_or(ENDPOINT), credentials, SystemTime::now())
        .map_err(|error| unreachable(&*error))?;
    let settings = HttpConnectorSettings::builder().connect_timeout(CONNECT).read_timeout(PATIENCE).build();
    let answer = connector(settings, config.sleep_impl()).call(request).await.map_err(|error| unreachable(&error))?;
    read(answer).await
}

/// The question, which is an empty document, with the signature of who asks.
fn signed(
    endpoint: &str,
    credentials: Credentials,
    now: SystemTime,
) -> Result<HttpRequest, Box<dyn std::error::Error + Send + Sync>> {
    const BODY: &[u8] = b"{}";
    const HEADERS: [(&str, &str); 2] = [("content-type", "application/x-amz-json-1.1"), ("x-amz-target", TARGET)];
    let url = format!("{}/", endpoint.trim_end_matches('/'));
    let identity = credentials.into();
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region(REGION)
        .name("ecr-public")
        .time(now)
        .settings(SigningSettings::default())
        .build()?
        .into();
    let to_sign = SignableRequest::new("POST", url.as_str(), HEADERS.into_iter(), SignableBody::Bytes(BODY))?;
    let (signature, _) = sign(to_sign, &parameters)?.into_parts();
    let mut request = HttpRequest::new(SdkBody::from(BODY));
    request.set_method("POST")?;
    request.set_uri(url)?;
    for (name, value) in HEADERS {
        request.headers_mut().try_insert(name, value)?;
    }
    for header in signature.into_parts().0 {
        request.headers_mut().try_insert(header.name(), header.value().to_owned())?;
    }
    Ok(request)
}

async fn read(answer: HttpResponse) -> Result<Secret, AwsError> {
    let status = answer.status();
    let garbled = |why: String| AwsError::by_hand(CALL, Kind::Garbled, why);
    let (mut body, mut text) = (ByteStream::new(answer.into_body()), zeroize::Zeroizing::new(Vec::new()));
    while let Some(piece) = body.next().await {
        text.extend_from_slice(&piece.map_err(|error| garbled(error.to_string()))?);
        if text.len() > ANSWER_LIMIT {
            return Err(garbled(format!("more than {ANSWER_LIMIT} bytes")));
        }
    }
    if status.is_success() {
        let given: Given = serde_json::from_slice(&text).map_err(|_| garbled("no authorizationToken".to_owned()))?;
        return Ok(Secret::new(given.authorization_data.authorization_token));
    }
    match serde_json::from_slice::<Refused>(&text) {
        Ok(said) if !said.code.is_empty() => Err(AwsError::refused(CALL, &said.code, &said.message)),
        _ => Err(garbled(format!("HTTP status {}, and no word of AWS's", status.as_u16()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::testing::{ask, says};

    async fn login_answered(answer: &str) -> (Result<Secret, AwsError>, String) {
        ask(answer, async |config| login(&config).await).await
    }

    #[tokio::test]
    async fn the_token_of_ecr_public_is_asked_for_in_its_one_region() {
        let given = r#"{"authorizationData":{"authorizationToken":"QVdTOnRva2Vu","expiresAt":1.7e9}}"#;
        let (token, asked) = login_answered(&says("200 OK", given)).await;
        assert_eq!(token.unwrap().expose(), b"QVdTOnRva2Vu");
        let asked = asked.to_ascii_lowercase();
        assert!(
            asked.starts_with("post / http/1.1\r\n") && asked.contains("x-amz-target: spencerfrontendservice.getau")
        );
        assert!(asked.contains("credential=akidplayed/") && asked.contains("/us-east-1/ecr-public/aws4_request"));
        assert!(asked.contains("signedheaders=content-type;host;x-amz-date;x-amz-target"), "{asked}");
    }

    #[tokio::test]
    async fn what_is_no_token_is_told_apart() {
        let denied = r#"{"__type":"com.amazonaws.ecrpublic#AccessDeniedException","Message":"no"}"#;
        for (answer, kind) in [
            (says("400 Bad Request", denied), Kind::Denied),
            (says("200 OK", r#"{"authorizationData":[]}"#), Kind::Garbled),
            (says("502 Bad Gateway", "<html>"), Kind::Garbled),
            (says("200 OK", &" ".repeat(ANSWER_LIMIT + 1)), Kind::Garbled),
            (String::new(), Kind::Unreachable),
        ] {
            let (token, _) = login_answered(&answer).await;
            assert_eq!(token.unwrap_err().kind, kind, "{}", &answer[..answer.len().min(100)]);
        }
    }
}
