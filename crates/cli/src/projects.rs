//! The sources of projects: the built-in one, a file, or Parameter Store.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use secrecy::SecretString;
use stripe_amplitude::aws::AwsError;
use stripe_amplitude::projects::configuration_error::{ConfigurationError, Problem};
use stripe_amplitude::projects::name::ProjectName;
use stripe_amplitude::projects::parameters::Parameter;
use stripe_amplitude::projects::parameters::parameter::{STRIPE_API_KEY, STRIPE_TEST_API_KEY};
use stripe_amplitude::projects::project::{AmplitudeConfig, Project};
use stripe_amplitude::projects::source::ProjectSource;
use stripe_amplitude::settings::References;
use stripe_amplitude::stripe::signature::SigningSecret;
use stripe_amplitude::stripe::source_label::SourceLabel;
#[cfg(any(test, feature = "workbench"))]
use stripe_amplitude_common::demo;
use toml::{Table, Value};

pub(crate) use stripe_amplitude_common::demo::{DEMO, DEMO_SECRET};

const READ_ONLY: &str = "the projects of a file are read-only";

/// Selects the project of a command.
#[derive(clap::Args)]
pub(crate) struct Choice {
    /// The project, the last part of the webhook's path
    #[arg(long, value_name = "NAME")]
    pub(crate) project: ProjectName,
    /// A TOML file of projects, as for `serve`, instead of Parameter Store
    #[arg(long, value_name = "FILE")]
    projects: Option<PathBuf>,
}

impl Choice {
    /// The source of the project.
    ///
    /// # Errors
    /// A sentence, if it is unusable.
    pub(crate) fn source(&self) -> Result<Projects, String> {
        match &self.projects {
            Some(file) => Projects::from_file(file),
            None => Projects::parameter_store(),
        }
    }

    /// How the project's events are delivered, for the account whose signing secret has this label.
    ///
    /// # Errors
    /// A sentence, if the project does not exist, is unusable, or has no such label.
    pub(crate) async fn delivery(&self, label: Option<&SourceLabel>) -> Result<AmplitudeConfig, String> {
        let source = self.source()?;
        let project = source.project(&self.project).await?;
        match &source {
            Projects::Fixed(fixed) => fixed.check(&self.project)?,
            #[cfg(feature = "aws")]
            Projects::ParameterStore(_) => {}
        }
        let delivery = project.delivery.map_err(|error| error.to_string())?;
        let labels: Vec<_> = project.secrets.iter().map(SigningSecret::label).collect();
        if labels.contains(&label) {
            return Ok(delivery);
        }
        let mut labels: Vec<_> = labels.into_iter().flatten().map(SourceLabel::as_str).collect();
        // During a rotation, two secrets have the same one.
        labels.dedup();
        Err(match label {
            Some(_) if labels.is_empty() => "--source is for a project whose signing secrets have labels".to_owned(),
            _ => {
                format!("invalid --source; expected the label of the account's signing secret: {}", labels.join(" or "))
            }
        })
    }
}

/// A source of projects. Clones share it.
#[derive(Clone, Debug)]
pub(crate) enum Projects {
    /// The built-in project, or those of a file.
    Fixed(Arc<Fixed>),
    #[cfg(feature = "aws")]
    ParameterStore(Box<crate::aws::parameters::WritableStore>),
}

/// Projects that do not change.
#[derive(Debug)]
pub(crate) struct Fixed {
    /// Their file; `None` for the built-in project.
    file: Option<PathBuf>,
    projects: HashMap<ProjectName, Vec<Parameter>>,
}

impl Fixed {
    /// Their source, for messages.
    fn place(&self) -> String {
        self.file.as_ref().map_or_else(|| "serve".to_owned(), |file| file.display().to_string())
    }

    fn names(&self) -> Vec<&str> {
        let mut names: Vec<_> = self.projects.keys().map(ProjectName::as_str).collect();
        names.sort_unstable();
        names
    }

    /// # Errors
    /// A sentence with the parameter and what was expected.
    fn check(&self, name: &ProjectName) -> Result<(), String> {
        let parameters = self.projects.get(name).cloned().unwrap_or_default();
        let place = self.place();
        if let Some(unknown) = parameters.iter().find(|parameter| !is_known(&parameter.name)) {
            return Err(format!("{place}: [{name}] has {}", not_a_parameter(&unknown.name)));
        }
        let explain = |error: &ConfigurationError| {
            let what = match error.problem() {
                // The library's message is about Parameter Store.
                Problem::Missing => "is missing; write it below the project's name".to_owned(),
                problem => problem.to_string(),
            };
            format!("{place}: `{}` of [{name}] {what}", error.parameter())
        };
        let delivery = Project::from_parameters(parameters, &place).delivery.map_err(|error| explain(&error))?;
        if let Some(error) = delivery.stripe_key_parameters().find_map(|parameter| delivery.stripe_key(parameter).err())
        {
            return Err(explain(&error));
        }
        // Without a key, every live event would fail.
        if delivery.settings.references == References::Follow && delivery.stripe_key_parameters().next().is_none() {
            return Err(format!(
                "{place}: `{STRIPE_API_KEY}` of [{name}] is missing; following references needs a restricted Stripe key, rk_live_…, and `{STRIPE_TEST_API_KEY}` for test mode, rk_test_…; the local Stripe of `serve` accepts any"
            ));
        }
        Ok(())
    }
}

/// Whether there is a parameter with this name, with or without a label.
fn is_known(name: &str) -> bool {
    Project::from_parameters(vec![Parameter { name: name.to_owned(), value: "".into() }], "")
        .unknown_parameters()
        .is_empty()
}

/// Names an unknown parameter, and suggests the nearest known one.
fn not_a_parameter(name: &str) -> String {
    let (written, label) = name.split_once('/').map_or((name, None), |(written, label)| (written, Some(label)));
    let written = written.to_lowercase().replace('_', "-");
    let distance = |known: &&str| strsim::levenshtein(&written, known);
    let nearest = Project::PARAMETERS.into_iter().min_by_key(distance).filter(|known| distance(known) <= 4);
    match nearest {
        Some(known) => {
            let label = label.map(|label| format!("/{label}")).unwrap_or_default();
            format!("`{name}`, which is not a parameter; did you mean `{known}{label}`?")
        }
        None => format!(
            "`{name}`, which is not a parameter; the parameters are {}, and everything else is in `settings`",
            Project::PARAMETERS.join(", ")
        ),
    }
}

impl Projects {
    /// The project `demo`, for a local Amplitude and a local Stripe that accept any key. IDs that an app wrote on any object
    /// have precedence over e-mail addresses.
    #[cfg(any(test, feature = "workbench"))]
    pub(crate) fn built_in() -> Self {
        let projects: HashMap<_, _> = DEMO.parse().into_iter().map(|name| (name, demo::parameters())).collect();
        Self::Fixed(Arc::new(Fixed { file: None, projects }))
    }

    /// Reads a TOML file with a table for each project, keyed by parameter name. `settings` may be a table.
    ///
    /// # Errors
    /// A sentence that says what is wrong, and where.
    pub(crate) fn from_file(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let projects = parse(&text).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self::Fixed(Arc::new(Fixed { file: Some(path.to_owned()), projects })))
    }

    /// Checks all projects, if they are known.
    ///
    /// # Errors
    /// A sentence with the project, the parameter and what was expected.
    #[cfg(any(test, feature = "workbench"))]
    pub(crate) fn check(&self) -> Result<(), String> {
        match self {
            Self::Fixed(fixed) => {
                let mut names: Vec<_> = fixed.projects.keys().collect();
                names.sort_unstable_by_key(|name| name.as_str());
                names.into_iter().try_for_each(|name| fixed.check(name))
            }
            #[cfg(feature = "aws")]
            Self::ParameterStore(_) => Ok(()),
        }
    }

    /// Whether a known project follows references.
    #[cfg(feature = "workbench")]
    pub(crate) fn any_follows(&self) -> bool {
        match self {
            Self::Fixed(fixed) => fixed.projects.values().any(|parameters| {
                let project = Project::from_parameters(parameters.clone(), "");
                project.delivery.is_ok_and(|delivery| delivery.settings.follow())
            }),
            #[cfg(feature = "aws")]
            Self::ParameterStore(_) => false,
        }
    }

    /// Parameter Store, configured by PARAMETER_PREFIX, EXTRA_CA_FILE and AWS's own variables.
    ///
    /// # Errors
    /// A sentence that names the variable.
    #[cfg(feature = "aws")]
    pub(crate) fn parameter_store() -> Result<Self, String> {
        use stripe_amplitude::environment::Environment;

        use crate::aws::parameters::WritableStore;

        let environment = Environment::read(|name: &str| std::env::var_os(name)).map_err(|error| error.to_string())?;
        let http = stripe_amplitude::http_client::build(environment.extra_ca_file.as_deref());
        let http = http.map_err(|error| error.to_string())?;
        let store = WritableStore::new(&environment.access, http, environment.parameter_prefix);
        Ok(Self::ParameterStore(Box::new(store)))
    }

    /// Most users do not need the AWS SDK, which takes longer to compile than everything else.
    #[cfg(not(feature = "aws"))]
    pub(crate) fn parameter_store() -> Result<Self, String> {
        Err("this build cannot reach Parameter Store; build it with the feature `aws`, or name a file of projects: --projects FILE".to_owned())
    }

    /// Loads a project.
    ///
    /// # Errors
    /// A sentence, if it does not exist or cannot be read.
    pub(crate) async fn project(&self, name: &ProjectName) -> Result<Project, String> {
        let folder = self.folder(name);
        let parameters = self.load(name).await.map_err(|error| format!("cannot read {folder}: {error}"))?;
        if parameters.is_empty() {
            return Err(match self {
                Self::Fixed(_) => format!("there is no project {name}: {}", self.absence(name)),
                #[cfg(feature = "aws")]
                Self::ParameterStore(_) => format!("there is no project {name}: {folder}/ is empty"),
            });
        }
        Ok(Project::from_parameters(parameters, &folder))
    }

    /// The same with longer timeouts than the function's.
    pub(crate) fn with_cli_timeouts(self) -> Self {
        match self {
            Self::Fixed(projects) => Self::Fixed(projects),
            #[cfg(feature = "aws")]
            Self::ParameterStore(store) => Self::ParameterStore(Box::new(store.with_cli_timeouts())),
        }
    }

    /// Creates or overwrites a secret parameter of a project.
    ///
    /// # Errors
    /// A sentence, if it was not written, or that is unknown.
    #[cfg_attr(not(feature = "aws"), allow(unused_variables))]
    pub(crate) async fn put(&self, project: &ProjectName, name: &str, value: &SecretString) -> Result<(), String> {
        match self {
            Self::Fixed(_) => Err(READ_ONLY.to_owned()),
            #[cfg(feature = "aws")]
            Self::ParameterStore(store) => {
                let folder = store.store().folder(project);
                let result = store.put(project, name, value).await;
                result.map_err(|error| format!("cannot write {folder}/{name}: {error}"))
            }
        }
    }

    /// The same for a parameter that is not secret.
    ///
    /// # Errors
    /// Like [`Self::put`].
    #[cfg_attr(not(feature = "aws"), allow(unused_variables))]
    pub(crate) async fn put_text(&self, project: &ProjectName, name: &str, value: &str) -> Result<(), String> {
        match self {
            Self::Fixed(_) => Err(READ_ONLY.to_owned()),
            #[cfg(feature = "aws")]
            Self::ParameterStore(store) => {
                let folder = store.store().folder(project);
                let result = store.put_text(project, name, value).await;
                result.map_err(|error| format!("cannot write {folder}/{name}: {error}"))
            }
        }
    }

    /// Deletes a parameter of a project. Succeeds if it does not exist.
    ///
    /// # Errors
    /// A sentence, if it was not deleted, or that is unknown.
    #[cfg_attr(not(feature = "aws"), allow(unused_variables))]
    pub(crate) async fn delete(&self, project: &ProjectName, name: &str) -> Result<(), String> {
        match self {
            Self::Fixed(_) => Err(READ_ONLY.to_owned()),
            #[cfg(feature = "aws")]
            Self::ParameterStore(store) => {
                let folder = store.store().folder(project);
                let result = store.delete(project, name).await;
                result.map_err(|error| format!("cannot delete {folder}/{name}: {error}"))
            }
        }
    }

    /// The same for the workbench.
    #[cfg(feature = "workbench")]
    pub(crate) fn for_workbench(self) -> stripe_amplitude_workbench::Projects {
        let names = self.names().into_iter().map(str::to_owned).collect();
        stripe_amplitude_workbench::Projects::new(self, names)
    }

    /// The names, if they are known.
    #[cfg(any(test, feature = "workbench"))]
    pub(crate) fn names(&self) -> Vec<&str> {
        match self {
            Self::Fixed(fixed) => fixed.names(),
            #[cfg(feature = "aws")]
            Self::ParameterStore(_) => Vec::new(),
        }
    }
}

fn parse(text: &str) -> Result<HashMap<ProjectName, Vec<Parameter>>, String> {
    let mut projects = HashMap::new();
    for (name, project) in text.parse::<Table>().map_err(|error| malformed(text, &error))? {
        let Value::Table(project) = project else {
            return Err(format!("`{name}` is not a table; write [{name}] above the parameters of a project"));
        };
        let name: ProjectName = name.parse().map_err(|error| format!("[{name}]: {error}"))?;
        let parameters: Result<_, String> = project
            .into_iter()
            .map(|(parameter, value)| {
                let value = match value {
                    Value::String(text) => text,
                    Value::Table(settings) if parameter == "settings" => {
                        serde_json::to_string(&settings).map_err(|error| error.to_string())?
                    }
                    _ if !is_known(&parameter) => return Err(format!("[{name}] has {}", not_a_parameter(&parameter))),
                    _ => return Err(format!("`{parameter}` of [{name}] is not text in quotation marks")),
                };
                Ok(Parameter { name: parameter, value: value.into() })
            })
            .collect();
        projects.insert(name, parameters?);
    }
    if projects.is_empty() {
        return Err("it has no project; write [demo], and the parameters below it".to_owned());
    }
    Ok(projects)
}

/// What is wrong with the TOML, and where. The library's own text shows the line, which may hold a secret.
fn malformed(text: &str, error: &toml::de::Error) -> String {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|character| *character != '\n').count() + 1;
    format!("line {line}, column {column}: {}", error.message())
}

impl ProjectSource for Projects {
    fn folder(&self, project: &ProjectName) -> String {
        match self {
            Self::Fixed(fixed) => format!("{}/{project}", fixed.place()),
            #[cfg(feature = "aws")]
            Self::ParameterStore(store) => store.store().folder(project),
        }
    }

    fn absence(&self, project: &ProjectName) -> String {
        match self {
            Self::Fixed(fixed) => format!("{} has no [{project}]; it has {}", fixed.place(), fixed.names().join(", ")),
            #[cfg(feature = "aws")]
            Self::ParameterStore(store) => store.store().absence(project),
        }
    }

    async fn load(&self, project: &ProjectName) -> Result<Vec<Parameter>, AwsError> {
        match self {
            Self::Fixed(fixed) => Ok(fixed.projects.get(project).cloned().unwrap_or_default()),
            #[cfg(feature = "aws")]
            Self::ParameterStore(store) => store.store().load(project).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use stripe_amplitude::amplitude::Region;

    use super::*;

    #[tokio::test]
    async fn file_has_a_table_for_each_project() {
        let projects = parse(
            r#"
            [shop]
            stripe-signing-secret = "whsec_a"
            "stripe-signing-secret/eu" = "whsec_eu"
            amplitude-api-key = "key"
            settings = { amplitude_region = "eu" }
            [other]
            settings = '{"amplitude_region": "us"}'
            "#,
        )
        .unwrap();
        let projects = Projects::Fixed(Arc::new(Fixed { file: None, projects }));
        assert_eq!(projects.names(), ["other", "shop"]);
        let parameters = projects.load(&"shop".parse().unwrap()).await.unwrap();
        let project = Project::from_parameters(parameters, "/stripe-amplitude/shop");
        assert_eq!(project.secrets.len(), 2);
        assert_eq!(project.delivery.unwrap().settings.amplitude_region, Region::Eu);
        assert!(projects.load(&"unknown".parse().unwrap()).await.unwrap().is_empty());
    }

    #[test]
    fn errors_say_where() {
        for (text, words) in [
            ("[shop]\nstripe-signing-secret = whsec_hidden", "line 2, column 25: "),
            ("[shop]\namplitude-api-key = \"ключ\" \"hidden", "line 2, column 28: "),
            ("[shop]\nstripe-signing-secret = \"whsec_hidden", "line 2, column "),
            ("[shop]\n\"hidden\" = 1\nhidden = 2", "line 3, column 1: "),
            ("stripe-signing-secret = \"whsec_a\"", "write [stripe-signing-secret]"),
            ("[\"a b\"]", "[a b]: invalid project name"),
            ("[shop]\namplitude-api-key = 7", "`amplitude-api-key` of [shop]"),
            ("[shop]\nreferences = true", "[shop] has `references`, which is not a parameter; the parameters are"),
            ("", "has no project"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(words) && !error.contains("hidden"), "{error}");
        }
    }

    #[test]
    fn projects_are_checked() {
        for (more, words) in [
            ("amplitude-api-key = \"key\"", None),
            ("", Some("f.toml: `amplitude-api-key` of [shop] is missing; write it below")),
            ("amplitude-api-key = \"key\"\nstripe_api_key = \"x\"", Some("did you mean `stripe-api-key`?")),
            ("stripe-signing-secrets = \"x\"", Some("did you mean `stripe-signing-secret`?")),
            ("\"stripe_signing_secret/eu\" = \"x\"", Some("did you mean `stripe-signing-secret/eu`?")),
            ("references = \"follow\"", Some("everything else is in `settings`")),
            (
                "amplitude-api-key = \"key\"\nstripe-api-key = \"pk_live_x\"",
                Some("`stripe-api-key` of [shop] holds a publishable Stripe key"),
            ),
            (
                "amplitude-api-key = \"key\"\nsettings = { references = \"follow\" }",
                Some("`stripe-api-key` of [shop] is missing; following references"),
            ),
            ("settings = { references = true }", Some("`settings` of [shop] cannot be used: `references`")),
        ] {
            let projects = parse(&format!("[shop]\nstripe-signing-secret = \"whsec_a\"\n{more}")).unwrap();
            let projects = Projects::Fixed(Arc::new(Fixed { file: Some("f.toml".into()), projects }));
            let error = projects.check().err();
            match words {
                None => assert_eq!(error, None),
                Some(words) => assert!(error.as_ref().is_some_and(|error| error.contains(words)), "{more}: {error:?}"),
            }
        }
        assert_eq!(Projects::built_in().check(), Ok(()));
    }

    #[tokio::test]
    async fn missing_project_is_reported_with_the_existing_ones() {
        let projects = parse("[shop]\n[other]").unwrap();
        let projects = Projects::Fixed(Arc::new(Fixed { file: Some("f.toml".into()), projects }));
        let error = projects.project(&"shp".parse().unwrap()).await.unwrap_err();
        assert_eq!(error, "there is no project shp: f.toml has no [shp]; it has other, shop");
    }
}
