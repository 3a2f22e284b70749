//! Checks that the arguments name the right queues, before a dead letter is received.

use reqwest::Url;
use stripe_amplitude::aws::AwsError;
use stripe_amplitude::queue::QueueError;

use crate::aws::queue::{Place, Queue};
use crate::exit::Usage;

const DEAD_LETTERS: &str = "--dead-letters";
const TO: &str = "--to";

const BOTH: &str = "`sam deploy` prints the URLs of both queues";

/// Checks the arguments without a request.
///
/// # Errors
/// A sentence that names the argument.
pub(super) fn check_arguments(dead_letters: &str, to: Option<&str>) -> Result<(), Usage> {
    for (argument, url) in [(DEAD_LETTERS, Some(dead_letters)), (TO, to)] {
        let is_url = |url: &str| url.parse().is_ok_and(|url: Url| matches!(url.scheme(), "http" | "https"));
        if let Some(url) = url.filter(|url| !is_url(url)) {
            return Err(Usage(format!(
                "invalid value {url} for {argument}; expected the URL of a queue, https://sqs.…; {BOTH}"
            )));
        }
    }
    match to {
        Some(to) if to == dead_letters => Err(Usage(format!(
            "{DEAD_LETTERS} and {TO} name the same queue; {TO} must be the redelivery queue, whose dead letters are sent again"
        ))),
        _ => Ok(()),
    }
}

/// Checks the queues in SQS.
///
/// # Errors
/// A sentence that names the argument.
pub(super) async fn check(dead_letters: &Queue, to: Option<&Queue>) -> Result<(), String> {
    let dead_place = dead_letters.place().await.map_err(|error| of_dead_letters(&error))?;
    let place = match to {
        Some(to) => Some(to.place().await.map_err(|error| of_to(&error))?),
        None => None,
    };
    mistake(&dead_place, place.as_ref()).map_or(Ok(()), Err)
}

fn mistake(dead_letters: &Place, to: Option<&Place>) -> Option<String> {
    if let Some(target) = &dead_letters.dead_letters {
        return Some(format!(
            "{DEAD_LETTERS} names a queue with a dead-letter queue, {}: pass the URL of that one; {BOTH}",
            name(target)
        ));
    }
    let to = to?;
    match &to.dead_letters {
        Some(target) if *target == dead_letters.arn => None,
        Some(target) => Some(format!(
            "{DEAD_LETTERS} names {}, but the dead-letter queue of {TO} is {}; {BOTH}",
            name(&dead_letters.arn),
            name(target)
        )),
        None => Some(format!(
            "{TO} names {}, which has no dead-letter queue, so it is not the redelivery queue; {BOTH}",
            name(&to.arn)
        )),
    }
}

/// Explains an error of the dead-letter queue.
pub(super) fn of_dead_letters(error: &QueueError) -> String {
    in_words(
        DEAD_LETTERS,
        "sqs:GetQueueAttributes, sqs:ReceiveMessage, sqs:DeleteMessage and sqs:ChangeMessageVisibility",
        error,
    )
}

/// Explains an error of the redelivery queue.
pub(super) fn of_to(error: &QueueError) -> String {
    in_words(TO, "sqs:GetQueueAttributes and sqs:SendMessage", error)
}

/// Names the argument. The error's own explanation is for the function.
fn in_words(argument: &str, permissions: &str, error: &QueueError) -> String {
    match error {
        QueueError::Aws(AwsError::Refused { code, .. })
            if code.ends_with("QueueDoesNotExist") || code.ends_with("NonExistentQueue") =>
        {
            format!("{argument}: the queue does not exist; {BOTH}, and AWS_REGION must be its Region")
        }
        QueueError::Aws(AwsError::AccessDenied { .. }) => {
            format!("{argument}: access denied; your role needs {permissions} on the queue")
        }
        error => format!("{argument}: {error}"),
    }
}

/// The last part of an ARN.
fn name(arn: &str) -> &str {
    arn.rsplit(':').next().unwrap_or(arn)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_queues_are_recognized() {
        let place = |name: &str, dead: Option<&str>| {
            let arn = |name: &str| format!("arn:aws:sqs:eu-central-1:123456789012:{name}");
            Place { arn: arn(name), dead_letters: dead.map(arn) }
        };
        let (dead, queue) = (place("dead", None), place("queue", Some("dead")));
        assert_eq!(mistake(&dead, Some(&queue)), None);
        assert_eq!(mistake(&dead, None), None);
        for (dead_letters, to, start) in [
            (&queue, None, "--dead-letters names a queue with a dead-letter queue, dead:"),
            (&queue, Some(&dead), "--dead-letters names a queue with"),
            (&dead, Some(&place("other", Some("else"))), "--dead-letters names dead, but"),
            (&dead, Some(&place("other", None)), "--to names other, which has no dead-letter queue"),
        ] {
            let words = mistake(dead_letters, to).unwrap();
            assert!(words.starts_with(start) && words.contains("sam deploy"), "{words}");
        }
    }

    #[test]
    fn invalid_arguments_are_rejected() {
        let (dead, queue) = ("https://sqs.example/1/dead", "https://sqs.example/1/queue");
        assert!(check_arguments(dead, Some(queue)).is_ok() && check_arguments(dead, None).is_ok());
        for (dead_letters, to, start) in [
            ("dead", None, "invalid value dead for --dead-letters"),
            (
                "arn:aws:sqs:eu-central-1:1:dead",
                None,
                "invalid value arn:aws:sqs:eu-central-1:1:dead for --dead-letters",
            ),
            (dead, Some("queue"), "invalid value queue for --to"),
            (dead, Some(dead), "--dead-letters and --to name the same queue"),
        ] {
            let Usage(words) = check_arguments(dead_letters, to).unwrap_err();
            assert!(words.starts_with(start), "{words}");
        }
    }
}
