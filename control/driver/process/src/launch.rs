//! From a spec to a process.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use weir_driver::{DriverError, InstanceSpec, LogStream, rules, words::split};

use crate::{
    cgroup::Group,
    folder::{Folder, Record},
    leader::discard,
    proc::{Identity, Marker},
};

/// Tells an instance who it is: `<namespace>/<id>`.
const INSTANCE: &str = "WEIR_INSTANCE";
/// Tells an instance where its files are. Together with [`INSTANCE`] its marker.
const INSTANCE_DIR: &str = "WEIR_INSTANCE_DIR";
/// Variables of control that instances have too.
const INHERITED: [&str; 4] = ["PATH", "HOME", "LANG", "TZ"];
/// Where commands are, if control itself has no `PATH`.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// What the arguments of a spec ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// `shell: true`: the definition is for `/bin/sh -c`.
    pub(crate) shell: bool,
    /// `ports: fixed`: the numbers in the spec are used as they are.
    pub(crate) fixed_ports: bool,
    /// `limit_memory: true`: `RLIMIT_AS` is set.
    pub(crate) limit_memory: bool,
    /// `limits: true`: processors and memory of the scale are limits of a control group.
    pub(crate) limits: Option<bool>,
}

impl Options {
    fn of(spec: &InstanceSpec) -> Result<Options, DriverError> {
        let mut options = Options::default();
        for (name, value) in &spec.arguments {
            match (name.as_str(), value.as_str()) {
                ("shell", "true") => options.shell = true,
                ("shell", "false") => options.shell = false,
                ("ports", "fixed") => options.fixed_ports = true,
                ("ports", "assigned") => options.fixed_ports = false,
                ("limit_memory", "true") => options.limit_memory = true,
                ("limit_memory", "false") => options.limit_memory = false,
                ("limits", "true") => options.limits = Some(true),
                ("limits", "false") => options.limits = Some(false),
                _ => {
                    return Err(DriverError::Definition(format!(
                        "the argument `{name}: {value}` is not one for processes: there are `shell: true`, \
                         `ports: fixed`, `limits: true` and `limit_memory: true`"
                    )));
                }
            }
        }
        Ok(options)
    }
}

/// Looks at all of a spec that can be judged without touching the host.
pub(crate) fn check(spec: &InstanceSpec) -> Result<Options, DriverError> {
    rules::check(spec)?;
    let options = Options::of(spec)?;
    if options.limit_memory && rules::memory_bytes(spec).is_none() {
        let message = "`limit_memory: true` needs a scale with memory".to_owned();
        return Err(DriverError::Definition(message));
    }
    Ok(options)
}

/// The variables that tell whose process it is.
pub(crate) fn marker(record: &Record, folder: &Folder) -> Marker {
    marker_of(&record.namespace, &record.spec.id, folder)
}

/// As [`marker`], of an instance of which only the folder is known.
pub(crate) fn marker_of(namespace: &str, id: &str, folder: &Folder) -> Marker {
    let [instance, directory] = identity_variables(namespace, id, folder);
    Marker::new([(INSTANCE, instance.as_str()), (INSTANCE_DIR, directory.as_str())])
}

fn identity_variables(namespace: &str, id: &str, folder: &Folder) -> [String; 2] {
    [
        format!("{namespace}/{id}"),
        folder.path().to_string_lossy().into_owned(),
    ]
}

/// Variables that every instance has, from those of this process.
pub(crate) fn inherited() -> BTreeMap<String, String> {
    let mut variables: BTreeMap<String, String> = INHERITED
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?)))
        .collect();
    variables
        .entry("PATH".to_owned())
        .or_insert_with(|| PATH.to_owned());
    variables
}

/// All variables of an instance. What tells it its ports and who it is wins over the spec's own.
fn environment(
    record: &Record,
    folder: &Folder,
    inherited: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let mut variables = inherited.clone();
    variables.extend(record.spec.environment.clone());
    variables.extend(rules::port_variables(&record.spec, &record.ports));
    let [instance, directory] = identity_variables(&record.namespace, &record.spec.id, folder);
    variables.extend([
        (INSTANCE.to_owned(), instance),
        (INSTANCE_DIR.to_owned(), directory),
    ]);
    variables
}

/// A command, ready to be run.
#[derive(Debug)]
pub(crate) struct Launch {
    words: Vec<String>,
    program: PathBuf,
    environment: BTreeMap<String, String>,
    /// `None`: the folder's own, which is yet to be made.
    directory: Option<PathBuf>,
    memory: Option<u64>,
}

impl Launch {
    /// Finds out what to run. Nothing is made on disk.
    pub(crate) fn new(
        record: &Record,
        folder: &Folder,
        options: Options,
        inherited: &BTreeMap<String, String>,
    ) -> Result<Launch, DriverError> {
        let spec = &record.spec;
        let fault = |message: String| DriverError::Definition(message);
        let environment = environment(record, folder, inherited);
        let directory = spec.working_directory.as_ref().map(PathBuf::from);
        if let Some(directory) = &directory
            && !directory.is_dir()
        {
            return Err(fault(format!(
                "the working directory `{}` is not there",
                directory.display()
            )));
        }
        let words = if options.shell {
            ["/bin/sh", "-c", spec.definition.as_str()]
                .map(str::to_owned)
                .to_vec()
        } else {
            split(&spec.definition, |name| environment.get(name).map(String::as_str)).map_err(|error| {
                fault(format!(
                    "the command `{}` cannot be read: {error}",
                    spec.definition
                ))
            })?
        };
        let name = words.first().expect("a command line has at least one word");
        let path = environment.get("PATH").map_or(PATH, String::as_str);
        let work = folder.work();
        let program = find(name, path, directory.as_deref().unwrap_or(&work)).map_err(fault)?;
        let memory = options.limit_memory.then(|| rules::memory_bytes(spec)).flatten();
        Ok(Launch {
            words,
            program,
            environment,
            directory,
            memory,
        })
    }

    /// Starts the process. The folder is made, and holds the record before and the identity after.
    pub(crate) fn start(
        &self,
        record: &Record,
        folder: &Folder,
        group: Option<&Group>,
    ) -> Result<Identity, DriverError> {
        let unavailable = |error: io::Error| DriverError::Unavailable(Box::new(error));
        folder
            .create()
            .and_then(|()| folder.write_record(record))
            .map_err(unavailable)?;
        let stdout = folder.open_log(LogStream::Stdout).map_err(unavailable)?;
        let stderr = folder.open_log(LogStream::Stderr).map_err(unavailable)?;
        let name = self.words.first().map_or("", String::as_str);
        let child = Command::new(&self.program)
            .arg0(name)
            .args(self.words.iter().skip(1))
            .env_clear()
            .envs(&self.environment)
            .current_dir(self.directory.clone().unwrap_or_else(|| folder.work()))
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(stderr)
            // A group of its own: what control's terminal signals does not reach it, and it can be
            // signalled together with its children.
            .process_group(0)
            .spawn()
            .map_err(|error| spawn_error(name, error))?;
        if let Some(group) = group {
            let spec = &record.spec;
            let limited = group.limit(child.id(), spec.cpu, rules::memory_bytes(spec));
            if let Err(error) = limited {
                // It runs without, as it does where there are no control groups at all.
                tracing::warn!(endpoint = %spec.id, %error, "the limits of an instance cannot be set");
            }
        }
        match self.note(&child, folder) {
            Ok(identity) => Ok(identity),
            Err(error) => {
                discard(child);
                Err(unavailable(error))
            }
        }
    }

    fn note(&self, child: &Child, folder: &Folder) -> io::Result<Identity> {
        let pid = i32::try_from(child.id()).map_err(io::Error::other)?;
        let identity = Identity::of(pid)?;
        folder.write_identity(&identity)?;
        if let Some(bytes) = self.memory {
            let limit = Rlimit {
                current: Some(bytes),
                maximum: Some(bytes),
            };
            prlimit(Some(Pid::from_child(child)), Resource::As, limit)?;
        }
        Ok(identity)
    }
}

/// Finds a program as a shell does; otherwise says why there is none.
fn find(name: &str, path: &str, directory: &Path) -> Result<PathBuf, String> {
    let executable = |path: &Path| {
        fs::metadata(path).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
    };
    if name.contains('/') {
        let program = directory.join(name);
        return match (executable(&program), program.exists()) {
            (true, _) => Ok(program),
            (false, true) => Err(format!("the command `{name}` is not an executable file")),
            (false, false) => Err(format!("the command `{name}` is not there")),
        };
    }
    path.split(':')
        .map(|folder| directory.join(folder).join(name))
        .find(|program| !name.is_empty() && executable(program))
        .ok_or_else(|| format!("the command `{name}` was not found in {path}"))
}

/// Tells what is wrong with the command from what is wrong with the host.
fn spawn_error(name: &str, error: io::Error) -> DriverError {
    /// `ENOEXEC`: neither a program nor a script with a first line that names its interpreter.
    const NO_FORMAT: i32 = rustix::io::Errno::NOEXEC.raw_os_error();
    let definition = error.raw_os_error() == Some(NO_FORMAT)
        || matches!(
            error.kind(),
            io::ErrorKind::NotFound
                | io::ErrorKind::PermissionDenied
                | io::ErrorKind::ArgumentListTooLong
                | io::ErrorKind::InvalidInput
                | io::ErrorKind::NotADirectory
        );
    if definition {
        DriverError::Definition(format!("the command `{name}` cannot be run: {error}"))
    } else {
        DriverError::Unavailable(Box::new(error))
    }
}

#[cfg(test)]
mod tests;
