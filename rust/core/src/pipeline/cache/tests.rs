//! Files of the cache: what is read is what was written, or nothing.
#![expect(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "tests")]

use super::*;
use crate::digest::blake3;
use crate::testing::Random;
use crate::testing::files::Folder;

const WIDTH: usize = 12;

fn rows(count: u64, seed: u64) -> Vec<u8> {
    Random(seed).bytes(count * WIDTH as u64)
}

fn key(byte: u8) -> CacheKey {
    CacheKey { key: Secret::take(&mut [byte; 32]), suite: Suite::Aes256Gcm, repository: [3; 16] }
}

fn cache(folder: &Folder, key: Option<CacheKey>) -> ChunkCache {
    ChunkCache::open(&folder.path("cache"), key, 1 << 30).unwrap()
}

fn read(cache: &ChunkCache, rows: &[u8]) -> bool {
    let mut out = vec![7; rows.len()];
    let is_read = cache.read(&blake3(rows), &mut out);
    assert!(!is_read || out == rows, "other rows than those of the digest");
    is_read
}

/// `rows` with some changed and some added, and how it differs.
fn changed(rows: &[u8], places: &[u32], added: u64, seed: u64) -> (Vec<u8>, Patch) {
    let mut random = Random(seed);
    let mut new = rows.to_vec();
    for place in places {
        let start = *place as usize * WIDTH;
        new[start..start + WIDTH].copy_from_slice(&random.bytes(WIDTH as u64));
    }
    let count = (rows.len() / WIDTH) as u32;
    new.extend(random.bytes(added * WIDTH as u64));
    let places: Vec<u32> = places.iter().copied().chain(count..count + added as u32).collect();
    let row = |place: &u32| new[*place as usize * WIDTH..][..WIDTH].to_vec();
    let changes = Changes { rows: places.iter().flat_map(row).collect(), places, keys: Vec::new() };
    let patch = Patch { base: blake3(rows), base_bytes: rows.len() as u64, changes: Arc::new(changes) };
    (new, patch)
}

fn names(folder: &Folder) -> Vec<String> {
    let entries = std::fs::read_dir(folder.path("cache")).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn chunks_come_back_whole_and_through_patches_sealed_or_not() {
    for sealed in [false, true] {
        let folder = Folder::new();
        let cache = cache(&folder, sealed.then(|| key(1)));
        // More than one sealed piece.
        let mut now = rows(100_000, 5);
        assert!(!read(&cache, &now));
        cache.write(&blake3(&now), &now, None);
        assert!(read(&cache, &now));
        for day in 0..5 {
            let (new, patch) =
                changed(&now, &[0, 17, 4_000 + day, 99_000], u64::from(day % 2) * 3, 90 + u64::from(day));
            cache.write(&blake3(&new), &new, Some(&patch));
            assert!(read(&cache, &new) && read(&cache, &now));
            now = new;
        }
        assert_eq!(cache.tally(), CacheTally { chunks_read: 11, chunks_written: 6 });
        let files = cache.files.list();
        assert_eq!(files.len(), 6);
        assert!(files.iter().filter(|file| file.bytes > 10_000).count() == 1, "patches are short");
    }
}

#[test]
fn patches_end_in_a_whole_chunk_and_what_nobody_wants_goes() {
    let folder = Folder::new();
    let first = rows(1_000, 5);
    cache(&folder, None).write(&blake3(&first), &first, None);
    let mut now = first.clone();
    let mut most = 0;
    for day in 0..40u32 {
        let cache = cache(&folder, None);
        let (new, patch) = changed(&now, &[day, 500 + day], 0, 90 + u64::from(day));
        assert!(read(&cache, &now));
        cache.write(&blake3(&new), &new, Some(&patch));
        // The first one goes on: rows are coded against it.
        cache.want(&blake3(&first));
        cache.want(&blake3(&new));
        cache.outdate(&blake3(&now));
        cache.tidy();
        assert!(read(&cache, &new) && read(&cache, &first));
        most = most.max(names(&folder).len());
        now = new;
    }
    assert!((10..=PATCHES_MAX + 2).contains(&most), "{most} files");
    // A patch with most of the rows is none.
    let places: Vec<u32> = (0..950).collect();
    let cache = cache(&folder, None);
    let (new, patch) = changed(&now, &places, 0, 7);
    cache.write(&blake3(&new), &new, Some(&patch));
    assert!(read(&cache, &new));
    assert!(cache.files.open(cache.files.name(&blake3(&new)), new.len() as u64).unwrap().1.base().is_none());
}

#[test]
fn no_changed_byte_gives_other_rows_and_the_chunk_can_be_written_again() {
    for sealed in [false, true] {
        let folder = Folder::new();
        let cache = cache(&folder, sealed.then(|| key(1)));
        let old = rows(40, 5);
        let (new, patch) = changed(&old, &[3, 9], 2, 8);
        cache.write(&blake3(&old), &old, None);
        cache.write(&blake3(&new), &new, Some(&patch));
        let paths = [&new, &old].map(|rows| folder.path("cache").join(name_of(&cache, rows)));
        let contents = paths.each_ref().map(|path| std::fs::read(path).unwrap());
        let put_back = || paths.iter().zip(&contents).for_each(|(path, bytes)| std::fs::write(path, bytes).unwrap());
        for (path, bytes) in paths.iter().zip(&contents) {
            for at in 0..bytes.len() {
                let mut bad = bytes.clone();
                bad[at] ^= 1 << (at % 8);
                std::fs::write(path, &bad).unwrap();
                let is_read = read(&cache, &new);
                // Some bytes say nothing: the salt of a file that is not sealed, a row that a patch replaces.
                assert!(!is_read || !sealed || at < 144, "byte {at}");
                put_back();
            }
            for length in [0, 1, 143, 144, bytes.len() - 1] {
                std::fs::write(path, &bytes[..length]).unwrap();
                assert!(!read(&cache, &new));
                put_back();
            }
            std::fs::write(path, [bytes.as_slice(), &[0]].concat()).unwrap();
            assert!(!read(&cache, &new));
            put_back();
        }
        // The rows of one file under the name of another.
        std::fs::copy(&paths[1], &paths[0]).unwrap();
        assert!(!read(&cache, &new));
        let anew = self::cache(&folder, sealed.then(|| key(1)));
        anew.write(&blake3(&new), &new, Some(&patch));
        assert!(read(&anew, &new));
    }
}

fn name_of(cache: &ChunkCache, rows: &[u8]) -> String {
    format!("{}.rows", crate::seal::hex(&cache.files.name(&blake3(rows))))
}

#[test]
fn a_chain_that_runs_in_circles_ends() {
    let folder = Folder::new();
    let cache = cache(&folder, None);
    let old = rows(40, 5);
    let (new, patch) = changed(&old, &[3], 0, 8);
    cache.write(&blake3(&old), &old, None);
    cache.write(&blake3(&new), &new, Some(&patch));
    let back = Patch { base: blake3(&new), base_bytes: new.len() as u64, changes: patch.changes.clone() };
    cache.files.write(blake3(&old), old.len() as u64, &Content::Patch(&back, blake3(&new))).unwrap();
    assert!(!read(&cache, &new) && !read(&cache, &old));
    cache.outdate(&blake3(&new));
    cache.tidy();
    assert!(names(&folder).is_empty());
}

#[test]
fn a_sealed_cache_shows_neither_rows_nor_digests_and_opens_with_its_key_alone() {
    let folder = Folder::new();
    let sealed = cache(&folder, Some(key(1)));
    let old = rows(400, 5);
    let (new, patch) = changed(&old, &[3, 9], 0, 8);
    sealed.write(&blake3(&old), &old, None);
    sealed.write(&blake3(&new), &new, Some(&patch));
    for file in sealed.files.list() {
        let bytes = std::fs::read(&file.path).unwrap();
        for rows in [&old, &new] {
            let digest = blake3(rows);
            assert!(!file.path.to_string_lossy().contains(&crate::seal::hex(&digest)));
            assert!(!bytes.windows(32).any(|window| window == digest));
            assert!(!bytes.windows(WIDTH).any(|window| rows.chunks(WIDTH).any(|row| row == window)));
        }
    }
    assert!(!read(&cache(&folder, None), &old) && !read(&cache(&folder, Some(key(2))), &old));
    let elsewhere = CacheKey { repository: [4; 16], ..key(1) };
    assert!(!read(&cache(&folder, Some(elsewhere)), &old));
    sealed.write(&blake3(&old), &old, None);
    assert!(read(&cache(&folder, Some(key(1))), &old));
}

#[test]
fn room_is_kept_and_files_of_others_are_left_alone() {
    let folder = Folder::new();
    let small = ChunkCache::open(&folder.path("cache"), None, 10_000).unwrap();
    std::fs::write(folder.path("cache").join("notes.txt"), vec![0; 50_000]).unwrap();
    let chunks: Vec<Vec<u8>> = (0..6).map(|seed| rows(150, seed + 1)).collect();
    chunks.iter().for_each(|rows| small.write(&blake3(rows), rows, None));
    // Half of the room: two of 1,800 bytes and what surrounds them, and of those the first.
    assert!(chunks.iter().map(|rows| read(&small, rows)).eq([true, true, false, false, false, false]));
    for rows in &chunks[2..] {
        let other = ChunkCache::open(&folder.path("cache"), None, 10_000).unwrap();
        other.write(&blake3(rows), rows, None);
    }
    let day = SystemTime::now() - Duration::from_secs(2 * 24 * 60 * 60);
    let interrupted = folder.path("cache").join(".1.rows-tmp");
    for (path, age) in [(&interrupted, day), (&folder.path("cache").join(".2.rows-tmp"), SystemTime::now())] {
        std::fs::File::create(path).unwrap().set_modified(age).unwrap();
    }
    std::fs::File::open(folder.path("cache").join(name_of(&small, &chunks[0]))).unwrap().set_modified(day).unwrap();
    small.tidy();
    let total: u64 = small.files.list().iter().map(|file| file.bytes).sum();
    assert!(total <= 10_000 && total > 5_000, "{total}");
    assert!(!read(&small, &chunks[0]), "the oldest went");
    assert!(names(&folder).contains(&"notes.txt".to_owned()) && names(&folder).contains(&".2.rows-tmp".to_owned()));
    assert!(!interrupted.exists());
}

#[test]
fn what_is_no_file_is_not_waited_for_and_a_folder_that_cannot_be_written_harms_nothing() {
    let folder = Folder::new();
    let cache = cache(&folder, None);
    let old = rows(40, 5);
    let path = folder.path("cache").join(name_of(&cache, &old));
    std::fs::create_dir(&path).unwrap();
    assert!(!read(&cache, &old));
    cache.write(&blake3(&old), &old, None);
    std::fs::remove_dir(&path).unwrap();
    std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
    assert!(!read(&cache, &old));
    std::fs::remove_file(&path).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    assert!(!read(&cache, &old));
    std::fs::remove_dir_all(folder.path("cache")).unwrap();
    cache.write(&blake3(&old), &old, None);
    cache.tidy();
    assert!(!read(&cache, &old));
    std::fs::write(folder.path("file"), b"").unwrap();
    assert!(ChunkCache::open(&folder.path("file"), None, 1).is_err());
}
