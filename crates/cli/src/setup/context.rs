//! The services and arguments that every part of `setup` uses.

use std::error::Error;

use stripe_amplitude::projects::source::ProjectSource as _;

use super::arguments::Arguments;
use super::mark::{self, ParameterNames};
use super::target::Target;
use crate::exit::Usage;
use crate::projects::Projects;
use crate::stripe::api::Api;
use crate::stripe::endpoints::WebhookEndpoint;
use crate::{http, key, webhook_url};

pub(super) struct Context {
    pub(super) arguments: Arguments,
    pub(super) target: Target,
    pub(super) projects: Projects,
    pub(super) api: Api,
}

impl Context {
    /// # Errors
    /// If an argument, a variable or a key is unusable.
    pub(super) fn new(arguments: Arguments) -> Result<Self, Box<dyn Error>> {
        let Arguments { project, connect, own_account, rotate, rate, .. } = &arguments;
        let url = webhook_url::parse(&arguments.url, project).map_err(Usage)?;
        let projects = Projects::parameter_store()?.with_cli_timeouts();
        let api = Api::new(http::build()?, key::STRIPE.required()?, None, *rate)?;
        let target = Target {
            url,
            folder: projects.folder(project),
            names: ParameterNames::new(arguments.source.as_ref()),
            rotate: *rotate,
            connect: *connect,
            own_account: *own_account,
        };
        Ok(Self { arguments, target, projects, api })
    }

    /// The fields that mark an endpoint as the one whose secret is in this parameter.
    pub(super) fn mark(&self, endpoint: &WebhookEndpoint, parameter: &str) -> Vec<(&'static str, String)> {
        mark::fields(&self.arguments.project, parameter, self.target.is_connect(endpoint))
    }
}
