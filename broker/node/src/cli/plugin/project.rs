//! `posthouse plugin new`, `build`, `test` and `bench`: what is done with a project, without a node.

use std::path::PathBuf;

use bytes::Bytes;
use clap::{Subcommand, ValueEnum};
use posthouse_host::PushRefusal;
use posthouse_keyring::sha256;
use posthouse_model::Name;
use posthouse_workshop::{Language, Project, WorkshopError};
use serde::Serialize;

use super::World;
use super::bench::{self, Figures};
use super::case::{Case, CaseError};
use super::difference::Difference;
use super::trial::{Trial, TrialError};
use crate::admin::shapes::hexadecimal;
use crate::cli::client::CliError;
use crate::cli::output::{Output, Record};

/// What to do with a plugin's project.
#[derive(Debug, Subcommand)]
pub enum ProjectCommand {
    /// Writes a project: sources, the contract, and cases that it is tested against.
    New {
        /// The plugin's name.
        #[arg(value_parser = Name::parse)]
        plugin: Name,
        /// What it is to be written in.
        #[arg(long, value_enum)]
        lang: LanguageArg,
        /// What it is to decide.
        #[arg(long, value_enum)]
        world: World,
        /// Lends it a store of its own, in which it keeps something between its decisions (`kv` in wit/types.wit).
        #[arg(long)]
        with_kv: bool,
        /// The folder to write it into; one of the plugin's name, here, when absent.
        #[arg(long, value_name = "FOLDER")]
        dir: Option<PathBuf>,
    },
    /// Builds a project's component, with the language's own tools.
    Build {
        /// The project.
        #[arg(default_value = ".")]
        project: PathBuf,
    },
    /// Runs a project's component against its cases, with the host and the limits of a broker.
    Test {
        /// The project.
        #[arg(default_value = ".")]
        project: PathBuf,
        /// Runs only cases whose names have this in them.
        #[arg(long, value_name = "TEXT")]
        case: Option<String>,
    },
    /// Measures a project's component by its cases: time a call, time to start, memory, size.
    Bench {
        /// The project.
        #[arg(default_value = ".")]
        project: PathBuf,
        /// Measures only cases whose names have this in them.
        #[arg(long, value_name = "TEXT")]
        case: Option<String>,
    },
}

/// What a plugin is written in.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum LanguageArg {
    /// Rust.
    Rust,
    /// JavaScript.
    Js,
    /// Python.
    Python,
}

#[derive(Serialize)]
struct Built {
    component: PathBuf,
    bytes: usize,
    digest: String,
}

#[derive(Serialize)]
struct Tested {
    cases: Vec<TestedCase>,
}

#[derive(Serialize)]
struct TestedCase {
    name: String,
    ok: bool,
    differences: Vec<Difference>,
    log: Vec<String>,
}

#[derive(Serialize)]
struct Measured {
    bytes: usize,
    cases: Vec<Figures>,
}

// === impl ProjectCommand ===

impl ProjectCommand {
    /// Does it, and returns what to print.
    pub(in crate::cli) async fn perform(
        self,
        json: bool,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Output, CliError> {
        match self {
            ProjectCommand::New {
                plugin,
                lang,
                world,
                with_kv,
                dir,
            } => {
                let folder = dir.unwrap_or_else(|| PathBuf::from(plugin.as_str()));
                let project = Project::create(&folder, plugin, lang.into(), world.into(), with_kv)?;
                let folder = project.folder().display();
                Ok(Output::said(format!(
                    "{folder} is written: posthouse plugin build {folder}, then test\n"
                )))
            }
            ProjectCommand::Build { project } => build(&Project::open(&project)?, json),
            ProjectCommand::Test { project, case } => {
                let project = Project::open(&project)?;
                test(&project, case.as_deref().unwrap_or_default(), json, environment).await
            }
            ProjectCommand::Bench { project, case } => {
                let project = Project::open(&project)?;
                measure(&project, case.as_deref().unwrap_or_default(), json, environment).await
            }
        }
    }
}

fn build(project: &Project, json: bool) -> Result<Output, CliError> {
    let component = project.build()?;
    let bytes = read_component(project)?;
    let built = Built {
        bytes: bytes.len(),
        digest: hexadecimal(&sha256(&bytes)),
        component,
    };
    let mut record = Record::new();
    record.line("component", built.component.display());
    record.line("bytes", built.bytes);
    record.line("digest", &built.digest);
    Ok(Output::of(json, &built, record.to_string()))
}

async fn test(
    project: &Project,
    wanted: &str,
    json: bool,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Output, CliError> {
    let (cases, trial, _) = prepared(project, wanted, environment).await?;
    let mut tested = Vec::with_capacity(cases.len());
    for case in cases {
        let differences = case.differences(&trial).await;
        tested.push(TestedCase {
            ok: differences.is_empty(),
            log: trial.log(),
            name: case.name,
            differences,
        });
    }
    trial.close().await;
    let complete = tested.iter().all(|case| case.ok);
    let text = tested_text(&tested);
    Ok(Output {
        complete,
        ..Output::of(json, &Tested { cases: tested }, text)
    })
}

fn tested_text(cases: &[TestedCase]) -> String {
    let mut text = String::new();
    for case in cases {
        let word = if case.ok { "ok" } else { "FAIL" };
        text.push_str(&format!("{word:<6}{}\n", case.name));
        for difference in &case.differences {
            text.push_str(&format!("      {}, - expected, + answered:\n", difference.at));
            for line in difference.lines() {
                text.push_str(&format!("        {line}\n"));
            }
        }
        if !case.ok {
            for line in &case.log {
                text.push_str(&format!("      log: {line}\n"));
            }
        }
    }
    let failed = cases.iter().filter(|case| !case.ok).count();
    let held = cases.len() - failed;
    text.push_str(&format!("{held} of {} cases hold\n", cases.len()));
    text
}

async fn measure(
    project: &Project,
    wanted: &str,
    json: bool,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Output, CliError> {
    let (cases, trial, bytes) = prepared(project, wanted, environment).await?;
    let mut measured = Vec::with_capacity(cases.len());
    for case in &cases {
        measured.push(bench::figures(case, &trial).await);
    }
    trial.close().await;
    let text = format!("component: {bytes} bytes\n\n{}", bench::text(&measured));
    let measured = Measured {
        bytes,
        cases: measured,
    };
    Ok(Output::of(json, &measured, text))
}

/// Returns a project's cases, its component ready to be asked, and that one's size.
async fn prepared(
    project: &Project,
    wanted: &str,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<(Vec<Case>, Trial, usize), CliError> {
    let cases = Case::read_all(project, wanted)?;
    let component = read_component(project)?;
    let bytes = component.len();
    let trial = Trial::open(project.world, component, environment).await?;
    Ok((cases, trial, bytes))
}

fn read_component(project: &Project) -> Result<Bytes, CliError> {
    let path = project.component();
    match std::fs::read(&path) {
        Ok(bytes) => Ok(Bytes::from(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(CliError::Usage(format!(
            "there is no {}: `posthouse plugin build` makes it",
            path.display()
        ))),
        Err(error) => Err(CliError::Usage(format!("{}: {error}", path.display()))),
    }
}

impl From<LanguageArg> for Language {
    fn from(language: LanguageArg) -> Language {
        match language {
            LanguageArg::Rust => Language::Rust,
            LanguageArg::Js => Language::JavaScript,
            LanguageArg::Python => Language::Python,
        }
    }
}

// === impl CliError ===

impl From<WorkshopError> for CliError {
    fn from(error: WorkshopError) -> Self {
        CliError::Usage(error.to_string())
    }
}

impl From<CaseError> for CliError {
    fn from(error: CaseError) -> Self {
        CliError::Usage(error.to_string())
    }
}

impl From<TrialError> for CliError {
    fn from(error: TrialError) -> Self {
        CliError::Usage(match error {
            TrialError::Refused(refusal @ PushRefusal::Fault(_)) => refusal.to_string(),
            TrialError::Refused(refusal) => format!("a broker would refuse this plugin: {refusal}"),
            error @ (TrialError::Host(_) | TrialError::NoCache | TrialError::Program(_)) => error.to_string(),
        })
    }
}
