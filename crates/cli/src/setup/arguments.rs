//! The arguments of `setup`, and its help.

use stripe_amplitude::projects::name::ProjectName;
use stripe_amplitude::stripe::source_label::SourceLabel;

use super::stack;
use crate::stripe::api;

/// Create a project's webhook endpoint in Stripe, store its signing secret in Parameter Store, and check that they work
///
/// The endpoint gets exactly the event types that the project's settings select, with the API version that the rules were
/// written for. Its signing secret and the Amplitude API key are written to Parameter Store. Then a signed test event of an
/// unused type is sent, which is never forwarded. Run it again to see what differs; it asks before it changes anything. The
/// exit code is 0 only if everything is in place and the test event was accepted.
///
/// STRIPE_SECRET_KEY is a key of the Stripe account. A restricted key needs the permission `Webhook Endpoints`: Write, and
/// `Events`: Read to rotate. AMPLITUDE_API_KEY is the API key of the Amplitude project; it is needed until Parameter Store
/// has it. You are prompted for a key whose variable is not set.
///
/// STRIPE_RESTRICTED_KEY is another key of the same account and mode, with which the function follows references. A new
/// project follows them if you supply the key. The settings of a project that may have received events stay as they are,
/// because IDs cannot be merged later. The key is checked for each permission that the settings need.
///
/// AWS credentials and the Region come from AWS's own variables. They need ssm:GetParametersByPath and ssm:PutParameter on
/// the project's parameters, and ssm:DeleteParameter to rotate. The parameters are encrypted with the account's key
/// aws/ssm, which needs no further permission.
///
/// --rotate rotates the signing secret without losing an event. A second endpoint with the same URL receives every event
/// alongside the first one, which is deleted once it has no pending deliveries. If deliveries are still pending, setup stops
/// and says so. Run the same command again to continue.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  eval \"$(aws configure export-credentials --format env)\"; export AWS_REGION=eu-central-1
  cargo cli setup --project shop --url https://…/stripe/shop
  cargo cli setup --project shop --url https://…/stripe/shop --source germany
  cargo cli setup --project shop --url https://…/stripe/shop --rotate

`sam deploy` and `cargo lambda deploy` print the URL.")]
pub(crate) struct Arguments {
    /// The project, the last part of the webhook's path
    #[arg(long, value_name = "NAME")]
    pub(super) project: ProjectName,
    /// The URL that Stripe calls
    #[arg(long, value_name = "URL")]
    pub(super) url: String,
    /// The label of the signing secret, if several Stripe accounts feed the project; events carry it as `stripe_source`
    #[arg(long, value_name = "LABEL")]
    pub(super) source: Option<SourceLabel>,
    /// The endpoint receives the events of connected accounts
    #[arg(long)]
    pub(super) connect: bool,
    /// The endpoint receives the account's own events; only needed before setup replaces an endpoint that you created by
    /// hand
    #[arg(long, conflicts_with = "connect")]
    pub(super) own_account: bool,
    /// Rotate the signing secret, or continue a rotation
    #[arg(long)]
    pub(super) rotate: bool,
    /// End the rotation even if the old endpoint has pending deliveries
    #[arg(long, requires = "rotate")]
    pub(super) finish: bool,
    /// The name of the stack, to check that SQS accepts the names of its queues [default: the one in samconfig.toml in this
    /// folder]
    #[arg(long, value_name = "NAME", value_parser = stack::name)]
    pub(super) stack: Option<String>,
    /// Do not ask
    #[arg(long)]
    pub(super) yes: bool,
    /// Maximum requests to Stripe per second
    #[arg(long, value_name = "NUMBER", default_value_t = api::RATE, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(super) rate: u32,
}
