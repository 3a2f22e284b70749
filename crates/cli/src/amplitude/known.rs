//! What Amplitude has already, where its own rule against repeats does not reach.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use reqwest::Client as Http;
use secrecy::SecretString;
use sha2::{Digest as _, Sha256};
use stripe_amplitude::amplitude::{AmplitudeKey, Destination};

use super::export::Export;
use super::line::Exported;
use crate::clock::{self, HOUR, WEEK};
use crate::key::Key;

/// Amplitude drops what it has seen within so many seconds; an hour less, to be sure. Source: Amplitude's HTTP V2
/// documentation, "Event deduplication".
pub(crate) const WINDOW: i64 = WEEK - HOUR;

/// Where an export is wholly empty, although it goes back to the first of our events: who believes that sends all of them.
pub(crate) const NOTHING_AT_ALL: &str = "Amplitude's export has nothing at all of this project, not even events of others: if the project is new, `backfill` with --assume-missing brings what it lacks; if not, compare the keys, AMPLITUDE_EXPORT_URL, and `amplitude_region` in `settings`";

/// Whether Amplitude's rule against repeats may not reach an event that happened then: its live delivery may be longer ago
/// than that rule remembers. `now` and `created` are in Unix seconds.
pub(crate) fn is_beyond_the_window(created: i64, now: i64) -> bool {
    created < now - WINDOW
}

/// The secret keys that there are, by the API key that they go with.
pub(crate) struct SecretKeys(HashMap<AmplitudeKey, SecretString>);

impl SecretKeys {
    /// From the environment.
    ///
    /// # Errors
    /// A sentence, where one is something else.
    pub(crate) fn given() -> Result<Self, String> {
        let mut keys = HashMap::new();
        for key in [AmplitudeKey::Main, AmplitudeKey::Test] {
            keys.extend(Key::amplitude_secret(key).given_and_checked()?.map(|secret| (key, secret)));
        }
        Ok(Self(keys))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Of whoever sits at the terminal.
    ///
    /// # Errors
    /// A sentence, where nobody does.
    pub(crate) fn ask(&mut self, key: AmplitudeKey) -> Result<(), String> {
        self.0.insert(key, Key::amplitude_secret(key).required()?);
        Ok(())
    }

    /// The one that goes with this API key.
    ///
    /// # Errors
    /// A sentence that names the variable which would hold it.
    pub(crate) fn of(&self, key: AmplitudeKey) -> Result<SecretString, String> {
        let Key { variable, meaning } = Key::amplitude_secret(key);
        self.0.get(&key).cloned().ok_or_else(|| format!("{variable} is not set; it takes {meaning}"))
    }
}

/// The insert IDs of Stripe's events that Amplitude has, sixteen bytes of each.
#[derive(Debug, Default)]
pub(crate) struct Known {
    insert_ids: HashSet<[u8; 16]>,
    /// The beginning of the last hour of upload, in Unix seconds, with a line that may be any of them.
    unreadable: Option<i64>,
}

/// Whether Amplitude has an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    /// It does.
    There,
    /// It does not, or it drops what it has.
    Absent,
    /// Nobody can tell, and why. To send it could count it twice.
    Unknown(String),
}

impl Known {
    /// Those that were uploaded in this time, in Unix seconds.
    ///
    /// # Errors
    /// A sentence, where Amplitude does not give them.
    pub(crate) async fn load(
        http: &Http,
        destination: &Destination,
        secret_key: SecretString,
        uploaded: Range<i64>,
        reached: impl FnMut(i64),
    ) -> Result<Self, String> {
        let mut insert_ids = HashSet::new();
        let export = Export::new(http.clone(), destination, secret_key)?;
        let pick = |event: Exported<'_>| Some(event.insert_ids.iter().map(|id| digest(id)).collect::<Vec<_>>());
        let exports = export.each(uploaded, pick, reached, |digests| insert_ids.extend(digests)).await?;
        if exports.is_empty {
            return Err(NOTHING_AT_ALL.to_owned());
        }
        Ok(Self { insert_ids, unreadable: exports.unreadable.last().copied() })
    }

    /// Whether Amplitude has an event with this insert ID, which happened then, in Unix seconds.
    pub(crate) fn look_up(&self, insert_id: &str, created: i64) -> Presence {
        if self.insert_ids.contains(&digest(insert_id)) {
            return Presence::There;
        }
        match self.unreadable {
            Some(hour) if may_be_in(hour, created) => Presence::Unknown(format!(
                "Amplitude's export has an unreadable line in the hour from {} on. It may be this event, so the event is not sent: it could count twice. Look at that hour in Amplitude. --since sends events from after that hour; --assume-missing sends everything",
                clock::show(hour)
            )),
            _ => Presence::Absent,
        }
    }
}

/// Whether an event that happened at one time may have been uploaded in this hour: not before it happened.
pub(crate) fn may_be_in(hour: i64, created: i64) -> bool {
    created < hour + HOUR
}

fn digest(insert_id: &str) -> [u8; 16] {
    let mut digest = [0; 16];
    digest.iter_mut().zip(Sha256::digest(insert_id)).for_each(|(byte, whole)| *byte = whole);
    digest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::DAY;

    #[test]
    fn what_happened_within_the_week_is_amplitudes_to_drop() {
        let now = 1_800_000_000;
        for (age, beyond) in
            [(0, false), (6 * DAY, false), (7 * DAY - 2 * HOUR, false), (7 * DAY, true), (30 * DAY, true)]
        {
            assert_eq!(is_beyond_the_window(now - age, now), beyond, "{age}");
        }
    }

    #[test]
    fn an_insert_id_is_known_again() {
        let known = Known { insert_ids: HashSet::from([digest("evt_1")]), unreadable: None };
        assert_eq!(known.look_up("evt_1", 0), Presence::There);
        assert_eq!(known.look_up("evt_2", 0), Presence::Absent);
    }

    #[test]
    fn what_a_line_that_cannot_be_read_may_be_is_never_absent() {
        let hour = 1_795_564_800;
        let known = Known { insert_ids: HashSet::from([digest("evt_1")]), unreadable: Some(hour) };
        assert_eq!(known.look_up("evt_1", hour - DAY), Presence::There);
        for created in [hour - DAY, hour, hour + HOUR - 1] {
            let Presence::Unknown(why) = known.look_up("evt_2", created) else { panic!("{created}") };
            assert!(why.contains("the hour from 2026-11-25 00:00:00 on"), "{why}");
        }
        // It was uploaded before this happened.
        assert_eq!(known.look_up("evt_2", hour + HOUR), Presence::Absent);
    }
}
