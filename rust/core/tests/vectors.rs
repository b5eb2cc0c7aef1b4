//! Every vector of the specification through opening, verification and restoring; each fault must be refused by the
//! layer that `vectors.json` names.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use vark_core::archive::Archive;
use vark_core::digest::blake3;
use vark_core::error::{Error, ErrorKind, Layer, Result};
use vark_core::pipeline::id_index::{find, has_index};
use vark_core::pipeline::open::{Places, open_archive};
use vark_core::pipeline::restore::{plan_of, restore, write_member};
use vark_core::pipeline::rows::{ReadState, RowReader};
use vark_core::pipeline::verify::{Level, Scope, verify_opened};
use vark_core::pipeline::view::{MemberView, read_plan};
use vark_core::testing::restore_options;

fn vectors() -> (PathBuf, Vec<Value>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../spec/vectors");
    let text = std::fs::read_to_string(folder.join("vectors.json")).unwrap();
    (folder, serde_json::from_str(&text).unwrap())
}

fn path_of(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.vark"))
}

/// Ancestors lie beside the vectors under their ids.
fn open_path(path: &Path) -> Result<Archive> {
    open_archive(&[path.to_owned().into()], &Places::new()).map(|(archive, _)| archive)
}

fn open(path: &Path) -> Result<Arc<RowReader>> {
    Ok(Arc::new(RowReader::new(open_path(path)?, 1 << 20)))
}

/// The first refusal of a reader that opens, checks the plan and every member, and reads every row.
fn refusal(path: &Path) -> Option<Error> {
    let read = || -> Result<()> {
        let reader = open(path)?;
        for member in read_plan(&reader)?.map(|plan| plan.members).unwrap_or_default() {
            MemberView::new(&reader, &member, &mut || Ok(()))?;
        }
        let mut state = ReadState::default();
        for (number, stream) in reader.archive().streams().iter().enumerate() {
            for chunk in 0..stream.chunk_count {
                let mut rows = vec![0; usize::try_from(stream.chunk_bytes(chunk)).unwrap()];
                reader.read_chunk(&mut state, number, chunk, &mut rows)?;
            }
        }
        Ok(())
    };
    read().err()
}

fn layers_of_verification(path: &Path) -> BTreeSet<&'static str> {
    let archive_bytes = std::fs::metadata(path).unwrap().len();
    match verify_opened(open_path(path), archive_bytes, Level::Full, Scope::WithAncestors, 2, &mut |_, _| Ok(())) {
        Ok(report) => report.damage.iter().map(|damage| damage.layer).collect(),
        Err(error) => BTreeSet::from([layer_of(&error)]),
    }
}

/// What is no archive at all is refused by the check for the trailer.
fn layer_of(error: &Error) -> &'static str {
    match error.kind() {
        ErrorKind::NotAnArchive => "trailer",
        _ => error.layer().map_or("none", vark_core::error::Layer::name),
    }
}

#[test]
fn every_faulty_vector_is_refused_by_its_layer() {
    let (folder, vectors) = vectors();
    let mut wrong = Vec::new();
    let mut count = 0;
    for vector in vectors.iter().filter(|vector| vector["expect"] != "ok") {
        let (name, expected) = (vector["name"].as_str().unwrap(), vector["expect"].as_str().unwrap());
        let path = path_of(&folder, name);
        let refused = refusal(&path).map(|error| layer_of(&error).to_owned());
        if vector["stage"] != "verify" && refused.as_deref() != Some(expected) {
            wrong.push(format!("{name}: reading gives {refused:?}, expected {expected}"));
        }
        let found = layers_of_verification(&path);
        if !found.contains(expected) {
            wrong.push(format!("{name}: verification gives {found:?}, expected {expected}"));
        }
        count += 1;
    }
    println!("{count} faulty vectors");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_whole_vector_gives_its_rows_and_members() {
    let (folder, vectors) = vectors();
    let target = std::env::temp_dir().join(format!("vark-vectors-{}", std::process::id()));
    for vector in vectors.iter().filter(|vector| vector["expect"] == "ok") {
        let name = vector["name"].as_str().unwrap();
        let path = path_of(&folder, name);
        let lies = vector["ids"]["lies"] == true;
        let layers = if lies { BTreeSet::from(["codec"]) } else { BTreeSet::new() };
        assert_eq!(layers_of_verification(&path), layers, "{name}");
        let reader = open(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut state = ReadState::default();
        for (number, stream) in vector["streams"].as_array().unwrap().iter().enumerate() {
            let description = &reader.archive().streams()[number];
            assert_eq!(description.name, stream["name"].as_str().unwrap(), "{name}");
            assert_eq!(description.element_type.name(), stream["element_type"].as_str().unwrap(), "{name}");
            assert_eq!(description.row_count, stream["row_count"].as_u64().unwrap(), "{name}");
            let mut rows = vec![0; usize::try_from(description.raw_bytes()).unwrap()];
            reader.read_rows(&mut state, number, 0, &mut rows).unwrap();
            assert_eq!(hex(&rows), stream["blake3"].as_str().unwrap(), "{name}, {}", description.name);
        }
        let Some(members) = vector["members"].as_array() else { continue };
        assert_eq!(plan_of(&reader).unwrap().members.len(), members.len(), "{name}");
        for (number, member) in members.iter().enumerate() {
            let mut written = Vec::new();
            write_member(&reader, number, &mut written, &restore_options(), &mut |_, _| Ok(())).unwrap();
            assert_eq!(hex(&written), member["blake3"].as_str().unwrap(), "{name}");
        }
        restore(&reader, &target, None, &restore_options(), &mut |_, _| Ok(())).unwrap();
        if target.is_dir() {
            for member in members {
                let found = std::fs::read(target.join(member["name"].as_str().unwrap())).unwrap();
                assert_eq!(hex(&found), member["blake3"].as_str().unwrap(), "{name}");
            }
            for folder in vector["folders"].as_array().unwrap() {
                assert!(target.join(folder.as_str().unwrap()).is_dir(), "{name}");
            }
            std::fs::remove_dir_all(&target).unwrap();
        } else {
            assert_eq!(hex(&std::fs::read(&target).unwrap()), members[0]["blake3"].as_str().unwrap(), "{name}");
            std::fs::remove_file(&target).unwrap();
        }
    }
}

#[test]
fn ids_are_found_in_their_rows_and_an_index_that_lies_is_refused() {
    let (folder, vectors) = vectors();
    let mut count = 0;
    for vector in vectors.iter().filter(|vector| vector["ids"].is_object()) {
        let name = vector["name"].as_str().unwrap();
        let reader = open(&path_of(&folder, name)).unwrap();
        let stream = reader.archive().stream_index(vector["ids"]["stream"].as_str().unwrap()).unwrap();
        let key = |id: &Value| id.as_u64().unwrap_or_else(|| id.as_i64().unwrap().cast_unsigned());
        let look_up = |id: &Value| find(&reader, stream, &[key(id)]);
        assert_eq!(has_index(&reader, stream), name != "id-index-none", "{name}");
        for pair in vector["ids"]["found"].as_array().unwrap() {
            let rows: Vec<u64> = pair[1].as_array().unwrap().iter().map(|row| row.as_u64().unwrap()).collect();
            let Some(found) = look_up(&pair[0]).unwrap() else { continue };
            assert_eq!(found.iter().map(|found| found.1).collect::<Vec<_>>(), rows, "{name}, {}", pair[0]);
        }
        for id in vector["ids"]["refused"].as_array().unwrap() {
            let refused = look_up(id).unwrap_err();
            assert_eq!(refused.layer(), Some(Layer::Codec), "{name}, {id}: {refused}");
        }
        count += 1;
    }
    assert!(count > 20, "{count}");
}

fn hex(bytes: &[u8]) -> String {
    blake3(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
