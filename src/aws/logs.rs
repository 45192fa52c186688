//! CloudWatch Logs: the group, and the lines of a stream by token.

use std::sync::Arc;

use aws_config::SdkConfig;
use aws_sdk_cloudwatchlogs::Client;
use aws_sdk_cloudwatchlogs::types::OrderBy;

use super::{AwsError, Caller, Kind};

/// The calls of CloudWatch Logs.
#[derive(Clone, Debug)]
pub struct Logs {
    client: Client,
    who: Arc<Caller>,
}

/// A log group that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogGroup {
    /// Without the `:*` at its end.
    pub arn: String,
    /// `None` keeps the lines for ever.
    pub retention_days: Option<u32>,
}

/// A page of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogPage {
    pub lines: Vec<String>,
    /// Where the next page begins; the same as was asked with when there is no more for now.
    pub next: String,
}

/// A task's part of the group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogStream {
    pub name: String,
    /// When it was made, in milliseconds since 1970.
    pub created: i64,
}

/// Pages of streams that are read, the latest first.
const PAGES: usize = 4;

impl Logs {
    pub(super) fn new(config: &SdkConfig, who: &Arc<Caller>) -> Self {
        Self { client: Client::new(config), who: who.clone() }
    }

    pub async fn group(&self, name: &str) -> Result<Option<LogGroup>, AwsError> {
        const CALL: &str = "logs:DescribeLogGroups";
        let mut token: Option<String> = None;
        loop {
            let answer = self
                .client
                .describe_log_groups()
                .log_group_name_prefix(name)
                .set_next_token(token.clone())
                .send()
                .await
                .map_err(|error| AwsError::new(CALL, Some(self.who.clone()), error))?;
            if let Some(group) = answer.log_groups().iter().find(|group| group.log_group_name() == Some(name)) {
                let arn = group.log_group_arn().or(group.arn()).unwrap_or("").trim_end_matches(":*").to_owned();
                let retention_days = group.retention_in_days().and_then(|days| u32::try_from(days).ok());
                return Ok(Some(LogGroup { arn, retention_days }));
            }
            match answer.next_token() {
                Some(next) if Some(next) != token.as_deref() => token = Some(next.to_owned()),
                _ => return Ok(None),
            }
        }
    }

    pub async fn create_group(&self, name: &str, tags: &[(&str, &str)]) -> Result<(), AwsError> {
        let mut call = self.client.create_log_group().log_group_name(name);
        for (key, value) in tags {
            call = call.tags(*key, *value);
        }
        call.send().await.map_err(|error| AwsError::new("logs:CreateLogGroup", Some(self.who.clone()), error))?;
        Ok(())
    }

    pub async fn set_retention(&self, name: &str, days: u32) -> Result<(), AwsError> {
        self.client
            .put_retention_policy()
            .log_group_name(name)
            .retention_in_days(i32::try_from(days).expect("the retentions that AWS has are small"))
            .send()
            .await
            .map_err(|error| AwsError::new("logs:PutRetentionPolicy", Some(self.who.clone()), error))?;
        Ok(())
    }

    pub async fn group_tags(&self, group: &LogGroup) -> Result<Vec<(String, String)>, AwsError> {
        let answer = self
            .client
            .list_tags_for_resource()
            .resource_arn(&group.arn)
            .send()
            .await
            .map_err(|error| AwsError::new("logs:ListTagsForResource", Some(self.who.clone()), error))?;
        Ok(answer.tags().into_iter().flatten().map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    pub async fn tag_group(&self, arn: &str, tags: &[(&str, &str)]) -> Result<(), AwsError> {
        let mut call = self.client.tag_resource().resource_arn(arn);
        for (key, value) in tags {
            call = call.tags(*key, *value);
        }
        call.send().await.map_err(|error| AwsError::new("logs:TagResource", Some(self.who.clone()), error))?;
        Ok(())
    }

    /// With every line in it.
    pub async fn delete_group(&self, name: &str) -> Result<(), AwsError> {
        let call = self.client.delete_log_group().log_group_name(name);
        call.send().await.map_err(|error| AwsError::new("logs:DeleteLogGroup", Some(self.who.clone()), error))?;
        Ok(())
    }

    /// The streams below a prefix that were written to last, the youngest first. None where there is no such group.
    pub async fn streams(&self, group: &str, prefix: &str) -> Result<Vec<LogStream>, AwsError> {
        const CALL: &str = "logs:DescribeLogStreams";
        let (mut streams, mut token) = (Vec::new(), None);
        for _ in 0..PAGES {
            // Ordered by time it takes no prefix, and ordered by name the youngest may be anywhere.
            let call = self.client.describe_log_streams().log_group_name(group).descending(true);
            let call = call.order_by(OrderBy::LastEventTime).set_next_token(token);
            let answer = match call.send().await {
                Ok(answer) => answer,
                Err(error) => match AwsError::new(CALL, Some(self.who.clone()), error) {
                    error if error.kind == Kind::NotFound => return Ok(Vec::new()),
                    error => return Err(error),
                },
            };
            let found = answer.log_streams().iter().filter_map(|stream| {
                let name = stream.log_stream_name().filter(|name| name.starts_with(prefix))?;
                Some(LogStream { name: name.to_owned(), created: stream.creation_time().unwrap_or(0) })
            });
            streams.extend(found);
            token = answer.next_token().map(str::to_owned);
            if token.is_none() {
                break;
            }
        }
        streams.sort_by_key(|stream| std::cmp::Reverse(stream.created));
        Ok(streams)
    }

    /// The page at a token, or the first one, of what is younger than `since` (in milliseconds since 1970). `None` where group or stream is not there yet: a stream appears when
    /// its container starts.
    pub async fn page(
        &self,
        group: &str,
        stream: &str,
        since: Option<i64>,
        token: Option<&str>,
    ) -> Result<Option<LogPage>, AwsError> {
        const CALL: &str = "logs:GetLogEvents";
        let call = self.client.get_log_events().log_group_name(group).log_stream_name(stream).start_from_head(true);
        let answer = match call.set_start_time(since).set_next_token(token.map(str::to_owned)).send().await {
            Ok(answer) => answer,
            Err(error) => match AwsError::new(CALL, Some(self.who.clone()), error) {
                error if error.kind == Kind::NotFound => return Ok(None),
                error => return Err(error),
            },
        };
        let next = answer
            .next_forward_token()
            .ok_or_else(|| AwsError::garbled(CALL, Some(self.who.clone()), "nextForwardToken"))?
            .to_owned();
        let lines = answer.events().iter().map(|event| event.message().unwrap_or("").to_owned()).collect();
        Ok(Some(LogPage { lines, next }))
    }
}
