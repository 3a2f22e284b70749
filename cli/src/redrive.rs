//! `redrive`: looks at the dead letters of the redelivery queue, and sends them again.

use std::error::Error;

use crate::exit::Exit;

/// Look at the dead letters of the redelivery queue, and send them again
///
/// Without --send, it only looks: how many there are, by code, reason, project and type. The codes are those of the
/// function's answers and log lines. The credentials and the Region are taken from AWS's own variables.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  eval \"$(aws configure export-credentials --format env)\"; export AWS_REGION=eu-central-1
  cargo cli-aws redrive --dead-letters https://sqs.eu-central-1.amazonaws.com/…/…
  cargo cli-aws redrive --dead-letters https://… --send --to https://… --code amplitude_invalid_key

`sam deploy` prints both URLs.")]
#[cfg_attr(not(feature = "aws"), allow(dead_code))]
pub(crate) struct Arguments {
    /// The URL of the dead-letter queue
    #[arg(long, value_name = "URL")]
    dead_letters: String,
    /// Send them again, after asking
    #[arg(long, requires = "to")]
    send: bool,
    /// The URL of the redelivery queue, into which they go
    #[arg(long, value_name = "URL")]
    to: Option<String>,
    /// Only those with this code; `unknown` for those that have none
    #[arg(long, value_name = "CODE")]
    code: Option<String>,
    /// Only those whose reason holds this text
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Only those of this project
    #[arg(long, value_name = "NAME")]
    project: Option<String>,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

#[cfg(feature = "aws")]
pub(crate) async fn run(arguments: Arguments) -> Result<Exit, Box<dyn Error>> {
    with_aws::run(arguments).await
}

/// Most do not need the AWS SDK, which takes longer to compile than all the rest.
#[cfg(not(feature = "aws"))]
pub(crate) async fn run(arguments: Arguments) -> Result<Exit, Box<dyn Error>> {
    let Arguments { dead_letters, .. } = arguments;
    Err(format!("this build cannot reach AWS; use: cargo cli-aws redrive --dead-letters {dead_letters}").into())
}

#[cfg(feature = "aws")]
mod with_aws {
    use std::collections::BTreeMap;
    use std::error::Error;
    use std::time::Duration;

    use stripe_amplitude::environment::Environment;
    use stripe_amplitude::http_client;
    use stripe_amplitude::queue::sqs::{Letter, Sqs};
    use stripe_amplitude::queue::{Cause, EventQueue as _, QueueError};
    use stripe_amplitude::stripe::event::Event;

    use super::Arguments;
    use crate::exit::{Deed, Exit, Untouched};
    use crate::terminal::{confirmed, printable, say};

    /// How long a letter is hidden from others while we work.
    const HIDDEN_FOR: Duration = Duration::from_secs(300);

    /// The code of a message that has none.
    const UNKNOWN: &str = "unknown";

    /// What a letter is about: the code, the reason, the project and the type.
    type Kind = [String; 4];

    pub(super) async fn run(arguments: Arguments) -> Result<Exit, Box<dyn Error>> {
        let environment = Environment::read(|name: &str| std::env::var_os(name))?;
        let http = http_client::build(environment.extra_ca_file.as_deref())?;
        let dead_letters = Sqs::new(&environment.access, http.clone(), arguments.dead_letters.clone());
        say!("About {} dead letters.", dead_letters.count().await?)?;

        let mut kinds: BTreeMap<Kind, u64> = BTreeMap::new();
        each(&dead_letters, async |letter| {
            *kinds.entry(kind(letter)).or_default() += 1;
            Ok(false)
        })
        .await?;
        let chosen = |kind: &Kind| {
            let [code, reason, project, _] = kind;
            arguments.code.as_ref().is_none_or(|wanted| code == wanted)
                && arguments.reason.as_ref().is_none_or(|text| reason.contains(text))
                && arguments.project.as_ref().is_none_or(|name| project == name)
        };
        kinds.retain(|kind, _| chosen(kind));
        let total: u64 = kinds.values().sum();
        say!("{}", table(&kinds))?;
        if total == 0 {
            return Ok(Untouched::NothingToSend.end(Deed::Sent)?);
        }
        let Some(to) = arguments.to.as_ref().filter(|_| arguments.send) else {
            return Ok(Untouched::OnlyLooked("--send sends them again, after asking.").end(Deed::Sent)?);
        };
        if !arguments.yes
            && let Err(why) = confirmed(&format!("Send these {total} again?"))?
        {
            return Ok(why.end(Deed::Sent)?);
        }

        let queue = Sqs::new(&environment.access, http, to.clone());
        let mut sent = 0;
        each(&dead_letters, async |letter| {
            let Some(message) = letter.message.as_ref().filter(|_| chosen(&kind(letter))) else { return Ok(false) };
            let code = letter.code.as_deref();
            let reason = letter.reason.as_deref().unwrap_or("sent again");
            queue.put(message, Cause { code, reason }).await.map_err(explained)?;
            sent += 1;
            Ok(true)
        })
        .await?;
        say!("{sent} of {total} are in the queue again.")?;
        Ok(Exit::of(sent == total))
    }

    /// The queue takes messages from the webhook's function and from the operators that the stack names.
    fn explained(error: QueueError) -> String {
        match &error {
            QueueError::Refused { code, .. } if code.starts_with("AccessDenied") => format!(
                "{error}; the queue takes messages from the roles in the stack's parameter OperatorRoles only: deploy with the ARN of your role in it (aws sts get-caller-identity shows yours). Nothing is lost: the letters stay where they are"
            ),
            _ => error.to_string(),
        }
    }

    /// Shows each letter, page by page, so that any number of them fits into memory. One that is done with is deleted
    /// then, and not before; the others become visible again at the end, also after an error.
    async fn each(
        dead_letters: &Sqs,
        mut show: impl AsyncFnMut(&Letter) -> Result<bool, Box<dyn Error>>,
    ) -> Result<(), Box<dyn Error>> {
        let mut kept = Vec::new();
        let mut page = async || -> Result<bool, Box<dyn Error>> {
            let letters = dead_letters.receive(HIDDEN_FOR).await?;
            let is_last = letters.is_empty();
            for letter in letters {
                kept.push((letter.receipt.clone(), Duration::ZERO));
                if show(&letter).await? {
                    dead_letters.delete(&letter.receipt).await?;
                    kept.pop();
                }
            }
            Ok(!is_last)
        };
        let result = loop {
            match page().await {
                Ok(true) => {}
                Ok(false) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        dead_letters.delay(kept).await?;
        result
    }

    fn kind(letter: &Letter) -> Kind {
        let unknown = || "?".to_owned();
        let event = letter.message.as_ref().and_then(|message| Event::parse(&message.body).ok());
        let project = letter.message.as_ref().map(|message| message.project.to_string());
        [
            letter.code.as_deref().unwrap_or(UNKNOWN).to_owned(),
            letter.reason.clone().unwrap_or_else(unknown),
            project.unwrap_or_else(unknown),
            event.map_or_else(unknown, |event| event.event_type.into_owned()),
        ]
    }

    /// Grouped by code and reason; below each, projects and types with their counts.
    fn table(kinds: &BTreeMap<Kind, u64>) -> String {
        let mut table = String::new();
        let mut last_cause = None;
        for ([code, reason, project, event_type], count) in kinds {
            if last_cause != Some((code, reason)) {
                // Whoever may put messages into the queue has written them.
                table.push_str(&format!("\n{}: {}\n", printable(code), printable(reason)));
                last_cause = Some((code, reason));
            }
            table.push_str(&format!("  {count:>6}  {}  {}\n", printable(project), printable(event_type)));
        }
        table
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn the_table_has_each_cause_once() {
            let kind = |code: &str, event_type: &str| [code, "why", "shop", event_type].map(str::to_owned);
            let kinds =
                [(kind("a", "charge.failed"), 2), (kind("a", "charge.succeeded"), 11), (kind("unknown", "?"), 1)];
            assert_eq!(
                table(&kinds.into()),
                "\na: why\n       2  shop  charge.failed\n      11  shop  charge.succeeded\n\nunknown: why\n       1  shop  ?\n"
            );
        }
    }
}
