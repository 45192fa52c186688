//! Answers a registry's challenge, and keeps what it gave for the next question.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use reqwest::{Method, Request, Url};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::challenge::Challenge;
use super::client::Registry;
use super::credential::{Credential, CredentialError};
use super::endpoint::{Endpoint, same_origin};
use super::error::ExchangeError;
use super::{http, realm};
use crate::event::Event;

/// The longest token answer that is read, in bytes; real ones are below 10 KiB.
const TOKEN_LIMIT: usize = 256 << 10;

/// What a token lives for when its server does not say (distribution, docs/spec/auth/token.md).
const TOKEN_LIFE: Duration = Duration::from_secs(60);

/// What the registries gave us: by registry and scope; one for the whole registry has no scope.
#[derive(Default)]
pub(super) struct Passes {
    kept: Mutex<BTreeMap<(String, String), Pass>>,
    told: Mutex<BTreeSet<String>>,
    /// The registries for which a credential was found.
    named: Mutex<BTreeSet<String>>,
    /// Held while one is asked for, so that many uploads ask once.
    asking: tokio::sync::Mutex<()>,
}

struct Pass {
    header: HeaderValue,
    until: Option<Instant>,
}

#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
}

impl Passes {
    /// The header to send with a question of this scope, if there is one that still serves.
    pub(super) fn of(&self, endpoint: &Endpoint, scope: &str) -> Option<HeaderValue> {
        let kept = self.kept();
        [scope, ""]
            .iter()
            .filter_map(|scope| kept.get(&key(endpoint, scope)))
            .find(|pass| pass.until.is_none_or(|until| Instant::now() < until))
            .map(|pass| pass.header.clone())
    }

    fn keep(&self, endpoint: &Endpoint, scope: &str, pass: Pass) {
        self.kept().insert(key(endpoint, scope), pass);
    }

    /// A thread that died while it held the lock left a whole map: each change is one insert.
    fn kept(&self) -> MutexGuard<'_, BTreeMap<(String, String), Pass>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there was a credential to show to this registry.
    pub(super) fn are_named(&self, endpoint: &Endpoint) -> bool {
        self.named.lock().unwrap_or_else(PoisonError::into_inner).contains(endpoint.registry())
    }

    fn is_news(&self, text: &str) -> bool {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).insert(text.to_owned())
    }
}

fn key(endpoint: &Endpoint, scope: &str) -> (String, String) {
    (endpoint.registry().to_owned(), scope.to_owned())
}

impl Registry {
    /// Gets what the challenge asks for. `used` is what was sent and not taken. False: there is nothing to be had.
    pub(super) async fn authorize(
        &self,
        endpoint: &Endpoint,
        scope: &str,
        headers: &HeaderMap,
        used: Option<HeaderValue>,
    ) -> Result<bool, ExchangeError> {
        let passes = &self.0.passes;
        let _asking = passes.asking.lock().await;
        if passes.of(endpoint, scope).is_some_and(|kept| Some(kept) != used) {
            return Ok(true);
        }
        let lines: Vec<&str> = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|line| line.to_str().ok()).collect();
        let challenges: Vec<Challenge> = lines.iter().flat_map(|line| Challenge::read(line)).collect();
        let find = |scheme| challenges.iter().find(|challenge| challenge.scheme == scheme);
        if let Some(challenge) = find("bearer") {
            let pass = self.token(endpoint, scope, challenge).await?;
            passes.keep(endpoint, scope, pass);
            return Ok(true);
        }
        // An expired token of ECR's is told of by a 403 without any challenge; a pass of this kind is renewed.
        let renews = lines.is_empty() && used.as_ref().is_some_and(|used| used.as_bytes().starts_with(b"Basic "));
        if find("basic").is_none() && !renews {
            return match lines.first() {
                Some(line) => Err(ExchangeError::Challenge {
                    url: endpoint.to_string(),
                    challenge: line.chars().take(200).collect(),
                }),
                None => Ok(false),
            };
        }
        match self.credential(endpoint).await?.and_then(|credential| credential.basic()) {
            Some(header) if Some(&header) != used.as_ref() => {
                passes.keep(endpoint, "", Pass { header, until: None });
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// The registry's credential, where it may go to this endpoint; what may surprise about that is said.
    async fn credential(&self, endpoint: &Endpoint) -> Result<Option<Credential>, ExchangeError> {
        let found = match self.0.options.credentials.of(endpoint.registry()).await {
            Ok(found) => found,
            // Public images need no login: a leftover of an uninstalled Docker must not be in the way.
            Err(error @ CredentialError::DockerConfig { .. }) => {
                self.tell(Event::Warning {
                    message: format!("{error}; asking {} without a credential", endpoint.registry()),
                    hint: Some("`docker login` writes it anew".to_owned()),
                });
                None
            }
            Err(error @ CredentialError::Source { .. }) => return Err(error.into()),
        };
        let name = endpoint.registry();
        if found.is_some() && !endpoint.may_have_credential() {
            self.tell(Event::Warning {
                message: format!(
                    "the credential of {name} is not sent to {endpoint}, which is neither TLS nor loopback"
                ),
                hint: Some("give the endpoint as https://".to_owned()),
            });
            return Ok(None);
        }
        if found.is_some() && endpoint.is_given() {
            self.tell(Event::Note(format!("{endpoint} gets the credential of {name}")));
        }
        if found.is_some() {
            self.0.passes.named.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned());
        }
        Ok(found)
    }

    /// Says a thing once a run.
    fn tell(&self, event: Event) {
        let text = match &event {
            Event::Warning { message, .. } => message.clone(),
            event => format!("{event:?}"),
        };
        if self.0.passes.is_news(&text) {
            self.0.options.events.emit(event);
        }
    }

    /// Changes the credential, or nothing, for a token of this scope. No redirect is followed on the way.
    async fn token(&self, endpoint: &Endpoint, scope: &str, challenge: &Challenge) -> Result<Pass, ExchangeError> {
        let realm = realm::trusted(endpoint, challenge)?;
        let service = challenge.parameter("service");
        let credential = self.credential(endpoint).await?;
        let request = || match &credential {
            Some(Credential::IdentityToken(token)) => refresh(&realm, service, scope, token.expose_str().unwrap_or("")),
            basic => fetch(&realm, service, scope, basic.as_ref().and_then(Credential::basic)),
        };
        let line = match same_origin(&realm, endpoint.base()) {
            true => http::line_to(&realm),
            false => self.line_away(endpoint, &realm).await,
        };
        let answer = self.steadily(line, Some(TOKEN_LIMIT), request).await?;
        let url = http::shown(&realm);
        let bad = |what: String| ExchangeError::Token { url: url.clone(), what };
        if answer.status().is_redirection() {
            return Err(bad("with a redirect, which is not followed with a credential at hand".to_owned()));
        }
        if !answer.status().is_success() {
            return Err(answer.refusal());
        }
        let asked = Instant::now();
        let body = Zeroizing::new(answer.body);
        let found: TokenAnswer =
            serde_json::from_slice(&body).map_err(|_| bad("something else than a token".to_owned()))?;
        let token = found.token.or(found.access_token).filter(|token| !token.is_empty());
        let token = token.ok_or_else(|| bad("without a token".to_owned()))?;
        let mut header = HeaderValue::from_str(&format!("Bearer {token}"))
            .map_err(|_| bad("a token that no header can hold".to_owned()))?;
        header.set_sensitive(true);
        // At least a minute: the specification's floor, and a server whose clock is off would have us ask for ever.
        let life = found.expires_in.map_or(TOKEN_LIFE, |s| Duration::from_secs(s.min(24 * 3600))).max(TOKEN_LIFE);
        Ok(Pass { header, until: Some(asked + life * 9 / 10) })
    }
}

fn fetch(realm: &Url, service: Option<&str>, scope: &str, authorization: Option<HeaderValue>) -> Request {
    let mut url = realm.clone();
    {
        // Encoded pair by pair: a service with `&scope=` in it stays a service.
        let mut query = url.query_pairs_mut();
        service.iter().for_each(|service| {
            query.append_pair("service", service);
        });
        for scope in scope.split(' ').filter(|scope| !scope.is_empty()) {
            query.append_pair("scope", scope);
        }
    }
    let mut request = Request::new(Method::GET, url);
    if let Some(value) = authorization {
        request.headers_mut().insert(AUTHORIZATION, value);
    }
    request
}

/// The OAuth2 form, which alone takes an identity token (distribution, docs/spec/auth/oauth.md).
fn refresh(realm: &Url, service: Option<&str>, scope: &str, token: &str) -> Request {
    let mut form = Url::parse("form:").expect("a scheme alone is a URL");
    form.query_pairs_mut()
        .append_pair("grant_type", "refresh_token")
        .append_pair("client_id", "locus-push")
        .append_pair("service", service.unwrap_or_default())
        .append_pair("scope", scope)
        .append_pair("refresh_token", token);
    let mut request = Request::new(Method::POST, realm.clone());
    let form_type = HeaderValue::from_static("application/x-www-form-urlencoded");
    request.headers_mut().insert(CONTENT_TYPE, form_type);
    *request.body_mut() = Some(form.query().unwrap_or_default().to_owned().into());
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_cannot_add_a_scope() {
        let request = fetch(&"https://r.test/t?a=b".parse().unwrap(), Some("s&scope=all\r\n"), "x y", None);
        assert_eq!(request.url().as_str(), "https://r.test/t?a=b&service=s%26scope%3Dall%0D%0A&scope=x&scope=y");
    }

    #[test]
    fn a_basic_credential_is_base64_of_both() {
        use base64::Engine;
        let encoded = base64::engine::general_purpose::STANDARD.encode("u:p");
        let credential = Credential::Basic { username: "u".into(), password: crate::secret::Secret::new("p") };
        assert_eq!(credential.basic().unwrap().to_str().unwrap(), format!("Basic {encoded}"));
    }

    #[tokio::test]
    async fn a_credential_is_not_sent_in_clear_text_and_this_is_said_once() {
        let home = tempfile::tempdir().unwrap();
        let warnings = std::sync::Arc::new(Mutex::new(Vec::new()));
        let heard = warnings.clone();
        let events = crate::event::Events::new(move |event| heard.lock().unwrap().push(event));
        let mut options = super::super::Options::new(crate::store::Store::open(home.path()).unwrap(), events);
        options.endpoints.add("r.test=http://10.0.0.1:5000").unwrap();
        let source: super::super::CredentialSource = std::sync::Arc::new(|| {
            Box::pin(async { Ok(Credential::EncodedBasic(crate::secret::Secret::new("aHVudGVyMg=="))) })
        });
        options.credentials = super::super::Credentials::none().with_source("r.test", source);
        let registry = Registry::new(options).unwrap();
        let endpoint = registry.0.options.endpoints.of("r.test");
        for _ in 0..2 {
            assert!(registry.credential(&endpoint).await.unwrap().is_none());
        }
        let warnings = warnings.lock().unwrap();
        let wanted = "the credential of r.test is not sent to http://10.0.0.1:5000, which is neither TLS nor loopback";
        assert!(matches!(&warnings[..], [Event::Warning { message, .. }] if message == wanted), "{warnings:?}");
    }
}
