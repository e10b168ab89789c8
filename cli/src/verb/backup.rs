//! `weir backup` and `weir restore`: all artifacts and events in a file, and back.

use std::{
    fs::File,
    io::{BufReader, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context as _;
use clap::Args;
use weir_control::{
    Config, Control, Storage,
    backup::{Contents, verify},
};

use super::Context;
use crate::{failure::Failure, output::Output};

/// Save all artifacts and events of control to a file (needs the role admin)
///
/// What changes while it is made may be in it or not. The history of artifacts is not in it.
#[derive(Debug, Args)]
pub(crate) struct Backup {
    /// Where to; a file of this name is replaced when the backup is whole
    file: PathBuf,
}

/// Write a backup into the storage of a control that does not run
///
/// The file is looked through before anything is written. The storage is to be empty unless --over is given: then
/// artifacts of the same name are replaced, and the events are added to those that are there.
#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// The backup
    file: PathBuf,
    /// Folder of control's database
    #[arg(
        long,
        env = "WEIR_DATA",
        value_name = "FOLDER",
        default_value = ".weir/control",
        conflicts_with = "database"
    )]
    data: PathBuf,
    /// PostgreSQL database, if control uses one
    #[arg(long, env = "WEIR_DATABASE", value_name = "URL", hide_env_values = true)]
    database: Option<String>,
    /// Namespace of the control
    #[arg(long, env = "WEIR_NAMESPACE", default_value = "default")]
    namespace: String,
    /// Write over what is there
    #[arg(long)]
    over: bool,
}

pub(crate) async fn backup(context: &Context, backup: &Backup) -> Result<(), Failure> {
    let mut response = context.client.stream("/backup", &[]).await?;
    let folder = backup
        .file
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let written = async {
        // Beside it, so that it takes the other's place at once or not at all.
        let mut part = tempfile::NamedTempFile::new_in(folder)
            .with_context(|| format!("{} cannot be written", folder.display()))?;
        while let Some(piece) = response.chunk().await.context("the backup broke off")? {
            part.write_all(&piece)
                .with_context(|| format!("{} cannot be written", backup.file.display()))?;
        }
        part.as_file().sync_all()?;
        let contents = read_through(part.path())?;
        part.persist(&backup.file)
            .with_context(|| format!("{} cannot be written", backup.file.display()))?;
        anyhow::Ok(contents)
    };
    let contents = written.await.map_err(Failure::Other)?;
    context
        .output
        .note(&format!("{} has {}.", backup.file.display(), told(contents)))
}

pub(crate) async fn restore(restore: Restore, output: Output) -> Result<(), Failure> {
    let work = async {
        let contents = read_through(&restore.file)?;
        let store = weir_store::connect("memory:")?;
        let mut config = Config::new(&restore.data, Arc::clone(&store));
        config.namespace = restore.namespace;
        if let Some(url) = restore.database {
            config.storage = Storage::Postgres(url);
        }
        let file = BufReader::new(File::open(&restore.file)?);
        Control::restore(config, file, restore.over).await?;
        anyhow::Ok(contents)
    };
    let contents = work.await.map_err(Failure::Other)?;
    output.note(&format!("Restored {}.", told(contents)))
}

fn read_through(path: &Path) -> anyhow::Result<Contents> {
    let file = File::open(path).with_context(|| format!("{} cannot be read", path.display()))?;
    verify(BufReader::new(file)).with_context(|| format!("{} is not a whole backup", path.display()))
}

fn told(contents: Contents) -> String {
    format!("{} artifacts and {} events", contents.artifacts, contents.events)
}
