//! `redrive`: lists the dead letters of the redelivery queue, and sends them again.

#[cfg(feature = "aws")]
mod dead_letters;
#[cfg(feature = "aws")]
mod lookup;
#[cfg(feature = "aws")]
mod permission;
#[cfg(feature = "aws")]
mod queues;
#[cfg(feature = "aws")]
mod survey;

use std::error::Error;
use std::path::PathBuf;

use stripe_amplitude::projects::name::ProjectName;

use crate::exit::Exit;

/// List the dead letters of the redelivery queue, and send them again
///
/// Without --send, it only counts them by code, reason, age, project and type. The codes are those of the function's
/// responses and log lines. AWS credentials and the Region come from AWS's own variables.
///
/// Amplitude drops repeats within seven days only. Older dead letters, and those with the code `needs_lookup`, are looked up
/// with Amplitude's Export API before they are sent, which needs AMPLITUDE_SECRET_KEY. If Amplitude has the event, the dead
/// letter is deleted.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  eval \"$(aws configure export-credentials --format env)\"; export AWS_REGION=eu-central-1
  cargo cli redrive --dead-letters https://sqs.eu-central-1.amazonaws.com/…/…
  cargo cli redrive --dead-letters https://… --send --to https://… --code amplitude_invalid_key

`sam deploy` prints both URLs.")]
#[cfg_attr(not(feature = "aws"), allow(dead_code))]
pub(crate) struct Arguments {
    /// The URL of the dead-letter queue
    #[arg(long, value_name = "URL")]
    dead_letters: String,
    /// Send dead letters again, after asking
    #[arg(long, requires = "to")]
    send: bool,
    /// The URL of the redelivery queue, which receives them
    #[arg(long, value_name = "URL")]
    to: Option<String>,
    /// Only those with this code; `unknown` for those without one
    #[arg(long, value_name = "CODE")]
    code: Option<String>,
    /// Only those whose reason contains this text
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Only those of this project
    #[arg(long, value_name = "NAME")]
    project: Option<ProjectName>,
    /// A TOML file of projects, as for `serve`, instead of Parameter Store, for lookups
    #[arg(long, value_name = "FILE")]
    projects: Option<PathBuf>,
    /// Send old dead letters without looking them up in Amplitude
    #[arg(long)]
    assume_missing: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

#[cfg(feature = "aws")]
const WITHOUT_PROJECT: &str = "They name no project, so they are not the function's messages.";

/// Most users do not need the AWS SDK, which takes longer to compile than everything else.
#[cfg(not(feature = "aws"))]
pub(crate) async fn run(arguments: Arguments) -> Result<Exit, Box<dyn Error>> {
    let Arguments { dead_letters, .. } = arguments;
    Err(format!("this build cannot reach AWS, and so not {dead_letters}; build it with the feature `aws`").into())
}

#[cfg(feature = "aws")]
pub(crate) async fn run(arguments: Arguments) -> Result<Exit, Box<dyn Error>> {
    use std::collections::BTreeMap;

    use crate::aws::queue::{Queue, ReceivedMessage};
    use stripe_amplitude::environment::Environment;
    use stripe_amplitude::http_client;
    use stripe_amplitude::queue::Cause;

    use self::lookup::{HistoryOutcome, InDoubt, Lookup};
    use self::survey::{Kind, Survey};
    use crate::confirmation::confirmed;
    use crate::exit::{Action, NoChange};
    use crate::terminal::say;

    queues::check_arguments(&arguments.dead_letters, arguments.to.as_deref())?;
    let environment = Environment::read(|name: &str| std::env::var_os(name))?;
    let http = http_client::build(environment.extra_ca_file.as_deref())?;
    let queue_of = |url: &str| Queue::new(&environment.access, http.clone(), url);
    let queue = arguments.to.as_deref().filter(|_| arguments.send).map(queue_of);
    let dead_letters = queue_of(&arguments.dead_letters);
    queues::check(&dead_letters, queue.as_ref()).await?;
    if let Some(queue) = &queue {
        permission::check(queue, &environment.access, http.clone()).await?;
    }
    let number = dead_letters.count().await.map_err(|error| queues::of_dead_letters(&error))?;
    say!("About {number} dead letters.")?;

    let now = crate::clock::now();
    let is_chosen = |letter: &ReceivedMessage| {
        let kind = Kind::of(letter);
        arguments.code.as_ref().is_none_or(|wanted| kind.code == *wanted)
            && arguments.reason.as_ref().is_none_or(|text| kind.reason.contains(text))
            && arguments.project.as_ref().is_none_or(|name| kind.project == name.as_str())
    };
    let (mut survey, mut in_doubt) = (Survey::default(), InDoubt::default());
    dead_letters::each(&dead_letters, async |letter| {
        if is_chosen(letter) {
            survey.add(letter, now);
            in_doubt.add(letter, now);
        }
        Ok(false)
    })
    .await?;
    say!("{survey}")?;
    let total = survey.letters();
    if let Some(note) = in_doubt.note().filter(|_| !arguments.assume_missing) {
        say!("{note}")?;
    }
    if total == 0 {
        return Ok(NoChange::NothingToSend.end(Action::Sent)?);
    }
    let Some(queue) = queue else {
        return Ok(NoChange::DryRun("Pass --send to send them again; it asks first.").end(Action::Sent)?);
    };
    let lookup = match arguments.assume_missing {
        true => Lookup::AssumeMissing,
        false => Lookup::load(&in_doubt, arguments.projects.as_deref(), &http, now).await?,
    };
    if !arguments.yes
        && let Err(why) = confirmed(&format!("Send these {total} again?"))?
    {
        return Ok(why.end(Action::Sent)?);
    }

    let (mut sent, mut deleted, mut left) = (0, 0, BTreeMap::<String, u64>::new());
    dead_letters::each(&dead_letters, async |letter| {
        if !is_chosen(letter) {
            return Ok(false);
        }
        let Some(mut message) = letter.message.clone() else {
            *left.entry(WITHOUT_PROJECT.to_owned()).or_default() += 1;
            return Ok(false);
        };
        match lookup.outcome(letter, now) {
            HistoryOutcome::Send => {}
            HistoryOutcome::SendMissing => message.looked_up = Some(now),
            HistoryOutcome::Delete => {
                deleted += 1;
                return Ok(true);
            }
            HistoryOutcome::Leave(why) => {
                *left.entry(why).or_default() += 1;
                return Ok(false);
            }
        }
        let reason = letter.reason.as_deref().unwrap_or("sent again");
        let cause = Cause { code: letter.code.as_deref(), reason };
        queue.put(&message, cause).await.map_err(permission::explained)?;
        sent += 1;
        Ok(true)
    })
    .await?;
    if deleted > 0 {
        say!("{deleted} deleted, because Amplitude has them.")?;
    }
    for (why, letters) in left {
        say!("{letters} left in the dead-letter queue. {why}")?;
    }
    say!("{sent} of {total} sent to the queue again.")?;
    Ok(Exit::of(sent + deleted == total))
}
