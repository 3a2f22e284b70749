//! Decides what to do with an event, and reads the objects for that decision from Stripe's API.
//!
//! [`forward`] is pure and names the object that it needs. The webhook, redelivery, `backfill` and `preview` all read
//! here.

use tokio::time::Instant;

use crate::forward::{Decision, IgnoreReason, forward, unaudited};
use crate::outcome::Failure;
use crate::projects::configuration_error::StripeKeyProblem;
use crate::projects::name::ProjectName;
use crate::projects::project::AmplitudeConfig;
use crate::queue::Message;
use crate::record::Reads;
use crate::stripe::event::Event;
use crate::stripe::purchase::Objects;
use crate::stripe::reference::Reference;
use crate::stripe::references::source::{Access, ObjectSource, ReferenceError};
use crate::stripe::references::{Read, References, Turn};
use crate::stripe::source_label::SourceLabel;
use crate::translate::{Context, Translation, Unread};

/// The context of an event, apart from its body.
#[derive(Clone, Copy, Debug)]
pub struct Received<'r> {
    /// Whose event it is.
    pub project: &'r ProjectName,
    /// The label of the signing secret that matched.
    pub source: Option<&'r SourceLabel>,
    /// When it arrived, in Unix seconds.
    pub at: u64,
    /// Whether an operator verified that Amplitude does not have it. Then its age does not count.
    pub is_looked_up: bool,
}

/// What to do with an event, after all reads.
pub enum Decided<'b> {
    /// It is deliberately not forwarded. The translation is there if it was needed to decide.
    Ignore(IgnoreReason, Option<Box<Translation<'b>>>),
    /// Send it to Amplitude.
    Send(Box<Translation<'b>>),
}

/// Decides what to do with an event of a project, and reads the objects for that decision until the deadline.
///
/// # Errors
/// If an object that names the user cannot be read, or a parameter of the project cannot be used for this event.
pub async fn decide<'b, O: ObjectSource>(
    mut event: Event<'b>,
    received: Received<'_>,
    delivery: &AmplitudeConfig,
    references: &References<O>,
    reads: &mut Reads,
    deadline: Instant,
) -> Result<Decided<'b>, Failure> {
    let parameter = AmplitudeConfig::stripe_key_parameter(event.livemode, received.source);
    let follows = delivery.settings.follow();
    let is_live = event.livemode != Some(false);
    // A key that cannot be used affects only the events that need it.
    let key = delivery.stripe_key(&parameter);
    if follows && !is_live && matches!(key, Ok(None)) {
        reads.missing_test_key = Some(parameter.clone());
    }
    let can_read = follows && reads.missing_test_key.is_none();
    let access = key.and_then(|key| {
        let missing = || delivery.with_unusable_key(&parameter, StripeKeyProblem::Missing);
        Ok(Access {
            key: key.ok_or_else(missing)?,
            parameter: format!("{}/{parameter}", delivery.folder()),
            account: event.account.as_deref().map(str::to_owned),
            is_live,
        })
    });
    let at = if received.is_looked_up { event.created.try_into().unwrap_or(0) } else { received.at };
    let mut objects = Objects::default();
    let mut place = None;
    loop {
        let context = received.context(delivery, can_read.then_some(&objects));
        let decision = forward(event, &context, at, &mut unaudited);
        let Unread { reference, is_for_products } = match decision.map_err(|missing| delivery.without_rate(missing))? {
            Decision::Read(again, unread) => {
                event = *again;
                unread
            }
            Decision::Send(translation) => {
                access.iter().for_each(|access| references.keep(access, &translation.user_id_through));
                return Ok(Decided::Send(translation));
            }
            Decision::Ignore(reason, translation) => return Ok(Decided::Ignore(reason, translation)),
        };
        let access = match &access {
            Ok(access) => access,
            Err(error) => {
                reads.give_up(&mut objects, is_for_products, error.clone().into())?;
                continue;
            }
        };
        let turn = match place {
            _ if is_for_products => Turn::Spare,
            None => Turn::First,
            Some(_) => Turn::Later,
        };
        let mut stopwatch = reads.time;
        let read = stopwatch.time(async {
            // It is held until the event is decided: of many events that wait, one after the other completes its reads.
            if place.is_none() {
                place = Some(references.place(access, deadline).await?);
            }
            let Read { result, requests } = references.read(access, &reference, turn, deadline).await;
            reads.made += requests;
            reads.shared += u32::from(requests == 0 && result.is_ok());
            result
        });
        let result = read.await;
        reads.time = stopwatch;
        match result {
            Ok(found) => objects.insert(reference, found),
            // Neither the key nor Stripe is at fault.
            Err(ReferenceError::Rate) if is_for_products => objects.give_up_lines(),
            Err(error) => {
                let unread = failure(error, &reference, &parameter, delivery);
                reads.give_up(&mut objects, is_for_products, unread)?;
            }
        }
    }
}

impl Reads {
    /// An event fails for an object that names its user, but not for the names of its products.
    fn give_up(&mut self, objects: &mut Objects, is_for_products: bool, unread: Failure) -> Result<(), Failure> {
        self.failed += 1;
        if !is_for_products {
            return Err(unread);
        }
        objects.give_up_lines();
        self.without_products = Some(unread);
        Ok(())
    }
}

fn failure(error: ReferenceError, reference: &Reference, parameter: &str, delivery: &AmplitudeConfig) -> Failure {
    match key_problem(error) {
        Some(problem) => delivery.with_unusable_key(parameter, problem).into(),
        None => Failure::Reference { kind: reference.kind, error },
    }
}

/// The problem of the key, if an object could not be read because of it.
pub fn key_problem(error: ReferenceError) -> Option<StripeKeyProblem> {
    match error {
        ReferenceError::KeyRefused => Some(StripeKeyProblem::Refused),
        ReferenceError::AccountRefused => Some(StripeKeyProblem::AccountRefused),
        ReferenceError::PermissionMissing(kind) => Some(StripeKeyProblem::PermissionMissing(kind)),
        ReferenceError::NotFound(kind) => Some(StripeKeyProblem::NotFound(kind)),
        ReferenceError::Timeout
        | ReferenceError::Connection
        | ReferenceError::TooManyRequests
        | ReferenceError::Status(_)
        | ReferenceError::NotStripe(_)
        | ReferenceError::Rate => None,
    }
}

impl<'r> From<&'r Message> for Received<'r> {
    fn from(message: &'r Message) -> Self {
        Self {
            project: &message.project,
            source: message.source.as_ref(),
            at: message.received,
            is_looked_up: message.looked_up.is_some(),
        }
    }
}

impl<'r> Received<'r> {
    /// The context of the pure pipeline. Without `objects`, nothing can be read.
    pub fn context(self, delivery: &'r AmplitudeConfig, objects: Option<&'r Objects>) -> Context<'r> {
        Context {
            project: self.project,
            source: self.source,
            settings: &delivery.settings,
            has_test_key: delivery.has_test_key(),
            objects,
        }
    }
}
