//! ECR Public's token. One call, signed by hand: the SDK's crate for the service would be compiled for it alone.

use aws_config::SdkConfig;
use serde::Deserialize;

use super::by_hand::{Answer, Question, ask};
use super::session::{settle, variable};
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
    login(&config).await.map_err(|error| ConnectError::Identity { error, profile })
}

async fn login(config: &SdkConfig) -> Result<Secret, AwsError> {
    let endpoint = variable("AWS_ENDPOINT_URL_ECR_PUBLIC").or_else(|| config.endpoint_url().map(str::to_owned));
    let question = Question {
        call: CALL,
        endpoint: endpoint.as_deref().unwrap_or(ENDPOINT),
        region: REGION,
        service: "ecr-public",
        headers: &[("content-type", "application/x-amz-json-1.1"), ("x-amz-target", TARGET)],
        body: b"{}",
        limit: ANSWER_LIMIT,
    };
    read(&ask(config, &question).await?)
}

fn read(answer: &Answer) -> Result<Secret, AwsError> {
    let garbled = |why: String| AwsError::by_hand(CALL, Kind::Garbled, why);
    if answer.is_success() {
        let given: Given =
            serde_json::from_slice(&answer.body).map_err(|_| garbled("no authorizationToken".to_owned()))?;
        return Ok(Secret::new(given.authorization_data.authorization_token));
    }
    match serde_json::from_slice::<Refused>(&answer.body) {
        Ok(said) if !said.code.is_empty() => Err(AwsError::refused(CALL, &said.code, &said.message)),
        _ => Err(garbled(format!("HTTP status {}, and no word of AWS's", answer.status))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::testing::{self, says};

    async fn login_answered(answer: &str) -> (Result<Secret, AwsError>, String) {
        testing::ask(answer, async |config| login(&config).await).await
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
