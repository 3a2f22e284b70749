//! Whether the two queues are what their arguments say, before a letter is touched.

use reqwest::Url;
use stripe_amplitude::aws::AwsError;
use stripe_amplitude::queue::QueueError;

use crate::aws::queue::{Place, Queue};
use crate::exit::Usage;

const DEAD_LETTERS: &str = "--dead-letters";
const TO: &str = "--to";

/// Where the two are printed.
const BOTH: &str = "`sam deploy` prints the URLs of both queues";

/// Checks the arguments by themselves.
///
/// # Errors
/// A sentence that names the argument.
pub(super) fn check_arguments(dead_letters: &str, to: Option<&str>) -> Result<(), Usage> {
    for (argument, url) in [(DEAD_LETTERS, Some(dead_letters)), (TO, to)] {
        let is_url = |url: &str| url.parse().is_ok_and(|url: Url| matches!(url.scheme(), "http" | "https"));
        if let Some(url) = url.filter(|url| !is_url(url)) {
            return Err(Usage(format!("{argument} takes the URL of a queue, https://sqs.…, and not {url}; {BOTH}")));
        }
    }
    match to {
        Some(to) if to == dead_letters => Err(Usage(format!(
            "{DEAD_LETTERS} and {TO} name the same queue; {TO} takes the redelivery queue, whose dead letters are sent again"
        ))),
        _ => Ok(()),
    }
}

/// Asks SQS what the queues are.
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
            "{DEAD_LETTERS} names a queue that has a dead-letter queue itself, {}: that one is meant; {BOTH}",
            name(target)
        ));
    }
    let to = to?;
    match &to.dead_letters {
        Some(target) if *target == dead_letters.arn => None,
        Some(target) => Some(format!(
            "{DEAD_LETTERS} names {}, and the dead letters of the queue of {TO} are in {}; {BOTH}",
            name(&dead_letters.arn),
            name(target)
        )),
        None => Some(format!(
            "{TO} names {}, which has no dead-letter queue and so is not the redelivery queue; {BOTH}",
            name(&to.arn)
        )),
    }
}

/// An error of the queue of dead letters, with the argument that names it.
pub(super) fn of_dead_letters(error: &QueueError) -> String {
    in_words(
        DEAD_LETTERS,
        "sqs:GetQueueAttributes, sqs:ReceiveMessage, sqs:DeleteMessage and sqs:ChangeMessageVisibility",
        error,
    )
}

/// An error of the redelivery queue, with the argument that names it.
pub(super) fn of_to(error: &QueueError) -> String {
    in_words(TO, "sqs:GetQueueAttributes and sqs:SendMessage", error)
}

/// The error's own words are for the function.
fn in_words(argument: &str, permissions: &str, error: &QueueError) -> String {
    match error {
        QueueError::Aws(AwsError::Refused { code, .. })
            if code.ends_with("QueueDoesNotExist") || code.ends_with("NonExistentQueue") =>
        {
            format!("{argument}: there is no such queue; {BOTH}, and AWS_REGION has to be its Region")
        }
        QueueError::Aws(AwsError::AccessDenied { code, .. }) => {
            format!("{argument}: access is denied ({code}): your role needs {permissions} on the queue")
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
    fn a_wrong_queue_is_named_by_its_argument() {
        let place = |name: &str, dead: Option<&str>| {
            let arn = |name: &str| format!("arn:aws:sqs:eu-central-1:123456789012:{name}");
            Place { arn: arn(name), dead_letters: dead.map(arn) }
        };
        let (dead, queue) = (place("dead", None), place("queue", Some("dead")));
        assert_eq!(mistake(&dead, Some(&queue)), None);
        assert_eq!(mistake(&dead, None), None);
        for (dead_letters, to, start) in [
            (&queue, None, "--dead-letters names a queue that has a dead-letter queue itself, dead:"),
            (&queue, Some(&dead), "--dead-letters names a queue that has"),
            (&dead, Some(&place("other", Some("else"))), "--dead-letters names dead, and"),
            (&dead, Some(&place("other", None)), "--to names other, which has no dead-letter queue"),
        ] {
            let words = mistake(dead_letters, to).unwrap();
            assert!(words.starts_with(start) && words.contains("sam deploy"), "{words}");
        }
    }

    #[test]
    fn arguments_that_cannot_be_right_are_refused_before_the_network() {
        let (dead, queue) = ("https://sqs.example/1/dead", "https://sqs.example/1/queue");
        assert!(check_arguments(dead, Some(queue)).is_ok() && check_arguments(dead, None).is_ok());
        for (dead_letters, to, start) in [
            ("dead", None, "--dead-letters takes the URL"),
            ("arn:aws:sqs:eu-central-1:1:dead", None, "--dead-letters takes the URL"),
            (dead, Some("queue"), "--to takes the URL"),
            (dead, Some(dead), "--dead-letters and --to name the same queue"),
        ] {
            let Usage(words) = check_arguments(dead_letters, to).unwrap_err();
            assert!(words.starts_with(start), "{words}");
        }
    }
}
