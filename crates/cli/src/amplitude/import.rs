//! Many events to Amplitude's Batch API, at no more than the documented rates, and with patience.

use std::collections::HashMap;
use std::time::Duration;

use reqwest::Client as Http;
use serde_json::value::RawValue;
use stripe_amplitude::amplitude::batch::{BatchDelivery, BatchSink as _};
use stripe_amplitude::amplitude::client::{Client, DeliveryError, RejectionReason};
use stripe_amplitude::amplitude::{Destination, Region};
use tokio::time::Instant;

use crate::http;
use crate::http::without_user;
use crate::interrupt::Interrupt;

/// The full URL of the Batch endpoint, in the place of that of the project's region.
pub(crate) const URL_VARIABLE: &str = "AMPLITUDE_URL";

/// That URL, where it is given.
///
/// # Errors
/// A sentence, where the key would leave in the clear.
pub(crate) fn url_given() -> Result<Option<String>, String> {
    http::url_in(URL_VARIABLE)
}

/// What a small plan takes in a second. Source: Amplitude's HTTP V2 documentation, "Upload limit".
const EVENTS_PER_SECOND: usize = 1000;

/// What Amplitude asks for of one device while history is imported.
const EVENTS_PER_SECOND_AND_DEVICE: usize = 300;

/// All attempts of a request, the taking apart included.
const LIMIT: Duration = Duration::from_secs(15 * 60);

/// Amplitude's own wish for the Batch API, where it has throttled.
const THROTTLED: Duration = Duration::from_secs(15);

/// Pauses between the rounds in which nothing arrives; then it is given up: ten minutes in all.
const PAUSES: [Duration; 6] = [
    Duration::from_secs(2),
    Duration::from_secs(8),
    Duration::from_secs(30),
    Duration::from_secs(60),
    Duration::from_secs(200),
    Duration::from_secs(300),
];

/// Where events go, for whoever is asked.
///
/// # Errors
/// As for [`url_given`].
pub(crate) fn place(region: Region) -> Result<String, String> {
    Ok(match (url_given()?, region) {
        (Some(url), _) => without_user(&url),
        (None, Region::Us) => "Amplitude (US)".to_owned(),
        (None, Region::Eu) => "Amplitude (EU)".to_owned(),
    })
}

/// The way to Amplitude.
pub(crate) struct Import {
    client: Client,
    /// When the rates allow the next request.
    next: Option<Instant>,
    interrupt: Interrupt,
}

/// An event to import.
pub(crate) struct Wanted<'e> {
    pub(crate) json: &'e RawValue,
    pub(crate) device_id: &'e str,
}

/// Events in the words of a report that Amplitude accepted and did not count; `None` where it counted all.
pub(crate) fn not_ingested(events: u64) -> Option<String> {
    (events > 0).then(|| {
        format!(
            "{events} of these Amplitude did not count: most are repeats of what it has. `reconcile` shows, some three hours later, whether a day lacks anything."
        )
    })
}

/// Why a request is not done with.
pub(crate) enum ImportError {
    /// Somebody asked for it.
    Interrupted,
    /// Amplitude took nothing of the request, and will not: why.
    Refused(String),
    /// There is no hope, and why. Some may have arrived.
    Fatal(String),
}

impl Import {
    /// # Errors
    /// As for [`url_given`].
    pub(crate) fn new(http: Http, interrupt: Interrupt) -> Result<Self, String> {
        Ok(Self { client: Client::new(http, url_given()?), next: None, interrupt })
    }

    /// Waits until the rates allow these events.
    ///
    /// # Errors
    /// Where it is asked to stop before; nothing is sent.
    pub(crate) async fn wait(&mut self, events: &[Wanted<'_>]) -> Result<(), ImportError> {
        self.keep_the_rates(&events.iter().collect::<Vec<_>>()).await
    }

    /// Sends the events of one request until each has an end: taken, or refused by Amplitude for what it is. The first
    /// attempt is at once: [`Import::wait`] goes before. There is a result for each event, in their order.
    ///
    /// # Errors
    /// Where it ended before that. Some may have arrived; sent again, Amplitude drops them.
    pub(crate) async fn send(
        &mut self,
        events: &[Wanted<'_>],
        destination: &Destination,
    ) -> Result<BatchDelivery, ImportError> {
        let mut all_not_ingested = 0;
        let mut results: Vec<Option<Result<(), DeliveryError>>> = events.iter().map(|_| None).collect();
        let mut pauses = PAUSES.iter();
        let mut is_first = true;
        let mut may_have_arrived = false;
        loop {
            let waiting: Vec<_> =
                (0..events.len()).filter(|index| results.get(*index).is_some_and(Option::is_none)).collect();
            if waiting.is_empty() {
                let results = results.into_iter().flatten().collect();
                return Ok(BatchDelivery { results, not_ingested: all_not_ingested });
            }
            let round: Vec<_> = waiting.iter().filter_map(|index| events.get(*index)).collect();
            if !is_first {
                self.keep_the_rates(&round).await?;
            }
            is_first = false;
            let bodies: Vec<_> = round.iter().map(|event| event.json.to_owned()).collect();
            let delivery = self.client.send_batch(&bodies, destination, Instant::now() + LIMIT).await;
            let BatchDelivery { results: answers, not_ingested } = delivery;
            all_not_ingested += not_ingested;

            // Who does not answer may have taken them.
            may_have_arrived |=
                answers.iter().any(|answer| answer.as_ref().map_or_else(DeliveryError::is_transient, |()| true));
            let hopeless = answers.iter().filter_map(|answer| answer.as_ref().err()).find(|error| is_fatal(error));
            if let Some(why) = hopeless.map(ToString::to_string).or_else(|| refused_as_a_whole(&answers)) {
                return Err(if may_have_arrived { ImportError::Fatal(why) } else { ImportError::Refused(why) });
            }

            let mut again = None;
            let mut progress = false;
            for (index, answer) in waiting.into_iter().zip(answers) {
                match answer {
                    Err(error) if error.is_transient() || is_patience(&error) => again = Some(error),
                    settled => {
                        progress = true;
                        if let Some(result) = results.get_mut(index) {
                            *result = Some(settled);
                        }
                    }
                }
            }
            if progress {
                pauses = PAUSES.iter();
            }
            let Some(error) = again else { continue };
            let pause = match &error {
                // There was no time left, and there is now.
                DeliveryError::Postponed => Some(Duration::ZERO),
                DeliveryError::Throttled => pauses.next().map(|pause| THROTTLED.max(*pause)),
                _ => pauses.next().copied(),
            };
            let Some(pause) = pause else { return Err(ImportError::Fatal(error.to_string())) };
            self.interrupt.or(tokio::time::sleep(pause)).await.ok_or(ImportError::Interrupted)?;
        }
    }

    async fn keep_the_rates(&mut self, events: &[&Wanted<'_>]) -> Result<(), ImportError> {
        if let Some(next) = self.next {
            self.interrupt.or(tokio::time::sleep_until(next)).await.ok_or(ImportError::Interrupted)?;
        }
        self.next = Some(Instant::now() + time_for(events));
        Ok(())
    }
}

/// How long these events take at the documented rates.
fn time_for(events: &[&Wanted<'_>]) -> Duration {
    let mut devices: HashMap<&str, usize> = HashMap::new();
    for event in events {
        *devices.entry(event.device_id).or_default() += 1;
    }
    let busiest = devices.into_values().max().unwrap_or_default();
    let at = |events: usize, rate: usize| Duration::from_secs_f64(events as f64 / rate as f64);
    at(events.len(), EVENTS_PER_SECOND).max(at(busiest, EVENTS_PER_SECOND_AND_DEVICE))
}

/// So many events that are refused one by one, and none that is taken, are no accident.
const TOO_MANY_REFUSED: usize = 20;

/// Where Amplitude refuses all without a word of why, it is about us and not about the events: they stay where they are.
fn refused_as_a_whole(answers: &[Result<(), DeliveryError>]) -> Option<String> {
    let is_silent = |answer: &&Result<(), DeliveryError>| {
        matches!(answer, Err(DeliveryError::Forbidden { .. } | DeliveryError::InvalidRequest(RejectionReason::Unknown)))
    };
    let silent = answers.iter().filter(is_silent).count();
    let others =
        answers.iter().filter(|answer| !is_silent(answer) && **answer != Err(DeliveryError::Postponed)).count();
    let example = answers.iter().find(is_silent)?.as_ref().err()?;
    (silent >= TOO_MANY_REFUSED && others == 0)
        .then(|| format!("Amplitude takes none of the events, each for the same reason: {example}"))
}

/// No event would go through.
fn is_fatal(error: &DeliveryError) -> bool {
    use DeliveryError::{Forbidden, InvalidApiKey, NotAmplitude, Redirect, Tls, Unexpected};
    matches!(
        error,
        InvalidApiKey | NotAmplitude { .. } | Redirect { .. } | Tls | Unexpected { .. } | Forbidden { is_page: true }
    )
}

fn is_patience(error: &DeliveryError) -> bool {
    matches!(error, DeliveryError::Throttled | DeliveryError::Postponed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_all_are_refused_without_a_word_it_is_about_us() {
        let silent = || Err(DeliveryError::InvalidRequest(RejectionReason::Unknown));
        let postponed = || Err(DeliveryError::Postponed);
        let answers = |refused: usize, others: Vec<Result<(), DeliveryError>>| {
            let refused = (0..refused).map(|_| silent());
            refused_as_a_whole(&refused.chain(others).collect::<Vec<_>>()).is_some()
        };
        assert!(answers(20, vec![]) && answers(20, vec![postponed()]));
        assert!(!answers(19, vec![]) && !answers(20, vec![Ok(())]) && !answers(0, vec![Ok(()), postponed()]));
        assert!(!answers(20, vec![Err(DeliveryError::InvalidRequest(RejectionReason::InvalidField))]));
    }

    #[test]
    fn what_amplitude_did_not_count_is_told_where_there_is_any() {
        assert_eq!(not_ingested(0), None);
        let words = not_ingested(3).unwrap();
        assert!(words.starts_with("3 of these Amplitude did not count: most are repeats"), "{words}");
    }

    #[test]
    fn the_rates_of_all_and_of_one_device_are_kept() {
        let json = RawValue::from_string("{}".to_owned()).unwrap();
        let devices: Vec<String> = (0..2000).map(|number| number.to_string()).collect();
        let of = |devices: &[String]| {
            let events: Vec<_> = devices.iter().map(|device_id| Wanted { json: &json, device_id }).collect();
            time_for(&events.iter().collect::<Vec<_>>()).as_secs_f64()
        };
        assert_eq!(of(&devices), 2.0);
        assert_eq!(of(&vec!["one".to_owned(); 1500]), 5.0);
        assert_eq!(of(&[]), 0.0);
    }
}
