//! The source of projects.

use super::name::ProjectName;
use super::parameters::Parameter;
use crate::aws::AwsError;

/// A source of projects. The network edge of the cache; Parameter Store is the real one.
pub trait ProjectSource: Send + Sync {
    /// The folder of the project's parameters, for messages: `/stripe-amplitude/demo`.
    fn folder(&self, project: &ProjectName) -> String;

    /// Why the project does not exist, and what to do: follows `no such project: `.
    fn absence(&self, project: &ProjectName) -> String {
        let folder = self.folder(project);
        format!(
            "there are no parameters under {folder}/ in this account and Region; after creating them, wait a minute"
        )
    }

    /// All parameters of a project; none if the project does not exist.
    fn load(&self, project: &ProjectName) -> impl Future<Output = Result<Vec<Parameter>, AwsError>> + Send;
}
