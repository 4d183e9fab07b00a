//! Reads all sources: the file, then the environment, then flags; later ones take precedence.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::catalogue::{FILE_VARIABLE, Setting, settings};
use super::given::{Given, Place, SourceFile, Value};
use super::problem::{Problem, Problems};
use super::reader::{Named, Reader};
use super::spelling::nearest;
use super::{Config, check, toml_text};

/// The file that is read by default, if it exists.
const FILE_NAME: &str = "offhook.toml";

/// The sources of settings.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The configuration file. None: the one named by `OFFHOOK_CONFIG`, otherwise `offhook.toml` in
    /// `directory` if it exists.
    pub file: Option<PathBuf>,
    /// The directory of `offhook.toml`. Empty: the working directory.
    pub directory: PathBuf,
    /// All environment variables; those that do not start with `OFFHOOK_` are ignored.
    pub environment: Vec<(OsString, OsString)>,
    /// Keys, with the values given by flags.
    pub flags: Vec<(String, String)>,
}

/// A configuration, with the origin of each value.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The effective configuration.
    pub config: Config,
    pub(crate) places: BTreeMap<String, Place>,
    pub(crate) file: Option<PathBuf>,
}

impl Loaded {
    /// The origin of a setting's value, by its key.
    #[must_use]
    pub fn place(&self, key: &str) -> Place {
        self.places.get(key).cloned().unwrap_or(Place::Default)
    }

    /// The file that was read, if any.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }
}

/// Reads all sources.
///
/// # Errors
/// Everything that is wrong with any source, with its place and what to write instead.
pub fn load(sources: &Sources) -> Result<Loaded, Problems> {
    let settings = settings();
    let mut problems = Vec::new();
    let (named, wrong) = named(sources, &settings);
    problems.extend(wrong);
    let file = read_file(sources).unwrap_or_else(|problem| {
        problems.push(problem);
        None
    });
    let table = file.as_ref().map(toml_text::read).transpose();
    let table = table.unwrap_or_else(|wrong| {
        problems.extend(wrong);
        None
    });
    let keys: Vec<String> = settings.into_iter().map(|setting| setting.key).collect();
    let mut config = Config::default();
    let mut reader = Reader::new(table.as_ref(), &named, &keys);
    reader.read(&mut config);
    let Reader {
        places,
        failed,
        problems: wrong,
        ..
    } = reader;
    problems.extend(wrong);
    let file = file.map(|file| file.path.clone());
    let loaded = Loaded {
        config,
        places,
        file,
    };
    problems.extend(check::together(&loaded, &failed));
    if problems.is_empty() {
        Ok(loaded)
    } else {
        Err(Problems::new(problems))
    }
}

fn read_file(sources: &Sources) -> Result<Option<Arc<SourceFile>>, Problem> {
    let named = sources.file.clone().or_else(|| {
        let mut variables = sources.environment.iter();
        let (_, path) = variables.find(|(name, _)| name == FILE_VARIABLE)?;
        Some(PathBuf::from(path))
    });
    let is_named = named.is_some();
    let path = named.unwrap_or_else(|| sources.directory.join(FILE_NAME));
    match fs::read_to_string(&path) {
        Ok(text) => Ok(Some(Arc::new(SourceFile { path, text }))),
        Err(error) if error.kind() == io::ErrorKind::NotFound && !is_named => Ok(None),
        Err(error) => {
            let message = format!("the configuration file cannot be read: {error}");
            Err(Problem::of_file(&path, message))
        }
    }
}

/// The values given by variables and flags, and what is wrong with them.
fn named(sources: &Sources, settings: &[Setting]) -> (Named, Vec<Problem>) {
    let (mut named, mut problems) = (Named::new(), Vec::new());
    let mut take = |result: Result<(String, Given), Problem>| match result {
        Ok(found) => named.push(found),
        Err(problem) => problems.push(problem),
    };
    let mut variables: Vec<_> = sources.environment.iter().collect();
    variables.sort();
    for (name, value) in variables {
        // An empty variable counts as not set, as in many tools.
        let is_set = !value.is_empty();
        if let Some(name) = name.to_str().filter(|name| is_set && is_ours(name)) {
            take(variable(name, value, settings));
        }
    }
    for (key, value) in &sources.flags {
        if let Some(setting) = settings.iter().find(|setting| setting.key == *key) {
            let place = Place::Flag(format!("--{}", setting.flag()));
            take(word(setting, value, &place));
        }
    }
    (named, problems)
}

/// Kubernetes sets variables about services in every container: for a service named `offhook`,
/// `OFFHOOK_SERVICE_HOST`, `OFFHOOK_PORT` and `OFFHOOK_PORT_8000_TCP`.
fn is_ours(name: &str) -> bool {
    let is_kubernetes = |rest: &str| rest.starts_with("SERVICE_") || rest.starts_with("PORT");
    let rest = name.strip_prefix("OFFHOOK_");
    let is_ours = rest.is_some_and(|rest| !is_kubernetes(rest)) && name != FILE_VARIABLE;
    is_ours && !OF_COMMANDS.contains(&name)
}

/// Variables of other commands: `offhook token`, `offhook explain` and `offhook top`. A shell that
/// has them must be able to start a server, too.
const OF_COMMANDS: [&str; 2] = ["OFFHOOK_TOKEN_SECRET", "OFFHOOK_ADMIN_KEY"];

fn variable(
    name: &str,
    value: &OsString,
    settings: &[Setting],
) -> Result<(String, Given), Problem> {
    let place = Place::Variable(name.to_owned());
    let Some(setting) = settings.iter().find(|setting| setting.variable() == name) else {
        let known: Vec<String> = settings.iter().map(Setting::variable).collect();
        let near = nearest(name, known.iter().map(String::as_str));
        let hint = near.map_or_else(
            || "`offhook config --reference` lists them".to_owned(),
            |near| format!("did you mean {near}?"),
        );
        return Err(Problem::new(
            place,
            format!("there is no such variable; {hint}"),
        ));
    };
    match value.to_str() {
        Some(value) => word(setting, value, &place),
        None => Err(Problem::new(place, "its value is not UTF-8")),
    }
}

/// A bare word; for a list setting, a list separated by commas or written in TOML.
fn word(setting: &Setting, text: &str, place: &Place) -> Result<(String, Given), Problem> {
    let bare = |text: &str| Given {
        value: Value::Word(text.trim().to_owned()),
        place: place.clone(),
    };
    let is_toml = text.trim_start().starts_with('[') && text.trim_end().ends_with(']');
    let given = if setting.is_rules || (setting.is_list && is_toml) {
        toml_text::read_value(text, place).map_err(|error| {
            let Setting { key, expected, .. } = setting;
            Problem::new(
                place.clone(),
                format!("{key}: expected {expected}: {error}"),
            )
        })?
    } else if setting.is_list && text.contains(',') {
        let value = Value::List(text.split(',').map(bare).collect());
        let place = place.clone();
        Given { value, place }
    } else {
        bare(text)
    };
    Ok((setting.key.clone(), given))
}
