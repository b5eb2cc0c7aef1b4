//! Local targets that appear whole or not at all: written beside their final name, made durable, then renamed.

use super::growing::GrowingFile;
use crate::error::{Error, ErrorKind, Result};
use crate::sys;
use rustix::fs::{CWD, RenameFlags};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// A file that gets its name only by `commit`. Dropped before that, it leaves nothing behind.
#[derive(Debug)]
pub struct FileTarget {
    growing: GrowingFile,
    temporary: PathBuf,
    path: PathBuf,
    replace: bool,
    committed: bool,
    sync: bool,
    /// Dropped before `commit`, it stays: a `ResumedTarget` goes on with it.
    kept: bool,
}

impl FileTarget {
    /// Creates the temporary file in the folder of `path`. `sync`: `commit` makes it durable, so that the disk begins
    /// while it is written.
    ///
    /// # Errors
    /// `AlreadyExists` when `path` exists and `replace` is false (checked again by `commit`), `InvalidArgument`
    /// when it is a folder, `NotFound` when its folder is missing, and those of the system.
    pub fn create(path: &Path, replace: bool, sync: bool) -> Result<Self> {
        check_free(path, replace)?;
        let temporary = temporary_name(path)?;
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&temporary);
        let file = file.map_err(|error| Error::io(folder_of(path).display().to_string(), &error))?;
        let growing = GrowingFile::new(file, path.display().to_string(), sync);
        Ok(Self { growing, temporary, path: path.to_owned(), replace, committed: false, sync, kept: false })
    }

    /// Opens `content`, which an earlier run may have begun; `commit` gives it the name `path`, which may be its own.
    /// `bytes`: what it will have.
    ///
    /// # Errors
    /// As `create`.
    pub fn resume(content: &Path, path: &Path, replace: bool, sync: bool, bytes: u64) -> Result<Self> {
        if content != path {
            check_free(path, replace)?;
        }
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(content);
        let fault = |error: &std::io::Error| Error::io(path.display().to_string(), error);
        let file = file.map_err(|error| fault(&error))?;
        if file.metadata().map_err(|error| fault(&error))?.len() > bytes {
            file.set_len(bytes).map_err(|error| fault(&error))?;
        }
        let growing = GrowingFile::new(file, path.display().to_string(), sync);
        let (temporary, path) = (content.to_owned(), path.to_owned());
        Ok(Self { growing, temporary, path, replace, committed: false, sync, kept: true })
    }

    pub fn file(&self) -> &File {
        self.growing.file()
    }

    /// Starts over: the file is empty again.
    ///
    /// # Errors
    /// Those of the system.
    pub fn rewind(&mut self) -> Result<()> {
        self.growing.rewind()
    }

    /// As `GrowingFile::reserve`.
    ///
    /// # Errors
    /// `NoSpace`.
    pub fn reserve(&self, bytes: u64) -> Result<()> {
        self.growing.reserve(bytes)
    }

    /// One after another.
    ///
    /// # Errors
    /// `NoSpace` and those of the system.
    pub fn write_all(&mut self, bytes: &[u8]) -> Result<()> {
        self.growing.write_all(bytes)
    }

    /// # Errors
    /// `NoSpace` and those of the system.
    pub fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.file().write_all_at(bytes, offset).map_err(|error| self.growing.fault(&error))?;
        if self.sync {
            sys::start_writing_back(self.file(), offset, bytes.len() as u64);
        }
        Ok(())
    }

    /// Makes the file durable (if created so) and gives it its name.
    ///
    /// # Errors
    /// `AlreadyExists` when the name was taken meanwhile. After any error the name does not exist (or is the old
    /// file), but for one: when the folder cannot be synced, the whole file has its name and may lose it in a crash.
    pub fn commit(mut self) -> Result<()> {
        let sync = self.sync;
        self.growing.finish()?;
        if sync {
            // A failed fsync is final: the kernel may have dropped the pages, a second one would lie. So what was
            // written is not kept either: whoever went on with it would read it back out of memory.
            if let Err(error) = self.file().sync_all() {
                self.kept = false;
                return Err(self.growing.fault(&error));
            }
        }
        let folder = sync.then(|| OpenFolder::of(&self.path)).transpose()?;
        if self.temporary != self.path {
            rename(&self.temporary, &self.path, self.replace)?;
        }
        self.committed = true;
        folder.map_or(Ok(()), |folder| folder.sync())
    }
}

impl Drop for FileTarget {
    fn drop(&mut self) {
        if !self.committed && !self.kept {
            // Nothing can be done about a failure here; the name tells whose leftover it is.
            let _ = std::fs::remove_file(&self.temporary);
        }
    }
}

/// A folder that gets its name only by `commit`.
#[derive(Debug)]
pub struct FolderTarget {
    temporary: PathBuf,
    path: PathBuf,
    replace: bool,
    committed: bool,
    kept: bool,
}

impl FolderTarget {
    /// # Errors
    /// As `FileTarget::create`, but a folder may be replaced.
    pub fn create(path: &Path, replace: bool) -> Result<Self> {
        check_folder_free(path, replace)?;
        let temporary = temporary_name(path)?;
        let made = std::fs::create_dir(&temporary);
        made.map_err(|error| Error::io(folder_of(path).display().to_string(), &error))?;
        Ok(Self { temporary, path: path.to_owned(), replace, committed: false, kept: false })
    }

    /// As `FileTarget::resume`.
    ///
    /// # Errors
    /// As `create`.
    pub fn resume(content: &Path, path: &Path, replace: bool) -> Result<Self> {
        check_folder_free(path, replace)?;
        std::fs::create_dir_all(content).map_err(|error| Error::io(content.display().to_string(), &error))?;
        Ok(Self { temporary: content.to_owned(), path: path.to_owned(), replace, committed: false, kept: true })
    }

    /// Where the content is built.
    pub fn root(&self) -> &Path {
        &self.temporary
    }

    /// Syncs every folder below (files were synced by their writers) and renames.
    ///
    /// # Errors
    /// `AlreadyExists` when the name was taken meanwhile, and those of the system. When only the last steps fail (sync
    /// of the folder above, removal of what was replaced), the new content has its name.
    pub fn commit(mut self, sync: bool) -> Result<()> {
        if sync {
            sync_tree(&self.temporary)?;
        }
        let folder = sync.then(|| OpenFolder::of(&self.path)).transpose()?;
        let in_the_way = self.path.symlink_metadata().is_ok();
        if in_the_way && self.replace {
            let exchanged = rustix::fs::renameat_with(CWD, &self.temporary, CWD, &self.path, RenameFlags::EXCHANGE);
            exchanged.map_err(|error| Error::io(self.path.display().to_string(), &error.into()))?;
            if let Some(folder) = &folder {
                // Before the old content goes: a crash must not leave neither.
                folder.sync()?;
            }
            let old = &self.temporary;
            let removed = if old.is_dir() { std::fs::remove_dir_all(old) } else { std::fs::remove_file(old) };
            removed.map_err(|error| Error::io(old.display().to_string(), &error))?;
        } else {
            rename(&self.temporary, &self.path, false)?;
        }
        self.committed = true;
        folder.map_or(Ok(()), |folder| folder.sync())
    }
}

impl Drop for FolderTarget {
    fn drop(&mut self) {
        if !self.committed && !self.kept {
            let _ = std::fs::remove_dir_all(&self.temporary);
        }
    }
}

/// Bytes free for this user in the file system of `path`'s folder; `None` when it does not say.
pub fn free_bytes(path: &Path) -> Option<u64> {
    let status = rustix::fs::statvfs(folder_of(path)).ok()?;
    status.f_bavail.checked_mul(status.f_frsize)
}

fn check_free(path: &Path, replace: bool) -> Result<()> {
    match path.symlink_metadata() {
        Err(_) => Ok(()),
        Ok(metadata) if metadata.is_dir() => Err(Error::new(
            ErrorKind::InvalidArgument,
            path.display().to_string(),
            "is a folder; expected the name of a file to write",
        )),
        Ok(_) if !replace => Err(exists(path)),
        Ok(_) => Ok(()),
    }
}

fn check_folder_free(path: &Path, replace: bool) -> Result<()> {
    if path.symlink_metadata().is_ok() && !replace { Err(exists(path)) } else { Ok(()) }
}

/// Refuses early what `create` would refuse.
///
/// # Errors
/// As `FileTarget::create` or `FolderTarget::create`.
pub fn check_target(path: &Path, as_file: bool, replace: bool) -> Result<()> {
    if as_file { check_free(path, replace) } else { check_folder_free(path, replace) }
}

fn exists(path: &Path) -> Error {
    let detail = "exists already; choose another name or ask for it to be replaced (replace=True, --replace)";
    Error::new(ErrorKind::AlreadyExists, path.display().to_string(), detail)
}

pub(super) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// So much of the final name is in the temporary one, which may have 255 bytes in all.
const SHOWN_NAME_BYTES_MAX: usize = 120;

/// A name in the same folder, so that the rename stays inside one file system.
fn temporary_name(path: &Path) -> Result<PathBuf> {
    let name = shown_name(path)?;
    Ok(folder_of(path).join(format!(".{name}.{}.vark-tmp", uuid::Uuid::now_v7().simple())))
}

/// As much of a name as fits into another one.
pub(super) fn shown_name(path: &Path) -> Result<String> {
    let Some(name) = path.file_name() else {
        return Err(Error::new(ErrorKind::InvalidArgument, path.display().to_string(), "has no file name"));
    };
    let name = name.to_string_lossy();
    let shown = name.char_indices().take_while(|(at, letter)| at + letter.len_utf8() <= SHOWN_NAME_BYTES_MAX);
    Ok(shown.map(|(_, letter)| letter).collect())
}

fn rename(from: &Path, to: &Path, replace: bool) -> Result<()> {
    let place = || to.display().to_string();
    if replace {
        return std::fs::rename(from, to).map_err(|error| Error::io(place(), &error));
    }
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::EXIST) => Err(exists(to)),
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS | rustix::io::Errno::OPNOTSUPP) if from.is_file() => {
            // File systems without the flag: a hard link never replaces either.
            std::fs::hard_link(from, to).map_err(|error| match error.kind() {
                std::io::ErrorKind::AlreadyExists => exists(to),
                _ => Error::io(place(), &error),
            })?;
            std::fs::remove_file(from).map_err(|error| Error::io(place(), &error))
        }
        Err(error) => Err(Error::io(place(), &error.into())),
    }
}

/// The folder of a target, opened before the rename: one that cannot be opened is found while nothing has its name.
struct OpenFolder {
    file: File,
    place: String,
}

impl OpenFolder {
    fn of(path: &Path) -> Result<Self> {
        let place = folder_of(path).display().to_string();
        let file = File::open(folder_of(path)).map_err(|error| Error::io(&place, &error))?;
        Ok(Self { file, place })
    }

    fn sync(&self) -> Result<()> {
        match rustix::fs::fsync(&self.file) {
            // Some network file systems do not sync folders: what they can do has been done.
            Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOTSUP) => Ok(()),
            Err(error) => Err(Error::io(&self.place, &error.into())),
        }
    }
}

fn sync_tree(root: &Path) -> Result<()> {
    let fault = |error: std::io::Error| Error::io(root.display().to_string(), &error);
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).map_err(fault)? {
            let entry = entry.map_err(fault)?;
            if entry.file_type().map_err(fault)?.is_dir() {
                folders.push(entry.path());
            }
        }
        OpenFolder { file: File::open(&folder).map_err(fault)?, place: folder.display().to_string() }.sync()?;
    }
    Ok(())
}
