//! The dispatch of requests to services, and the format of their responses.

use std::time::Duration;

use serde_json::{Value, json};

use crate::error::AwsError;
use crate::parameter_store::ParameterStore;
use crate::queue::{ACCOUNT, Queues};

/// The identity of every caller.
pub const CALLER: &str = "arn:aws:iam::000000000000:user/rehearsal";

/// All stored data.
#[derive(Debug, Default)]
pub struct Services {
    /// Parameter Store.
    pub parameter_store: ParameterStore,
    /// SQS.
    pub queues: Queues,
}

/// A response, ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// 200, or 400 for an error.
    pub status: u16,
    /// The media type.
    pub content_type: &'static str,
    /// The body.
    pub body: String,
}

impl Services {
    /// Handles a request. `target` is its header `x-amz-target`; `address` is the emulator's address.
    pub fn answer(&mut self, target: Option<&str>, body: &[u8], address: &str, now: Duration) -> Answer {
        match target {
            Some(target) => {
                let (content_type, result) = self.call(target, body, address, now);
                match result {
                    Ok(answer) => Answer { status: 200, content_type, body: answer.to_string() },
                    Err(AwsError { code, message }) => {
                        let body = json!({ "__type": code, "message": message }).to_string();
                        Answer { status: 400, content_type, body }
                    }
                }
            }
            None => query(body),
        }
    }

    fn call(
        &mut self,
        target: &str,
        body: &[u8],
        address: &str,
        now: Duration,
    ) -> (&'static str, Result<Value, AwsError>) {
        let input =
            serde_json::from_slice(body).map_err(|error| AwsError::new("SerializationException", error.to_string()));
        match target.split_once('.') {
            Some(("AmazonSSM", operation)) => {
                ("application/x-amz-json-1.1", input.and_then(|input| self.parameter_store.call(operation, input)))
            }
            Some(("AmazonSQS", operation)) => (
                "application/x-amz-json-1.0",
                input.and_then(|input| self.queues.call(operation, &input, address, now)),
            ),
            _ => {
                let error = AwsError::new("UnknownOperationException", format!("{target} is not emulated"));
                ("application/x-amz-json-1.1", Err(error))
            }
        }
    }
}

/// STS uses an older protocol: a form, with a response in XML.
fn query(body: &[u8]) -> Answer {
    let action = form_urlencoded::parse(body).find(|(name, _)| name == "Action").map(|(_, action)| action);
    let (status, body) = match action.as_deref() {
        Some("GetCallerIdentity") => (
            200,
            format!(
                "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><GetCallerIdentityResult><Arn>{CALLER}</Arn><UserId>AIDAREHEARSAL</UserId><Account>{ACCOUNT}</Account></GetCallerIdentityResult></GetCallerIdentityResponse>"
            ),
        ),
        _ => (
            400,
            "<ErrorResponse><Error><Code>InvalidAction</Code><Message>not emulated</Message></Error></ErrorResponse>"
                .to_owned(),
        ),
    };
    Answer { status, content_type: "text/xml", body }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_awss_code_and_status_400() {
        let mut services = Services::default();
        for (target, body, code) in [
            (Some("AmazonSSM.DeleteParameter"), &br#"{"Name": "/a"}"#[..], "ParameterNotFound"),
            (Some("AmazonSQS.GetQueueUrl"), br#"{"QueueName": "a"}"#, "QueueDoesNotExist"),
            (Some("AmazonSSM.DeleteParameter"), b"{", "SerializationException"),
            (Some("AmazonEC2.RunInstances"), b"{}", "UnknownOperationException"),
            (None, b"Action=AssumeRole", "InvalidAction"),
        ] {
            let answer = services.answer(target, body, "http://127.0.0.1:1", Duration::ZERO);
            assert_eq!((answer.status, answer.body.contains(code)), (400, true), "{target:?}: {}", answer.body);
        }
    }
}
