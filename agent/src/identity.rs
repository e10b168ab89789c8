//! Who this agent is: an id on its disk, so that a restart is the same agent.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Write as _},
    os::fd::{AsFd as _, OwnedFd},
    path::Path,
};

use anyhow::{Context as _, bail};
use weir_model::AgentId;

/// Keeps another agent out of the data folder while it lives.
#[derive(Debug)]
pub(crate) struct FolderLock {
    /// `None`: the folder cannot be written, by others neither.
    file: Option<File>,
}

impl FolderLock {
    /// The lock of a process before this one, which it holds as well.
    pub(crate) fn taken_over(file: File) -> Self {
        Self { file: Some(file) }
    }

    /// Another handle of it: the folder is taken as long as one of them is open.
    pub(crate) fn share(&self) -> io::Result<Option<OwnedFd>> {
        let file = self.file.as_ref();
        file.map(|file| file.as_fd().try_clone_to_owned()).transpose()
    }
}

/// Makes the folder if need be and takes it. A folder that cannot be written (read-only, full) does not keep the agent
/// from serving: the lock comes with what is wrong then.
///
/// # Errors
/// Another agent has the folder.
pub(crate) fn lock(data_dir: &Path) -> anyhow::Result<(FolderLock, Option<String>)> {
    let path = data_dir.join("lock");
    let opened = fs::create_dir_all(data_dir).and_then(|()| File::create(&path));
    let locked = match opened {
        Ok(file) => match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => bail!(
                "the data folder {} is in use by another agent",
                data_dir.display()
            ),
            Err(TryLockError::Error(error)) => Err(error),
        },
        Err(error) => Err(error),
    };
    Ok(match locked {
        Ok(file) => (FolderLock { file: Some(file) }, None),
        Err(error) => {
            let problem = format!(
                "the data folder {} cannot be written: {error}",
                data_dir.display()
            );
            tracing::error!(
                problem,
                "what is served will not survive a restart without the store"
            );
            (FolderLock { file: None }, Some(problem))
        }
    })
}

/// The id in the folder, made if there is none or it is damaged. One that cannot be kept lasts for this run, and comes
/// with what is wrong.
pub(crate) fn load_or_create(data_dir: &Path) -> (AgentId, Option<String>) {
    let path = data_dir.join("agent-id");
    let damage = match load(&path) {
        Ok(Some(id)) => return (id, None),
        Ok(None) => None,
        Err(error) => {
            tracing::error!(
                error = format!("{error:#}"),
                "the agent's id on disk cannot be used; it gets a new one"
            );
            Some(format!("{error:#}"))
        }
    };
    let id = AgentId::new(uuid::Uuid::new_v4().to_string()).expect("an UUID is not empty");
    match write(&path, id.as_str()) {
        Ok(()) => (id, damage),
        Err(error) => {
            let problem = format!("the agent's id cannot be kept in {}: {error}", path.display());
            tracing::error!(problem, "after a restart this will be another agent");
            (id, Some(problem))
        }
    }
}

fn load(path: &Path) -> anyhow::Result<Option<AgentId>> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let id = AgentId::new(text.trim()).with_context(|| format!("{} has no id", path.display()))?;
    check(&id).with_context(|| format!("in {}", path.display()))?;
    Ok(Some(id))
}

/// Whether the id can be part of a store's key.
pub(crate) fn check(id: &AgentId) -> anyhow::Result<()> {
    weir_store::protocol::acknowledgement_key("", id)?;
    Ok(())
}

/// Whole or not at all.
fn write(path: &Path, id: &str) -> io::Result<()> {
    let fresh = path.with_extension("new");
    let mut file = File::create(&fresh)?;
    file.write_all(id.as_bytes())?;
    file.sync_all()?;
    fs::rename(&fresh, path)
}

#[cfg(test)]
mod tests {
    use super::{load_or_create, lock};

    #[test]
    fn a_restart_is_the_same_agent() {
        let folder = tempfile::tempdir().unwrap();
        let (id, problem) = load_or_create(folder.path());
        assert_eq!(problem, None);
        assert_eq!(load_or_create(folder.path()), (id.clone(), None));
        let other = tempfile::tempdir().unwrap();
        assert_ne!(load_or_create(other.path()).0, id);
    }

    #[test]
    fn a_damaged_id_is_replaced_and_said() {
        let folder = tempfile::tempdir().unwrap();
        for damage in ["a/b\n", "", "  \n"] {
            std::fs::write(folder.path().join("agent-id"), damage).unwrap();
            let (id, problem) = load_or_create(folder.path());
            assert!(problem.unwrap().contains("agent-id"));
            assert_eq!(load_or_create(folder.path()), (id, None));
        }
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_said_and_stops_nothing() {
        let parent = tempfile::tempdir().unwrap();
        // A file where the folder should be: also the superuser cannot write below it.
        let folder = parent.path().join("data");
        std::fs::write(&folder, "").unwrap();
        assert!(lock(&folder).unwrap().1.is_some());
        let (first, problem) = load_or_create(&folder);
        assert!(problem.is_some());
        assert_ne!(load_or_create(&folder).0, first, "it cannot be kept");
        let (full, folder) = (tempfile::tempdir().unwrap(), "/dev/full");
        std::os::unix::fs::symlink(folder, full.path().join("agent-id.new")).unwrap();
        assert!(load_or_create(full.path()).1.unwrap().contains("cannot be kept"));
    }

    #[test]
    fn a_folder_has_one_agent() {
        let folder = tempfile::tempdir().unwrap();
        let held = lock(folder.path()).unwrap();
        assert_eq!(held.1, None);
        assert!(
            lock(folder.path())
                .unwrap_err()
                .to_string()
                .contains("another agent")
        );
        drop(held);
        lock(folder.path()).unwrap();
    }
}
