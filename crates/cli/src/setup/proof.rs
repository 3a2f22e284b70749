//! Checks that a URL leads to the function and that the function has the secret. Retries, because the function may still use
//! the parameters from before.

use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::{Instant, sleep};

use crate::endpoint::Endpoint;
use crate::proof::{Verdict, attempt};
use crate::terminal::{self, wrap};

/// On no list, and not in a family that a project could select by mistake.
const EVENT_TYPE: &str = "stripe_amplitude.setup";

/// A process of the function remembers an unknown project for a minute.
const PATIENCE: Duration = Duration::from_secs(90);

/// The function refreshes a project's parameters early at most once in 10 seconds.
const PAUSE: Duration = Duration::from_secs(3);

/// Delivers the event until the function accepts its signature.
///
/// # Errors
/// A sentence that says what is wrong.
pub(super) async fn prove(url: &str, secret: &SecretString) -> Result<(), String> {
    let endpoint =
        Endpoint::new(url.to_owned(), secret.expose_secret().to_owned()).map_err(|error| error.to_string())?;
    let start = Instant::now();
    let mut printed = None;
    loop {
        let verdict = attempt(&endpoint, EVENT_TYPE).await.verdict;
        match verdict {
            Verdict::Proven => return Ok(()),
            Verdict::Failed(why) => return Err(why),
            Verdict::NotYet(why) if start.elapsed() + PAUSE > PATIENCE => {
                return Err(format!(
                    "{why} (after {} s; the function caches a project's parameters for up to five minutes, so trying again later may help)",
                    PATIENCE.as_secs()
                ));
            }
            Verdict::NotYet(why) => {
                if printed.as_ref() != Some(&why) {
                    let text = format!("{why}. Retrying for up to {} s.", PATIENCE.as_secs());
                    terminal::tell(&wrap("Not yet: ", 9, &text));
                }
                printed = Some(why);
                sleep(PAUSE).await;
            }
        }
    }
}
