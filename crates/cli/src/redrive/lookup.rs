//! Looks up whether Amplitude has the event of a dead letter that it would count twice.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use reqwest::Client as Http;
use stripe_amplitude::amplitude::AmplitudeKey;
use stripe_amplitude::code::Code;
use stripe_amplitude::projects::name::ProjectName;
use stripe_amplitude::projects::project::AmplitudeConfig;
use stripe_amplitude::stripe::event::Event;
use stripe_amplitude::translate::insert_id_of;

use crate::amplitude::known::{Known, Presence, SecretKeys, is_beyond_the_window};
use crate::aws::queue::ReceivedMessage;
use crate::projects::Projects;
use crate::terminal::{count, say};

/// The dead letters that must be looked up before they are sent, by project.
#[derive(Default)]
pub(super) struct InDoubt(BTreeMap<String, OfProject>);

struct OfProject {
    project: ProjectName,
    letters: usize,
    /// When the oldest event was created, in Unix seconds.
    oldest: i64,
    livemodes: BTreeSet<Option<bool>>,
}

impl InDoubt {
    /// `now` is in Unix seconds.
    pub(super) fn add(&mut self, letter: &ReceivedMessage, now: u64) {
        let (Some(message), Some(event)) = (&letter.message, event_in_doubt(letter, now)) else { return };
        let of_project = self.0.entry(message.project.to_string()).or_insert_with(|| OfProject {
            project: message.project.clone(),
            letters: 0,
            oldest: event.created,
            livemodes: BTreeSet::new(),
        });
        of_project.letters += 1;
        of_project.oldest = of_project.oldest.min(event.created);
        of_project.livemodes.insert(event.livemode);
    }

    /// A note for the operator, if there are any.
    pub(super) fn note(&self) -> Option<String> {
        let letters: usize = self.0.values().map(|of_project| of_project.letters).sum();
        (letters > 0).then(|| {
            format!(
                "{} may already be in Amplitude, which drops repeats for seven days only. They are looked up before sending, with AMPLITUDE_SECRET_KEY.\n",
                count(letters, "dead letter")
            )
        })
    }
}

/// The event of a dead letter, if it must be looked up before it is sent.
fn event_in_doubt(letter: &ReceivedMessage, now: u64) -> Option<Event<'_>> {
    let event = Event::parse(&letter.message.as_ref()?.body).ok()?;
    let came_too_late = letter.code.as_deref() == Some(Code::NeedsLookup.as_str());
    (came_too_late || is_beyond_the_window(event.created, now.cast_signed())).then_some(event)
}

/// What to do with a dead letter.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum HistoryOutcome {
    /// Send it. Amplitude drops the repeat if it has the event.
    Send,
    /// Send it: Amplitude does not have it, or the operator says so.
    SendMissing,
    /// Delete it: Amplitude has the event.
    Delete,
    /// Leave it, with the reason.
    Leave(String),
}

/// Amplitude's exports of a project, by the API key.
pub(super) struct Exports {
    project: ProjectName,
    /// The time from which on they tell what Amplitude has, in Unix seconds.
    since: i64,
    delivery: AmplitudeConfig,
    known: HashMap<AmplitudeKey, Known>,
}

/// How to find out what Amplitude has.
pub(super) enum Lookup {
    /// The operator knows that it has none of the events.
    AssumeMissing,
    /// With exports of at most one project.
    Exports(Option<Box<Exports>>),
}

impl Lookup {
    /// Loads Amplitude's exports since the oldest event.
    ///
    /// # Errors
    /// A sentence, if that is not possible. Nothing was sent.
    pub(super) async fn load(
        in_doubt: &InDoubt,
        projects: Option<&Path>,
        http: &Http,
        now: u64,
    ) -> Result<Self, String> {
        let OfProject { project, oldest, livemodes, .. } = match in_doubt.0.values().collect::<Vec<_>>()[..] {
            [] => return Ok(Self::Exports(None)),
            [one] => one,
            _ => {
                let names = in_doubt.0.keys().cloned().collect::<Vec<_>>().join(", ");
                return Err(format!(
                    "dead letters of several projects must be looked up in Amplitude, each with the secret key of its Amplitude project: choose one with --project ({names})"
                ));
            }
        };
        let secret_keys = SecretKeys::given()?;
        let projects = match projects {
            Some(file) => Projects::from_file(file)?,
            None => Projects::parameter_store()?,
        };
        let delivery = projects.project(project).await?.delivery.map_err(|error| error.to_string())?;
        let mut all_known = HashMap::new();
        for livemode in livemodes {
            let destination = delivery.destination(*livemode);
            if all_known.contains_key(&destination.key) {
                continue;
            }
            let secret_key = secret_keys.of(destination.key).map_err(|missing| {
                format!("some dead letters must be looked up in Amplitude, or sent with --assume-missing: {missing}")
            })?;
            say!("Loading Amplitude's export, hour by hour; this may take a while.")
                .map_err(|error| error.to_string())?;
            // An event is uploaded after it was created.
            let uploaded = *oldest..now.cast_signed();
            let known = Known::load(http, destination, secret_key, uploaded, |_| {}).await?;
            all_known.insert(destination.key, known);
        }
        let exports = Exports { project: project.clone(), since: *oldest, delivery, known: all_known };
        Ok(Self::Exports(Some(Box::new(exports))))
    }

    pub(super) fn outcome(&self, letter: &ReceivedMessage, now: u64) -> HistoryOutcome {
        let Some(event) = event_in_doubt(letter, now) else { return HistoryOutcome::Send };
        let exports = match self {
            Self::AssumeMissing => return HistoryOutcome::SendMissing,
            Self::Exports(exports) => exports.as_ref(),
        };
        let known = exports.and_then(|exports| {
            let Exports { project, since, delivery, known } = &**exports;
            let is_covered = letter.message.as_ref()?.project == *project && event.created >= *since;
            let known = known.get(&delivery.destination(event.livemode).key)?;
            is_covered.then_some((delivery, known))
        });
        let Some((delivery, known)) = known else {
            return HistoryOutcome::Leave("They arrived after the lookup; run the command again.".to_owned());
        };
        match known.look_up(&insert_id_of(&event, &delivery.settings), event.created) {
            Presence::There => HistoryOutcome::Delete,
            Presence::Absent => HistoryOutcome::SendMissing,
            Presence::Unknown(why) => HistoryOutcome::Leave(why),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use stripe_amplitude::queue::Message;
    use stripe_amplitude::stripe::signature::VerifiedBody;

    use super::*;
    use crate::clock::DAY;

    const NOW: u64 = 1_800_000_000;

    fn letter(code: &str, project: &str, days: i64) -> ReceivedMessage {
        let event = json!({
            "id": "evt_1", "object": "event", "type": "charge.failed", "created": NOW.cast_signed() - days * DAY,
            "data": {"object": {}},
        });
        let body = VerifiedBody::trusted(event.to_string().into());
        let message = Message { project: project.parse().unwrap(), source: None, received: 0, looked_up: None, body };
        ReceivedMessage {
            id: "id".to_owned(),
            receipt: "r".to_owned(),
            code: Some(code.to_owned()),
            reason: None,
            message: Some(message),
        }
    }

    #[test]
    fn old_and_late_events_are_in_doubt() {
        for (code, days, is_in_doubt) in
            [("amplitude_rejected", 1, false), ("amplitude_rejected", 8, true), ("needs_lookup", 3, true)]
        {
            let mut in_doubt = InDoubt::default();
            in_doubt.add(&letter(code, "shop", days), NOW);
            assert_eq!(in_doubt.note().is_some(), is_in_doubt, "{code} {days}");
            let outcome = Lookup::AssumeMissing.outcome(&letter(code, "shop", days), NOW);
            assert_eq!(outcome, if is_in_doubt { HistoryOutcome::SendMissing } else { HistoryOutcome::Send });
        }
        let nothing =
            ReceivedMessage { id: "id".to_owned(), receipt: "r".to_owned(), code: None, reason: None, message: None };
        assert_eq!(Lookup::Exports(None).outcome(&nothing, NOW), HistoryOutcome::Send);
        assert!(matches!(
            Lookup::Exports(None).outcome(&letter("needs_lookup", "shop", 1), NOW),
            HistoryOutcome::Leave(_)
        ));
    }

    /// While Amplitude is asked, which may take hours, further letters come.
    #[tokio::test]
    async fn a_letter_that_was_not_looked_up_is_left_where_it_is() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let project = "[shop]\nstripe-signing-secret = \"whsec_a\"\namplitude-api-key = \"key\"\n";
        std::fs::write(file.path(), project).unwrap();
        let shop: ProjectName = "shop".parse().unwrap();
        let delivery = Projects::from_file(file.path()).unwrap().project(&shop).await.unwrap().delivery.unwrap();
        let exports = Exports {
            project: shop,
            since: NOW.cast_signed() - 9 * DAY,
            delivery,
            known: HashMap::from([(AmplitudeKey::Main, Known::default())]),
        };
        let lookup = Lookup::Exports(Some(Box::new(exports)));
        assert_eq!(lookup.outcome(&letter("needs_lookup", "shop", 9), NOW), HistoryOutcome::SendMissing);
        // Of another project, and from before the time that Amplitude was asked about.
        for letter in [letter("needs_lookup", "other", 9), letter("needs_lookup", "shop", 10)] {
            assert!(matches!(lookup.outcome(&letter, NOW), HistoryOutcome::Leave(_)), "{letter:?}");
        }
    }

    #[tokio::test]
    async fn lookup_needs_a_single_project() {
        let mut in_doubt = InDoubt::default();
        in_doubt.add(&letter("needs_lookup", "shop", 9), NOW);
        in_doubt.add(&letter("needs_lookup", "other", 9), NOW);
        let error = Lookup::load(&in_doubt, None, &crate::http::build().unwrap(), NOW).await.err().unwrap();
        assert!(error.contains("--project (other, shop)"), "{error}");
    }
}
