//! A call that AWS refused, or that never got there: which, as whom, why, and what to do.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use super::Caller;

/// The longest text of AWS's that is shown.
const LONGEST: usize = 2000;

/// A call to AWS that failed.
#[derive(Clone, Debug)]
pub struct AwsError {
    /// As in a policy: `ecs:RunTask`.
    pub call: &'static str,
    /// The identity that the call was made as, where it is known.
    pub who: Option<Arc<Caller>>,
    /// AWS's own name for what is wrong: `AccessDeniedException`.
    pub code: Option<String>,
    /// AWS's own words, raw.
    pub message: String,
    pub kind: Kind,
}

/// What a caller may want to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The identity lacks the permission.
    Denied,
    /// There is no credential, or it could not be had.
    NoCredential,
    /// The credential is no longer good.
    Expired,
    /// The credential is one that AWS does not know.
    UnknownCredential,
    /// What was asked for is not there.
    NotFound,
    /// What was to be made is there already.
    AlreadyExists,
    /// Too many calls; the SDK's own retries are used up.
    Throttled,
    /// No answer: the endpoint is not reached.
    Unreachable,
    /// An answer that is no answer of AWS's.
    Garbled,
    /// AWS itself failed.
    Server,
    /// Anything else that AWS refuses.
    Refused,
}

impl AwsError {
    pub(super) fn new<E>(call: &'static str, who: Option<Arc<Caller>>, error: SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        let code = error.code().map(str::to_owned);
        let said = error.message().map(str::to_owned);
        let chain = causes(&error);
        let kind = match (&error, code.as_deref()) {
            (SdkError::ServiceError(_), Some(code)) => kind_of(code, said.as_deref().unwrap_or("")),
            (SdkError::ServiceError(_) | SdkError::ResponseError(_), _) => Kind::Garbled,
            // A credential that cannot be had is a construction or dispatch failure of the SDK's, told by its text alone.
            _ if chain.contains("credential") || chain.contains("identity") || chain.contains("SSO") => {
                Kind::NoCredential
            }
            _ => Kind::Unreachable,
        };
        let message = match (said, error.raw_response()) {
            // The SDK tells of each place that it has nothing; the hint names them all.
            _ if kind == Kind::NoCredential && chain.contains("no credentials found in chain") => {
                "there is none in any of the places that are looked at".to_owned()
            }
            (Some(said), _) if kind != Kind::Unreachable => said,
            (_, Some(answer)) if kind == Kind::Garbled => {
                format!("HTTP status {}, and no word of AWS's", answer.status().as_u16())
            }
            _ => chain,
        };
        Self { call, who, code, message: message.chars().take(LONGEST).collect(), kind }
    }

    /// An answer of AWS's that lacks what it must have.
    pub(super) fn garbled(call: &'static str, who: Option<Arc<Caller>>, what: &str) -> Self {
        Self { call, who, code: None, message: format!("the answer has no {what}"), kind: Kind::Garbled }
    }

    /// A call that was made without the SDK's client for its service.
    pub(super) fn by_hand(call: &'static str, kind: Kind, message: String) -> Self {
        Self { call, who: None, code: None, message: message.chars().take(LONGEST).collect(), kind }
    }

    /// The same, refused in AWS's own words.
    pub(super) fn refused(call: &'static str, code: &str, message: &str) -> Self {
        // The protocol lets a namespace stand before the name: `com.amazonaws…#AccessDeniedException`.
        let code: String = code.rsplit('#').next().unwrap_or_default().chars().take(200).collect();
        Self { code: Some(code.clone()), ..Self::by_hand(call, kind_of(&code, message), message.to_owned()) }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self.kind {
            Kind::Denied => format!(
                "allow {} to {}, or use another profile (--profile)",
                self.call,
                self.who.as_ref().map_or("this identity".to_owned(), |who| who.arn.escape_debug().to_string())
            ),
            Kind::NoCredential => "looked for: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, the profile, \
                 web identity, the container's role, the instance's role; \
                 log in (`aws sso login` or `aws login`, with --profile where it is not the default), or export the two variables"
                .to_owned(),
            Kind::Expired => "log in again (`aws sso login`, or export fresh keys), then run the same command; \
                 what is already made is kept"
                .to_owned(),
            Kind::UnknownCredential => "the keys are not those of an AWS identity: look for a typing error, a key that was \
                 deleted, or a session token that is missing"
                .to_owned(),
            Kind::Throttled => "AWS asks for fewer calls; wait a minute and run the same command".to_owned(),
            // rustls' words for a certificate that leads to nothing that is trusted here.
            Kind::Unreachable if self.message.contains("invalid peer certificate") => {
                "nothing that is trusted here vouches for who answered: the package ca-certificates has the public \
                 authorities; SSL_CERT_FILE names a file of them, or a company's own"
                    .to_owned()
            }
            Kind::Unreachable => "is the network there, is the region right, and is AWS_ENDPOINT_URL (if it is set) \
                 an address that answers?"
                .to_owned(),
            Kind::Garbled => "does AWS_ENDPOINT_URL, or a proxy, lead somewhere other than AWS?".to_owned(),
            Kind::Server => "the fault is AWS's; run the same command again".to_owned(),
            Kind::NotFound | Kind::AlreadyExists | Kind::Refused => return None,
        })
    }
}

impl fmt::Display for AwsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.call)?;
        if let Some(who) = &self.who {
            write!(f, ", called as {},", who.arn.escape_debug())?;
        }
        f.write_str(match self.kind {
            Kind::Unreachable => " got no answer: ",
            Kind::NoCredential => " found no usable credential: ",
            Kind::Garbled => " got an answer that is not AWS's: ",
            _ => " failed: ",
        })?;
        if let Some(code) = &self.code {
            write!(f, "{}: ", code.escape_debug())?;
        }
        // Quotation marks are common in AWS's words and harmless on a terminal.
        self.message.chars().try_for_each(|c| match c {
            '"' | '\'' => write!(f, "{c}"),
            c => write!(f, "{}", c.escape_debug()),
        })
    }
}

impl Error for AwsError {}

fn kind_of(code: &str, message: &str) -> Kind {
    match code {
        // `ClientException` and `InvalidParameterException` are ECS's words for many things.
        "ClientException" if message.contains("AccessDenied") => Kind::Denied,
        "AccessDenied" | "AccessDeniedException" | "UnauthorizedOperation" | "NotAuthorized" => Kind::Denied,
        "ExpiredToken" | "ExpiredTokenException" | "RequestExpired" => Kind::Expired,
        "InvalidClientTokenId"
        | "UnrecognizedClientException"
        | "SignatureDoesNotMatch"
        | "InvalidSignatureException"
        | "IncompleteSignature"
        | "MissingAuthenticationToken"
        // EC2's word for all of these.
        | "AuthFailure" => Kind::UnknownCredential,
        "ResourceNotFoundException"
        | "RepositoryNotFoundException"
        | "LifecyclePolicyNotFoundException"
        | "NoSuchEntity"
        | "NoSuchEntityException"
        | "ClusterNotFoundException" => Kind::NotFound,
        "ResourceAlreadyExistsException"
        | "RepositoryAlreadyExistsException"
        | "EntityAlreadyExists"
        | "EntityAlreadyExistsException"
        | "ResourceExistsException" => Kind::AlreadyExists,
        "Throttling" | "ThrottlingException" | "TooManyRequestsException" | "RequestLimitExceeded" => Kind::Throttled,
        "InternalFailure"
        | "InternalError"
        | "ServerException"
        | "ServiceUnavailable"
        | "InternalServiceError"
        | "ServiceUnavailableException"
        | "ServiceFailure"
        | "ServiceFailureException" => Kind::Server,
        _ => Kind::Refused,
    }
}

/// The causes of an error in one line, none said twice; the error itself only says that it is the SDK's.
fn causes(error: &(dyn Error + 'static)) -> String {
    let mut words: Vec<String> = Vec::new();
    let mut next = error.source().or(Some(error));
    while let Some(error) = next {
        let said = error.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
        if !said.is_empty() && said != "other" && words.iter().all(|before| !before.contains(&said)) {
            words.push(said);
        }
        next = error.source();
    }
    words.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(kind: Kind, code: &str, message: &str) -> AwsError {
        let who = Caller::parse("arn:aws:iam::123456789012:user/ann", "123456789012").unwrap();
        AwsError {
            call: "ecs:RunTask",
            who: Some(Arc::new(who)),
            code: Some(code.to_owned()),
            message: message.to_owned(),
            kind,
        }
    }

    #[test]
    fn an_error_names_the_call_and_the_identity() {
        let error = error(Kind::Denied, "AccessDeniedException", "User: \"ann\" is not\u{1b}[2J authorized");
        assert_eq!(
            error.to_string(),
            "ecs:RunTask, called as arn:aws:iam::123456789012:user/ann, failed: AccessDeniedException: User: \"ann\" \
             is not\\u{1b}[2J authorized"
        );
        assert_eq!(
            error.hint().unwrap(),
            "allow ecs:RunTask to arn:aws:iam::123456789012:user/ann, or use another profile (--profile)"
        );
    }

    #[test]
    fn who_trusts_nobody_is_told_where_authorities_come_from() {
        let hint = error(Kind::Unreachable, "", "dispatch failure: invalid peer certificate: UnknownIssuer").hint();
        assert!(hint.unwrap().contains("SSL_CERT_FILE"));
        assert!(error(Kind::Unreachable, "", "dispatch failure: refused").hint().unwrap().contains("AWS_ENDPOINT_URL"));
    }

    #[test]
    fn codes_of_all_services_fall_into_few_kinds() {
        for (code, message, kind) in [
            ("AccessDeniedException", "", Kind::Denied),
            ("ClientException", "… AccessDenied … iam:PassRole", Kind::Denied),
            ("ClientException", "Role is not valid", Kind::Refused),
            ("ExpiredTokenException", "", Kind::Expired),
            ("UnrecognizedClientException", "", Kind::UnknownCredential),
            ("NoSuchEntity", "", Kind::NotFound),
            ("EntityAlreadyExists", "", Kind::AlreadyExists),
            ("ThrottlingException", "", Kind::Throttled),
        ] {
            assert_eq!(kind_of(code, message), kind, "{code} {message}");
        }
    }
}
