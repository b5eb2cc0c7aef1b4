//! What comes with a source: files that vanish, attachments that change, names and settings that do not fit.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use vark_core::error::{Error, ErrorKind, Result};
use vark_core::pipeline::pack::{Input, MemberInput, Output, PackOptions, StreamInput, pack};
use vark_core::pipeline::report::PackReport;
use vark_core::split::Layout;
use vark_core::store::ReadAt;
use vark_core::stream::{ElementType, StreamRole, StreamSpec};
use vark_core::testing::files::Folder;
use vark_core::testing::pack_options;

fn member(name: &str, input: Input) -> MemberInput {
    MemberInput { name: name.to_owned(), input, layout: Layout::Auto, facts: serde_json::Map::new() }
}

fn shared(bytes: Vec<u8>) -> Input {
    Input::Shared(Arc::new(bytes))
}

fn to_path(path: &Path) -> Output {
    Output::Path { path: path.to_owned(), replace: false, sync: true }
}

fn pack_file(path: &Path, members: &mut [MemberInput], options: &PackOptions) -> Result<PackReport> {
    pack(to_path(path), members, &mut [], options, &mut |_, _| Ok(()))
}

/// A source that must not be read.
struct Sealed;

impl ReadAt for Sealed {
    fn byte_count(&self) -> u64 {
        10
    }

    fn read_at(&self, _: u64, _: &mut [u8]) -> Result<()> {
        panic!("read before streams were checked")
    }
}

#[test]
fn a_file_that_is_gone_when_its_turn_comes_is_left_out_and_listed() {
    let folder = Folder::new();
    let gone = || member("gone", Input::File(folder.path("gone")));
    let report = pack_file(&folder.path("x.vark"), &mut [gone(), member("b", shared(vec![1]))], &pack_options());
    let report = report.unwrap();
    assert!(report.partial);
    assert_eq!(report.skipped.iter().map(|skipped| skipped.name.as_str()).collect::<Vec<_>>(), ["gone"]);
    let error = pack_file(&folder.path("y.vark"), &mut [gone()], &pack_options()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[test]
fn the_second_reading_for_a_digest_can_be_cancelled() {
    let mut calls = 0;
    let mut members = [member("a", shared(vec![4; 20 << 20]))];
    let options = PackOptions { digest_members: true, ..pack_options() };
    let pipe = Output::Pipe(Box::new(std::io::sink()));
    let cancelled = pack(pipe, &mut members, &mut [], &options, &mut |done, _| {
        calls += 1;
        if done == 0 && calls > 5 { Err(Error::new(ErrorKind::Cancelled, "", "enough")) } else { Ok(()) }
    });
    assert_eq!(cancelled.unwrap_err().kind(), ErrorKind::Cancelled);
}

#[test]
fn a_target_may_have_the_longest_name_of_any_letters() {
    let folder = Folder::new();
    let name = "\u{1F4E6}".repeat(63);
    pack_file(&folder.path(&name), &mut [member("a", shared(vec![1]))], &pack_options()).unwrap();
    assert_eq!(folder.names(), [name]);
}

#[test]
fn streams_and_metadata_are_checked_before_anything_is_read() {
    let folder = Folder::new();
    let refused = |names: &[&str], options: &PackOptions| {
        let unread = Input::Shared(Arc::new(Sealed));
        let attachment = |name: &&str| StreamSpec::bytes(*name, StreamRole::ATTACHMENT);
        let mut streams: Vec<StreamInput> =
            names.iter().map(|name| StreamInput { spec: attachment(name), input: shared(vec![2]) }).collect();
        let target = to_path(&folder.path("x"));
        pack(target, &mut [member("a", unread)], &mut streams, options, &mut |_, _| Ok(())).unwrap_err().kind()
    };
    for names in [["attachment/../x", "attachment/y"], ["attachment/x", "attachment/x"]] {
        assert_eq!(refused(&names, &pack_options()), ErrorKind::InvalidArgument, "{names:?}");
    }
    let names: Vec<String> = (0..300).map(|number| format!("attachment/{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    assert_eq!(refused(&names, &pack_options()), ErrorKind::LimitExceeded);
    let metadata = [("application".to_owned(), "x".repeat(8_192).into())].into_iter().collect();
    let options = PackOptions { metadata, ..pack_options() };
    assert_eq!(refused(&[], &options), ErrorKind::LimitExceeded);
}

#[test]
fn an_attachment_that_changes_is_read_again_and_then_partial() {
    let folder = Folder::new();
    let log = folder.path("log");
    let spec = StreamSpec::bytes("attachment/log", StreamRole::ATTACHMENT);
    let pack_with = |name: &str, changes: u32| {
        std::fs::write(&log, vec![1; 2_000_000]).unwrap();
        let mut streams = [StreamInput { spec: spec.clone(), input: Input::File(log.clone()) }];
        let mut left = changes;
        let mut members = [member("a", shared(vec![7; 10]))];
        pack(to_path(&folder.path(name)), &mut members, &mut streams, &pack_options(), &mut |done, _| {
            if done > 10 && left > 0 {
                left -= 1;
                // Longer, never shorter: a file that shrinks is an error of its own.
                std::fs::OpenOptions::new().append(true).open(&log).unwrap().write_all(&[2]).unwrap();
            }
            Ok(())
        })
    };
    assert!(!pack_with("once.vark", 1).unwrap().partial);
    let report = pack_with("always.vark", u32::MAX).unwrap();
    assert!(report.partial);
    assert_eq!(report.skipped.iter().map(|skipped| skipped.name.as_str()).collect::<Vec<_>>(), ["attachment/log"]);
}

#[test]
fn a_stream_input_must_be_whole_rows() {
    let folder = Folder::new();
    let spec = StreamSpec::new("s", StreamRole::VECTORS, ElementType::F32, 3);
    let pipe: Box<dyn std::io::Read + Send> = Box::new(std::io::Cursor::new(vec![1; 25]));
    for input in [shared(vec![1; 25]), Input::Pipe(Some(pipe))] {
        let mut streams = [StreamInput { spec: spec.clone(), input }];
        let packed = pack(to_path(&folder.path("x")), &mut [], &mut streams, &pack_options(), &mut |_, _| Ok(()));
        assert_eq!(packed.unwrap_err().kind(), ErrorKind::InvalidArgument);
    }
    assert_eq!(folder.names(), Vec::<String>::new());
}
