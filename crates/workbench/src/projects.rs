//! The projects that the workbench serves.

use std::pin::Pin;
use std::sync::Arc;

use stripe_amplitude::aws::AwsError;
use stripe_amplitude::projects::name::ProjectName;
use stripe_amplitude::projects::parameters::Parameter;
use stripe_amplitude::projects::project::Project;
use stripe_amplitude::projects::source::ProjectSource;

/// Any source of projects, so that the type of the source stays out of the workbench's own types. Clones share it.
#[derive(Clone)]
pub struct Projects {
    source: Arc<dyn Source>,
    names: Vec<String>,
}

impl Projects {
    /// `names` are those that the page offers; empty if the source cannot list them.
    pub fn new(source: impl ProjectSource + 'static, names: Vec<String>) -> Self {
        Self { source: Arc::new(source), names }
    }

    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    /// The project as its parameters describe it now.
    ///
    /// # Errors
    /// A sentence if the project does not exist or its parameters cannot be read.
    pub(crate) async fn project(&self, name: &ProjectName) -> Result<Project, String> {
        let folder = self.source.folder(name);
        let parameters = self.source.load(name).await.map_err(|error| format!("{folder} cannot be read: {error}"))?;
        if parameters.is_empty() {
            return Err(format!("no such project {name}: {}", self.source.absence(name)));
        }
        Ok(Project::from_parameters(parameters, &folder))
    }
}

impl ProjectSource for Projects {
    fn folder(&self, project: &ProjectName) -> String {
        self.source.folder(project)
    }

    fn absence(&self, project: &ProjectName) -> String {
        self.source.absence(project)
    }

    async fn load(&self, project: &ProjectName) -> Result<Vec<Parameter>, AwsError> {
        self.source.load(project).await
    }
}

type Loading<'l> = Pin<Box<dyn Future<Output = Result<Vec<Parameter>, AwsError>> + Send + 'l>>;

/// [`ProjectSource`] with a boxed future, which a trait object needs.
trait Source: Send + Sync {
    fn folder(&self, project: &ProjectName) -> String;
    fn absence(&self, project: &ProjectName) -> String;
    fn load<'l>(&'l self, project: &'l ProjectName) -> Loading<'l>;
}

impl<S: ProjectSource> Source for S {
    fn folder(&self, project: &ProjectName) -> String {
        ProjectSource::folder(self, project)
    }

    fn absence(&self, project: &ProjectName) -> String {
        ProjectSource::absence(self, project)
    }

    fn load<'l>(&'l self, project: &'l ProjectName) -> Loading<'l> {
        Box::pin(ProjectSource::load(self, project))
    }
}

/// The project `demo`.
#[cfg(test)]
pub(crate) fn demo() -> Projects {
    use stripe_amplitude_common::demo;

    struct Demo;

    impl ProjectSource for Demo {
        fn folder(&self, project: &ProjectName) -> String {
            format!("test/{project}")
        }

        async fn load(&self, _: &ProjectName) -> Result<Vec<Parameter>, AwsError> {
            Ok(demo::parameters())
        }
    }

    Projects::new(Demo, vec![demo::DEMO.to_owned()])
}
