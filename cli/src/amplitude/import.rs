//! Many events to Amplitude's Batch API, at no more than the documented rates, and with patience.

use std::collections::HashMap;
use std::time::Duration;

use reqwest::Client as Http;
use serde_json::value::RawValue;
use stripe_amplitude::amplitude::batch::{BatchSink as _, LARGEST_EVENTS, MOST_EVENTS};
use stripe_amplitude::amplitude::client::{Client, DeliveryError};
use stripe_amplitude::amplitude::{Destination, Region};
use tokio::time::Instant;

use crate::interrupt::Interrupt;
use crate::workbench::without_user;

/// The full URL of the Batch endpoint, in the place of that of the project's region.
pub(crate) const URL_VARIABLE: &str = "AMPLITUDE_URL";

/// That URL, where it is given.
pub(crate) fn url_given() -> Option<String> {
    std::env::var(URL_VARIABLE).ok().filter(|url| !url.is_empty())
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
pub(crate) fn place(region: Region) -> String {
    match (url(), region) {
        (Some(url), _) => without_user(&url),
        (None, Region::Us) => "Amplitude (US)".to_owned(),
        (None, Region::Eu) => "Amplitude (EU)".to_owned(),
    }
}

fn url() -> Option<String> {
    std::env::var(URL_VARIABLE).ok().filter(|url| !url.is_empty())
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

/// Why a request is not done with.
pub(crate) enum Stopped {
    /// Somebody asked for it.
    Interrupted,
    /// There is no hope, and why.
    Hopeless(String),
}

/// Gathers events until a request is full.
#[derive(Debug, Default)]
pub(crate) struct Room {
    events: usize,
    bytes: usize,
}

impl Room {
    /// Whether an event of so many bytes goes into the same request; if so, it is in.
    pub(crate) fn takes(&mut self, bytes: usize) -> bool {
        // With the comma.
        let all = self.bytes + bytes + 1;
        if self.events > 0 && (self.events >= MOST_EVENTS || all > LARGEST_EVENTS) {
            return false;
        }
        (self.events, self.bytes) = (self.events + 1, all);
        true
    }
}

impl Import {
    pub(crate) fn new(http: Http, interrupt: Interrupt) -> Self {
        Self { client: Client::new(http, url()), next: None, interrupt }
    }

    /// Sends the events of one request until each has an end: taken, or refused by Amplitude for what it is.
    ///
    /// # Errors
    /// Where it ended before that. Some may have arrived; sent again, Amplitude drops them.
    pub(crate) async fn send(
        &mut self,
        events: &[Wanted<'_>],
        destination: &Destination<'_>,
    ) -> Result<Vec<Result<(), DeliveryError>>, Stopped> {
        let mut results: Vec<Option<Result<(), DeliveryError>>> = events.iter().map(|_| None).collect();
        let mut pauses = PAUSES.iter();
        loop {
            let waiting: Vec<_> =
                (0..events.len()).filter(|index| results.get(*index).is_some_and(Option::is_none)).collect();
            if waiting.is_empty() {
                return Ok(results.into_iter().flatten().collect());
            }
            let round: Vec<_> = waiting.iter().filter_map(|index| events.get(*index)).collect();
            self.keep_the_rates(&round).await?;
            let bodies: Vec<_> = round.iter().map(|event| event.json.to_owned()).collect();
            let answers = self.client.send_batch(&bodies, destination, Instant::now() + LIMIT).await;

            let mut again = None;
            let mut progress = false;
            for (index, answer) in waiting.into_iter().zip(answers) {
                match answer {
                    Err(error) if is_hopeless(&error) => return Err(Stopped::Hopeless(error.to_string())),
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
            let Some(pause) = pause else { return Err(Stopped::Hopeless(error.to_string())) };
            self.interrupt.or(tokio::time::sleep(pause)).await.ok_or(Stopped::Interrupted)?;
        }
    }

    async fn keep_the_rates(&mut self, events: &[&Wanted<'_>]) -> Result<(), Stopped> {
        if let Some(next) = self.next {
            self.interrupt.or(tokio::time::sleep_until(next)).await.ok_or(Stopped::Interrupted)?;
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

/// No event would go through.
fn is_hopeless(error: &DeliveryError) -> bool {
    use DeliveryError::{InvalidApiKey, NotAmplitude, Redirect, Tls, Unexpected};
    matches!(error, InvalidApiKey | NotAmplitude { .. } | Redirect { .. } | Tls | Unexpected { .. })
}

fn is_patience(error: &DeliveryError) -> bool {
    matches!(error, DeliveryError::Throttled | DeliveryError::Postponed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_takes_two_thousand_events_and_less_than_twenty_megabytes() {
        let mut room = Room::default();
        assert_eq!((0..3000).filter(|_| room.takes(10)).count(), 2000);
        let mut room = Room::default();
        assert_eq!((0..3000).filter(|_| room.takes(1_000_000)).count(), 19);
        assert!(Room::default().takes(30_000_000), "what is too large for any request stands alone");
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
