//! Checks that the queue's policy lets the caller send messages, before a dead letter is received.

use std::error::Error;

use aws_sdk_sts::Client;
use reqwest::Client as Http;
use serde::Deserialize;
use serde_json::Value;
use stripe_amplitude::aws::{Access, AwsError, map_sdk_error};
use stripe_amplitude::queue::QueueError;
use wildmatch::WildMatch;

use super::queues;
use crate::aws::queue::Queue;
use crate::terminal::say;

/// Checks that the queue accepts messages from the caller.
///
/// # Errors
/// A sentence with the parameter to set, if it does not, or if SQS fails.
pub(super) async fn check(queue: &Queue, access: &Access, http: Http) -> Result<(), Box<dyn Error>> {
    let Some(policy) = queue.policy().await.map_err(|error| queues::of_to(&error))? else { return Ok(()) };
    let caller = match caller(access, http).await {
        Ok(caller) => caller,
        Err(error) => {
            // If the queue rejects the first message, nothing is lost.
            say!("Cannot check your permission to send, because AWS did not return your identity: {error}")?;
            return Ok(());
        }
    };
    match accepts(&policy, &caller) {
        true => Ok(()),
        false => Err(refusal(&caller).into()),
    }
}

/// Explains why the queue rejected a message.
pub(super) fn explained(error: QueueError) -> String {
    if matches!(error, QueueError::Aws(AwsError::AccessDenied { .. })) {
        return format!("{error}; {}. Nothing is lost: the dead letter remains in its queue", refusal("your role"));
    }
    queues::of_to(&error)
}

fn refusal(caller: &str) -> String {
    format!(
        "the redelivery queue accepts messages only from the functions and from the roles in the stack's parameter OperatorRoles, and {caller} is not one of them: deploy again with its ARN, for example OperatorRoles='{}'",
        role_of(caller).unwrap_or_else(|| "arn:aws:iam::123456789012:role/operator".to_owned())
    )
}

/// The ARN of the caller.
async fn caller(access: &Access, http: Http) -> Result<String, String> {
    let url = ["AWS_ENDPOINT_URL_STS", "AWS_ENDPOINT_URL"].into_iter().find_map(|name| std::env::var(name).ok());
    let client = Client::new(&access.configuration(http, url.as_deref().filter(|url| !url.is_empty())));
    let answer = client.get_caller_identity().send().await;
    let answer = answer.map_err(|error| map_sdk_error(&error, "your role needs sts:GetCallerIdentity").to_string())?;
    answer.arn.ok_or_else(|| "the response has no ARN".to_owned())
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Policy {
    statement: Vec<Statement>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Statement {
    effect: String,
    action: Value,
    #[serde(default)]
    condition: Value,
}

/// Whether no statement denies `sqs:SendMessage` to the caller by its ARN. SQS evaluates the rest of the policy.
fn accepts(policy: &str, caller: &str) -> bool {
    let Ok(Policy { statement }) = serde_json::from_str(policy) else { return true };
    let denials = statement.iter().filter(|statement| {
        statement.effect == "Deny"
            && texts(&statement.action).any(|action| action.eq_ignore_ascii_case("sqs:SendMessage"))
    });
    denials
        .filter_map(|denial| denial.condition.get("ArnNotLike")?.get("aws:PrincipalArn"))
        .all(|patterns| texts(patterns).any(|pattern| is_like(pattern, caller)))
}

/// A string, or a list of strings.
fn texts(value: &Value) -> impl Iterator<Item = &str> {
    let list = value.as_array().map(Vec::as_slice).unwrap_or(std::slice::from_ref(value));
    list.iter().filter_map(Value::as_str)
}

/// Whether a pattern of the condition `ArnNotLike` matches the caller. The six parts of an ARN are compared separately.
/// Source: AWS IAM's documentation, "IAM JSON policy elements: Condition operators".
fn is_like(pattern: &str, caller: &str) -> bool {
    let Some(role) = role_of(caller) else { return parts_match(pattern, caller) };
    // An assumed role's ARN lacks the role's path, which the pattern may have, so only the name is compared.
    let without_path = match pattern.rsplit_once(":role/") {
        Some((account, path)) => format!("{account}:role/{}", path.rsplit('/').next().unwrap_or(path)),
        None => pattern.to_owned(),
    };
    parts_match(pattern, &role) || parts_match(&without_path, &role)
}

/// `arn:aws:sts::1:assumed-role/name/session` as `arn:aws:iam::1:role/name`, which is what policies see.
fn role_of(caller: &str) -> Option<String> {
    let (before, name) = caller.split_once(":assumed-role/")?;
    let name = name.split('/').next().unwrap_or(name);
    Some(format!("{}:role/{name}", before.replacen(":sts:", ":iam:", 1)))
}

fn parts_match(pattern: &str, arn: &str) -> bool {
    let (patterns, parts) = (pattern.splitn(6, ':'), arn.splitn(6, ':'));
    patterns.clone().count() == parts.clone().count()
        && patterns.zip(parts).all(|(pattern, part)| WildMatch::new(pattern).matches(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Like in `template.yaml`.
    fn policy(patterns: &Value) -> String {
        serde_json::json!({"Version": "2012-10-17", "Statement": [
            {"Effect": "Deny", "Principal": "*", "Action": "sqs:*", "Condition": {"Bool": {"aws:SecureTransport": "false"}}},
            {"Effect": "Deny", "Principal": "*", "Action": "sqs:SendMessage",
             "Condition": {"ArnNotLike": {"aws:PrincipalArn": patterns}}},
        ]})
        .to_string()
    }

    #[test]
    fn policy_decides_who_may_send() {
        let function = "arn:aws:iam::123456789012:role/stack-FunctionRole-1";
        let sso = "arn:aws:iam::*:role/aws-reserved/sso.amazonaws.com/*AWSReservedSSO_Admin_*";
        let session = |role: &str| format!("arn:aws:sts::123456789012:assumed-role/{role}/somebody");
        for (patterns, caller, expected) in [
            (serde_json::json!(function), session("operator"), false),
            (serde_json::json!([function]), session("stack-FunctionRole-1"), true),
            (serde_json::json!([function, sso]), session("AWSReservedSSO_Admin_0a1b"), true),
            (serde_json::json!([function, sso]), session("AWSReservedSSO_ReadOnly_0a1b"), false),
            (serde_json::json!("arn:aws:iam::*:role/oper*"), session("operator"), true),
            (serde_json::json!("arn:aws:iam::999999999999:role/oper*"), session("operator"), false),
            (serde_json::json!("arn:aws:iam::*:role/ops/operato?"), session("operator"), true),
            (serde_json::json!("arn:aws:iam::*:user/*"), "arn:aws:iam::123456789012:user/a".to_owned(), true),
            (serde_json::json!("arn:*"), session("operator"), false),
        ] {
            assert_eq!(accepts(&policy(&patterns), &caller), expected, "{patterns} {caller}");
        }
        assert!(accepts("{}", &session("operator")));
        assert!(accepts(r#"{"Statement": [{"Effect": "Allow", "Action": "sqs:*"}]}"#, &session("operator")));
    }

    #[test]
    fn refusal_names_the_parameter_and_the_role() {
        let text = refusal("arn:aws:sts::123456789012:assumed-role/operator/somebody");
        assert!(text.contains("OperatorRoles='arn:aws:iam::123456789012:role/operator'"), "{text}");
    }
}
