//! What the end-to-end tests share: folders that vanish, handmade index files, archives in memory.

use super::{Random, Shared};
use crate::archive::Archive;
use crate::error::Result;
use crate::pipeline::pack::{MemberInput, Output, PackOptions, pack};
use crate::pipeline::rows::RowReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// A folder of its own that is removed at the end.
pub struct Folder(PathBuf);

impl Default for Folder {
    fn default() -> Self {
        Self::new()
    }
}

impl Folder {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("vark-test-{}-{number}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// All names in it, hidden ones too.
    pub fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.0).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub fn indexes() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/indexes")
}

pub fn open(bytes: &[u8]) -> Arc<RowReader> {
    Arc::new(RowReader::new(Archive::open(Arc::new(bytes.to_vec())).unwrap(), 8 << 20))
}

/// # Errors
/// Those of `pack`.
pub fn pack_to(members: &mut [MemberInput], options: &PackOptions) -> Result<Vec<u8>> {
    let shared = Shared::default();
    pack(Output::Pipe(Box::new(shared.clone())), members, &mut [], options, &mut |_, _| Ok(()))?;
    let bytes = std::mem::take(&mut *shared.0.lock().unwrap());
    Ok(bytes)
}

/// Files below `root` by relative path, sorted.
pub fn restored_files(root: &Path) -> Vec<(String, Vec<u8>)> {
    if root.is_file() {
        return vec![(String::new(), std::fs::read(root).unwrap())];
    }
    let mut files = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
                files.push((name, std::fs::read(path).unwrap()));
            }
        }
    }
    files.sort();
    files
}

/// A `.npy` file of f32 rows.
pub fn npy(random: &mut Random, rows: u64, width: u64) -> Vec<u8> {
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {width}), }}").into_bytes();
    header.resize((header.len() + 11).next_multiple_of(64) - 11, b' ');
    header.push(b'\n');
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend(u16::try_from(header.len()).unwrap().to_le_bytes());
    file.extend(header);
    file.extend(floats(random, rows * width));
    file
}

/// An hnswlib file: `width` f32 a vector, `degree` links above level 0, up to `levels` upper levels.
pub fn hnswlib(random: &mut Random, count: u64, degree: u64, width: u64, levels: u64) -> Vec<u8> {
    let links = 4 + 8 * degree;
    let label = links + 4 * width;
    let mut file = Vec::new();
    for number in [0, count + 5, count, label + 8, label, links] {
        file.extend(number.to_le_bytes());
    }
    file.extend([0u32, 0].iter().flat_map(|number| number.to_le_bytes()));
    for number in [degree, 2 * degree, degree] {
        file.extend(number.to_le_bytes());
    }
    file.extend(1.0f64.to_le_bytes());
    file.extend(200u64.to_le_bytes());
    for element in 0..count {
        let used = random.below((2 * degree).min(60) + 1);
        file.extend(u32::try_from(used).unwrap().to_le_bytes());
        for slot in 0..2 * degree {
            let link = if slot < used { random.below(count) } else { 0 };
            file.extend(u32::try_from(link).unwrap().to_le_bytes());
        }
        file.extend(floats(random, width));
        file.extend((element * 3 + 1).to_le_bytes());
    }
    for _ in 0..count {
        let upper = if random.below(4) == 0 { random.below(levels + 1) } else { 0 };
        let length = upper * (4 + 4 * degree);
        file.extend(u32::try_from(length).unwrap().to_le_bytes());
        file.extend((0..length).map(|byte| byte.to_le_bytes()[0]));
    }
    file
}

fn floats(random: &mut Random, count: u64) -> Vec<u8> {
    (0..count).flat_map(|_| (0x3F00_0000u32 | u32::try_from(random.below(1 << 23)).unwrap()).to_le_bytes()).collect()
}
