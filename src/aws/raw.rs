//! A call's JSON as it goes out and as it comes back, where the SDK's types would lose what they do not know. All the
//! rest (credentials, signature, retries, errors) stays the SDK's.

use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_ecs::client::customize::CustomizableOperation;
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::AfterDeserializationInterceptorContextRef;
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::config_bag::ConfigBag;
use serde_json::Value;

/// The answer of one call.
#[derive(Clone, Debug, Default)]
pub(super) struct Answer(Arc<Mutex<Option<Value>>>);

impl Answer {
    /// `None` where there was none, or it is no JSON.
    pub fn json(&self) -> Option<Value> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[dyn_dispatch_hint]
impl Intercept for Answer {
    fn name(&self) -> &'static str {
        "Answer"
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let json = context.response().body().bytes().and_then(|bytes| serde_json::from_slice(bytes).ok());
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = json;
        Ok(())
    }
}

/// The call with this JSON for its body.
pub(super) fn with_body<T, E, B>(call: CustomizableOperation<T, E, B>, body: &Value) -> CustomizableOperation<T, E, B> {
    let body = body.to_string();
    call.mutate_request(move |request| {
        request.headers_mut().insert("content-length", body.len().to_string());
        *request.body_mut() = SdkBody::from(body.as_str());
    })
}
