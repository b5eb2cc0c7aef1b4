//! What the parsers make of well-formed files, and of files that are not what they seem.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod split_support;

use split_support::{execute, fixture, fixtures, plan};
use vark_core::error::{ErrorKind, Result};
use vark_core::plan::{Field, FieldRows, Run};
use vark_core::split::{CountsSpec, FieldSpec, FileTape, Layout, Tape, check_faiss, check_hnswlib, parse, plan_file};
use vark_core::stream::StreamSpec;

#[test]
fn every_fixture_is_split_and_its_runs_tile_it() {
    for (name, bytes) in fixtures() {
        let (member, streams) = plan(&bytes);
        assert_ne!(member.layout, "opaque", "{name}: {:?}", member.warning);
        assert_eq!(member.warning, None);
        execute(&bytes, &member, &streams);
    }
}

#[test]
fn fit_indexes_pass_the_check_and_incomplete_ones_do_not() {
    for (name, bytes) in fixtures() {
        let checked = match name.rsplit('.').next() {
            Some("faiss") => check_faiss(&bytes),
            Some("hnsw") => check_hnswlib(&bytes),
            _ => continue,
        };
        let expected = match name.as_str() {
            "ivf_on_disk.faiss" => Some(ErrorKind::Unsupported),
            "ivf_no_lists.faiss" | "no_storage.faiss" => Some(ErrorKind::Malformed),
            _ if restored_only(&name) => Some(ErrorKind::Unsupported),
            _ => None,
        };
        assert_eq!(checked.map_err(|error| error.kind()).err(), expected, "{name}");
    }
}

/// Kinds that are split, and that no check vouches for.
fn restored_only(name: &str) -> bool {
    ["binary_", "refine", "rabitq", "ivf_rabitq", "pq_fast", "ivf_pq_fast", "nsg"]
        .iter()
        .any(|kind| name.starts_with(kind))
}

/// Layouts whose sizes stand behind what they measure: only a file can be split.
fn looks_ahead(name: &str) -> bool {
    ["usearch", "diskann", "nsg", "ivf_pq_fast", "ivf_rabitq_fast", "refine_fast"]
        .iter()
        .any(|kind| name.starts_with(kind))
}

#[test]
fn a_flat_index_is_a_header_and_vectors() {
    let (member, streams) = plan(&fixture("flat_12.faiss"));
    assert_eq!(member.layout, "faiss/IxF2");
    let runs = [
        Run::Rows { stream: "literal".into(), first: 0, rows: 45 },
        Run::Rows { stream: "vectors".into(), first: 0, rows: 12 },
    ];
    assert_eq!(member.runs, runs);
    assert_eq!((streams[1].spec.row_elements, streams[1].row_count), (4, 12));
    assert_eq!(member.facts["d"], 4);
    assert_eq!(member.facts["ntotal"], 12);
    assert_eq!(member.facts["metric"], "l2");
}

#[test]
fn an_empty_index_has_its_streams_without_rows() {
    let (member, streams) = plan(&fixture("flat_0.faiss"));
    assert_eq!(member.runs.len(), 1);
    assert_eq!((streams[1].spec.name.as_str(), streams[1].row_count), ("vectors", 0));
}

#[test]
fn a_graph_keeps_links_by_level_and_derives_its_offsets() {
    let (member, streams) = plan(&fixture("hnsw_flat_12.faiss"));
    assert_eq!(member.facts["tree"], "IHNf(IxF2)");
    let names: Vec<&str> = streams.iter().map(|stream| stream.spec.name.as_str()).collect();
    assert_eq!(names, ["literal", "levels", "links.level0", "links.upper", "vectors"]);
    let kinds: Vec<&str> = member.runs.iter().map(kind).collect();
    assert_eq!(kinds, ["rows", "rows", "rows", "derived", "rows", "groups", "rows", "rows"]);
}

fn kind(run: &Run) -> &'static str {
    match run {
        Run::Rows { .. } => "rows",
        Run::Groups { .. } => "groups",
        Run::Derived { .. } => "derived",
    }
}

#[test]
fn offsets_that_differ_are_kept_as_rows() {
    let mut bytes = fixture("hnsw_flat_12.faiss");
    let offsets = split_support::offset_of(&bytes, "levels") + 12 * 4 + 8;
    bytes[offsets + 8] ^= 1;
    let (member, streams) = plan(&bytes);
    assert!(streams.iter().any(|stream| stream.spec.name == "offsets" && stream.row_count == 13));
    execute(&bytes, &member, &streams);
    assert_eq!(check_faiss(&bytes).unwrap_err().kind(), ErrorKind::Malformed);
}

#[test]
fn lists_are_groups_of_vectors_and_ids() {
    for (name, sparse) in [("ivf_flat_12.faiss", false), ("ivf_sparse.faiss", true)] {
        let bytes = fixture(name);
        let (member, streams) = plan(&bytes);
        let Some(Run::Groups { fields, counts: Some(counts), .. }) = member.runs.last() else { panic!("no groups") };
        let field = |stream: &str| Field { stream: stream.into(), first: 0, rows: FieldRows::COUNTED };
        assert_eq!(*fields, [field("vectors"), field("ids")]);
        assert_eq!((counts.stream.as_str(), counts.offset), ("list_sizes", if sparse { 8 } else { 0 }));
        assert!(streams.iter().any(|stream| stream.spec.name == "quantizer.vectors"));
        assert!(execute(&bytes, &member, &streams)["ids"].len() >= 24);
    }
}

#[test]
fn wrappers_share_names_and_the_outermost_facts_win() {
    let (member, streams) = plan(&fixture("nested.faiss"));
    assert_eq!(member.facts["tree"], "IxMp(IxPT(Pcam,VNrm,IwFl(IxF2)))");
    assert_eq!(member.facts["d"], 4);
    assert_eq!(member.facts["transforms"], "Pcam,VNrm");
    for name in ["transform.0.A", "quantizer.vectors", "vectors", "ids", "id_map"] {
        assert!(streams.iter().any(|stream| stream.spec.name == name), "{name}");
    }
}

#[test]
fn lists_in_another_file_are_named() {
    let (member, _) = plan(&fixture("ivf_on_disk.faiss"));
    assert_eq!(member.facts["ondisk_data"], "lists.ivfdata");
}

#[test]
fn hnswlib_elements_are_groups_and_upper_lists_count_themselves() {
    let (member, streams) = plan(&fixture("hnswlib_12_of_20.hnsw"));
    let names: Vec<&str> = streams.iter().map(|stream| stream.spec.name.as_str()).collect();
    assert_eq!(names, ["literal", "links.level0", "vectors", "labels", "links.lengths", "links.upper"]);
    let Some(Run::Groups { counts: Some(counts), .. }) = member.runs.last() else { panic!("no counted groups") };
    assert_eq!((counts.stream.as_str(), counts.divide), ("links.lengths", 12));
    assert_eq!((&member.facts["d"], &member.facts["max_elements"]), (&4.into(), &20.into()));
}

fn shapes(name: &str) -> Vec<(String, u32, u64)> {
    let (_, streams) = plan(&fixture(name));
    streams.into_iter().map(|found| (found.spec.name, found.spec.row_elements, found.row_count)).collect()
}

#[test]
fn usearch_nodes_are_groups_counted_by_the_levels_before_them() {
    let (member, streams) = plan(&fixture("usearch_removed.usearch"));
    let names: Vec<&str> = streams.iter().map(|stream| stream.spec.name.as_str()).collect();
    assert_eq!(names, ["literal", "vectors", "levels", "keys", "levels.nodes", "links.level0", "links.upper"]);
    assert_eq!((&member.facts["ntotal"], &member.facts["deleted"]), (&26.into(), &10.into()));
    let Some(Run::Groups { counts: Some(counts), groups: 36, .. }) = member.runs.last() else { panic!("no groups") };
    assert_eq!((counts.stream.as_str(), counts.bytes), ("levels", 2));
    assert_eq!(shapes("usearch_b1.usearch")[1], ("vectors".into(), 1, 12));
    assert_eq!(shapes("usearch_0.usearch")[1], ("vectors".into(), 4, 0));
}

#[test]
fn disk_nodes_are_split_into_fields_where_a_group_can_name_them() {
    let named = |name: &str| -> Vec<String> { shapes(name).into_iter().skip(1).map(|shape| shape.0).collect() };
    assert_eq!(named("diskann_one_node.index"), ["vectors", "links", "padding"]);
    assert_eq!(named("diskann_two_nodes_a_block.index"), ["vectors", "links", "vectors.2", "links.2", "padding"]);
    assert_eq!(named("diskann_many_nodes_a_block.index"), ["nodes", "padding"]);
    let (member, streams) = plan(&fixture("diskann_bytes.index"));
    assert_eq!(member.facts["dtype"], "u8");
    assert_eq!((streams[1].spec.row_elements, streams[1].row_count), (52, 78));
}

#[test]
fn blocked_codes_are_rows_of_whole_blocks() {
    assert_eq!(shapes("pq_fast.faiss").last().unwrap(), &("codes".into(), 32, 1));
    assert!(
        shapes("ivf_pq_fast.faiss").iter().any(|(name, width, bytes)| name == "lists" && *width == 1 && *bytes > 96)
    );
    let names: Vec<String> = shapes("refine_fast.faiss").into_iter().map(|shape| shape.0).collect();
    assert_eq!(names, ["literal", "quantizer.vectors", "codebook", "lists", "refine.vectors"]);
}

#[test]
fn binary_vectors_and_rabitq_codes_are_rows_of_bytes() {
    assert_eq!(shapes("binary_flat_12.faiss")[1], ("vectors".into(), 2, 12));
    assert_eq!(shapes("binary_hnsw_12.faiss").last().unwrap(), &("vectors".into(), 2, 12));
    assert_eq!(shapes("binary_ivf_12.faiss").iter().filter(|shape| shape.2 == 12).count(), 2);
    let (name, _, rows) = shapes("rabitq.faiss")[1].clone();
    assert_eq!((name.as_str(), rows), ("codes", 12));
}

#[test]
fn what_the_end_of_a_list_does_not_show_stays_opaque() {
    let mut bytes = fixture("ivf_pq_fast.faiss");
    let lists = split_support::offset_of(&bytes, "lists");
    bytes[lists] ^= 0x40;
    assert_eq!(plan(&bytes).0.layout, "opaque");
    let mut bytes = fixture("diskann_two_nodes_a_block.index");
    // The degree of the first node, behind 400 numbers.
    bytes[4096 + 1600] = 0;
    assert_eq!(plan(&bytes).0.layout, "opaque");
    let mut bytes = fixture("usearch_2.usearch");
    // Two vectors of 16 bytes, then the major version.
    bytes[8 + 32 + 7] = 3;
    assert!(plan(&bytes).0.warning.is_some_and(|text| text.contains("expected usearch 2.x")));
}

#[test]
fn arrays_become_vectors_ids_or_plain_rows() {
    let shape = |name: &str| {
        let (_, streams) = plan(&fixture(name));
        streams.last().map(|stream| (stream.spec.name.clone(), stream.spec.row_elements, stream.row_count)).unwrap()
    };
    assert_eq!(shape("f4.npy"), ("vectors".into(), 4, 3));
    assert_eq!(shape("i8_v3.npy"), ("ids".into(), 1, 4));
    assert_eq!(shape("u1_3d.npy"), ("vectors".into(), 12, 2));
    assert_eq!(shape("text.npy"), ("rows".into(), 3, 2));
    assert_eq!(shape("no_rows.npy"), ("vectors".into(), 3, 0));
    assert_eq!(shape("no_columns.npy").0, "literal");
}

fn npy(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend(u16::try_from(header.len()).unwrap().to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.resize(bytes.len() + data, 7);
    bytes
}

#[test]
fn array_headers_are_read_strictly() {
    let good = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }  \n";
    assert_eq!(plan(&npy(good, 24)).0.layout, "npy");
    assert_eq!(plan(&npy("{'shape':(2L,),'descr':'<i8','fortran_order':False}\n", 16)).0.layout, "npy");
    for (header, data) in [
        (good, 23),
        (good, 25),
        ("{'descr': '>f4', 'fortran_order': False, 'shape': (2, 3), }\n", 24),
        ("{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3), }\n", 24),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (), }\n", 4),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (6), }\n", 24),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (2, -3), }\n", 24),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (18446744073709551615, 3), }\n", 24),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,), }\n", 24),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), 'x': 1}\n", 24),
        ("{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (2, 3)}\n", 24),
        ("{'descr': __import__('os'), 'fortran_order': False, 'shape': (2, 3)}\n", 24),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3)}", 24),
        ("", 24),
    ] {
        let (member, _) = plan(&npy(header, data));
        assert_eq!(member.layout, "opaque", "{header}");
        assert!(member.warning.is_some());
    }
}

#[test]
fn bytes_nobody_knows_are_opaque_without_a_warning() {
    for bytes in [b"".to_vec(), b"x".to_vec(), vec![0; 500], b"PK\x03\x04 and so on".to_vec()] {
        let (member, streams) = plan(&bytes);
        assert_eq!((member.layout.as_str(), member.warning.as_deref()), ("opaque", None));
        execute(&bytes, &member, &streams);
    }
}

#[test]
fn a_file_that_goes_on_after_its_end_is_opaque_with_a_warning() {
    for (name, mut bytes) in fixtures() {
        bytes.push(0);
        let (member, streams) = plan(&bytes);
        assert_eq!(member.layout, "opaque", "{name}");
        assert!(member.warning.as_ref().is_some_and(|text| text.contains("opaque") && text.contains("byte")), "{name}");
        execute(&bytes, &member, &streams);
    }
}

#[test]
fn kinds_that_are_not_split_are_named_in_the_warning() {
    let (member, _) = plan(&[b"IxLa".as_slice(), &[0; 200]].concat());
    assert!(member.warning.is_some_and(|text| text.contains("IxLa")));
}

#[test]
fn a_layout_that_the_caller_names_wins_over_detection() {
    let bytes = fixture("flat_12.faiss");
    let (member, _) = plan_file(&bytes, "m", Layout::Opaque).unwrap();
    assert_eq!((member.layout.as_str(), member.warning), ("opaque", None));
    for layout in [Layout::Hnswlib, Layout::Npy] {
        let (member, _) = plan_file(&bytes, "m", layout).unwrap();
        assert_eq!(member.layout, "opaque");
        assert!(member.warning.is_some());
    }
    assert_eq!(plan_file(&bytes, "m", Layout::Faiss).unwrap().0.layout, "faiss/IxF2");
}

/// A tape that does not know its end, as a live index has it.
struct Live<'a>(FileTape<'a>);

impl Tape for Live<'_> {
    fn position(&self) -> u64 {
        self.0.position()
    }
    fn remaining(&self) -> Option<u64> {
        None
    }
    fn literal(&mut self, buffer: &mut [u8]) -> Result<()> {
        self.0.literal(buffer)
    }
    fn rows(&mut self, stream: StreamSpec, row_count: u64) -> Result<()> {
        self.0.rows(stream, row_count)
    }
    fn groups(&mut self, group_count: u64, fields: Vec<FieldSpec>, counts: Option<CountsSpec>) -> Result<()> {
        self.0.groups(group_count, fields, counts)
    }
    fn derived_offsets(&mut self, group_count: u64, counts: CountsSpec, table: &[u64]) -> Result<bool> {
        self.0.derived_offsets(group_count, counts, table)
    }
    fn at_end(&mut self) -> Result<bool> {
        self.0.at_end()
    }
}

#[test]
fn a_live_stream_gives_the_same_plan_as_its_file() {
    for (name, bytes) in fixtures() {
        let layout = match name.rsplit('.').next() {
            Some("faiss") => Layout::Faiss,
            Some("hnsw") => Layout::Hnswlib,
            Some("usearch") => Layout::Usearch,
            Some("index") => Layout::DiskAnn,
            _ => Layout::Npy,
        };
        let (member, _) = plan(&bytes);
        if looks_ahead(&name) {
            assert!(parse(layout, &mut Live(FileTape::new(&bytes))).is_err(), "{name}");
            continue;
        }
        let mut live = Live(FileTape::new(&bytes));
        let (found, facts) = parse(layout, &mut live).unwrap();
        assert_eq!((found, facts, live.0.into_parts().0), (member.layout, member.facts, member.runs), "{name}");
        for end in 0..bytes.len() {
            let cut = bytes[..end].to_vec();
            assert!(parse(layout, &mut Live(FileTape::new(&cut))).is_err(), "{name} cut at {end}");
        }
    }
    let bytes = Vec::new();
    assert_eq!(parse(Layout::Auto, &mut FileTape::new(&bytes)).unwrap_err().kind(), ErrorKind::InvalidArgument);
}
