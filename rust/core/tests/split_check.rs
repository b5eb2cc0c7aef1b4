//! Files that split well but would make a library read outside its memory: each has one fault.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod split_support;

use split_support::{fixture, offset_of, plan};
use vark_core::error::ErrorKind;
use vark_core::split::{check_faiss, check_hnswlib};

fn put(bytes: &mut [u8], offset: usize, value: &[u8]) {
    bytes[offset..offset + value.len()].copy_from_slice(value);
}

fn i32_at(bytes: &[u8], offset: usize) -> i32 {
    i32::from_le_bytes(bytes[offset..offset + 4].try_into().unwrap())
}

/// The file still splits, and the check names `place`.
fn refuses(bytes: &Vec<u8>, place: &str) {
    let (member, _) = plan(bytes);
    assert_ne!(member.layout, "opaque", "{:?}", member.warning);
    let checked = if member.layout == "hnswlib" { check_hnswlib(bytes) } else { check_faiss(bytes) };
    let error = checked.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Malformed);
    assert!(error.to_string().contains(place), "{error}");
}

/// Offsets of each node's level-0 slots, its level, and of the numbers behind the graph.
struct Graph {
    bytes: Vec<u8>,
    nodes: Vec<(usize, i32)>,
    entry_point: usize,
}

/// M is 2: four slots on level 0, two above.
fn graph() -> Graph {
    let bytes = fixture("hnsw_flat_12.faiss");
    let levels = offset_of(&bytes, "levels");
    let mut offset = offset_of(&bytes, "links.level0");
    let mut nodes = Vec::new();
    for node in 0..12 {
        let level = i32_at(&bytes, levels + 4 * node);
        nodes.push((offset, level));
        offset += 16 + 8 * usize::try_from(level - 1).unwrap();
    }
    Graph { bytes, nodes, entry_point: offset }
}

#[test]
fn links_outside_the_graph_are_refused() {
    for link in [12i32, -2, i32::MAX, i32::MIN] {
        let mut graph = graph();
        put(&mut graph.bytes, graph.nodes[3].0, &link.to_le_bytes());
        refuses(&graph.bytes, "node 3, level 0");
    }
}

#[test]
fn links_after_the_end_of_a_list_are_refused() {
    let mut graph = graph();
    put(&mut graph.bytes, graph.nodes[3].0, &(-1i32).to_le_bytes());
    put(&mut graph.bytes, graph.nodes[3].0 + 4, &1i32.to_le_bytes());
    refuses(&graph.bytes, "node 3, level 0");
}

#[test]
fn upper_links_to_nodes_below_that_level_are_refused() {
    let mut graph = graph();
    let low = graph.nodes.iter().position(|node| node.1 == 1).unwrap();
    let high = graph.nodes.iter().position(|node| node.1 > 1).unwrap();
    put(&mut graph.bytes, graph.nodes[high].0 + 16, &i32::try_from(low).unwrap().to_le_bytes());
    refuses(&graph.bytes, "level 1");
}

#[test]
fn an_entry_point_that_does_not_reach_the_top_is_refused() {
    let low = graph().nodes.iter().position(|node| node.1 == 1).unwrap();
    for entry in [i32::try_from(low).unwrap(), 12, -1, i32::MIN] {
        let mut graph = graph();
        put(&mut graph.bytes, graph.entry_point, &entry.to_le_bytes());
        refuses(&graph.bytes, "entry_point");
    }
    let mut graph = graph();
    put(&mut graph.bytes, graph.entry_point + 4, &i32::MAX.to_le_bytes());
    refuses(&graph.bytes, "entry_point");
}

#[test]
fn more_levels_to_draw_from_than_the_table_has_are_refused() {
    // assign_probas is the first vector after the header of 37 bytes; the table has one entry more.
    let mut bytes = fixture("hnsw_flat_0.faiss");
    let count = u64::from_le_bytes(bytes[37..45].try_into().unwrap());
    bytes.splice(45..45, [0; 8]);
    put(&mut bytes, 37, &(count + 1).to_le_bytes());
    refuses(&bytes, "assign_probas");
}

#[test]
fn numbers_of_vectors_that_disagree_are_refused() {
    for (name, place) in [
        ("flat_12.faiss", "vectors"),
        ("sq8.faiss", "codes"),
        ("pq.faiss", "codes"),
        ("hnsw_flat_12.faiss", "levels"),
        ("ivf_flat_12.faiss", "list_sizes"),
        ("idmap.faiss", "index inside"),
        ("pca.faiss", "index inside"),
    ] {
        let mut bytes = fixture(name);
        bytes[8] += 1; // ntotal follows the fourcc and d
        refuses(&bytes, place);
    }
}

#[test]
fn dimensions_that_disagree_are_refused() {
    for (name, place) in [
        ("sq8.faiss", "d of the scalar quantizer"),
        ("pq.faiss", "d of the product quantizer"),
        ("hnsw_flat_12.faiss", "d of the storage"),
        ("ivf_sq.faiss", "d of the quantizer"),
        ("idmap.faiss", "d of the index inside"),
        ("rotated.faiss", "d_in"),
    ] {
        let mut bytes = fixture(name);
        bytes[4] += 4;
        refuses(&bytes, place);
    }
}

#[test]
fn ids_that_an_id_map_looks_up_stay_below_its_length() {
    let mut bytes = fixture("idmap_ivf.faiss");
    let lists = offset_of(&bytes, "vectors");
    let first = u64::from_le_bytes(bytes[offset_of(&bytes, "list_sizes")..][..8].try_into().unwrap());
    let id = lists + usize::try_from(first).unwrap() * 16;
    put(&mut bytes, id, &12i64.to_le_bytes());
    refuses(&bytes, "ids of the lists");
    // Alone, such ids are the user's own.
    put(&mut bytes, id, &(-1i64).to_le_bytes());
    check_faiss(&bytes).unwrap();
}

#[test]
fn places_of_a_direct_map_stay_inside_the_lists() {
    for (name, stream, column) in
        [("ivf_map_array.faiss", "direct_map", 0), ("ivf_map_table.faiss", "direct_map.table", 8)]
    {
        for place in [9u64 << 32, 50, u64::MAX - 1] {
            let mut bytes = fixture(name);
            let offset = offset_of(&bytes, stream);
            put(&mut bytes, offset + column, &place.to_le_bytes());
            refuses(&bytes, stream);
        }
    }
}

#[test]
fn sparse_lists_come_in_order() {
    let mut bytes = fixture("ivf_sparse.faiss");
    let sizes = offset_of(&bytes, "list_sizes");
    let list = bytes[sizes];
    put(&mut bytes, sizes, &16u64.to_le_bytes());
    refuses(&bytes, "list_sizes");
    put(&mut bytes, sizes, &u64::from(list).to_le_bytes());
    let next = bytes[sizes + 16];
    put(&mut bytes, sizes, &u64::from(next).to_le_bytes());
    refuses(&bytes, "list_sizes");
}

#[test]
fn remapped_columns_exist() {
    let mut bytes = fixture("padded.faiss");
    let map = offset_of(&bytes, "transform.0.map");
    put(&mut bytes, map, &4i32.to_le_bytes());
    refuses(&bytes, "transform.0.map");
}

#[test]
fn a_scalar_quantizer_has_the_code_size_of_its_kind() {
    let mut bytes = fixture("sq8.faiss");
    put(&mut bytes, 37, &4i32.to_le_bytes()); // half precision: 2 bytes a dimension, not 1
    refuses(&bytes, "code_size");
    put(&mut bytes, 37, &99i32.to_le_bytes());
    refuses(&bytes, "qtype");
}

const HEADER_BYTES: usize = 96;
/// Head, four links, four f32, label.
const ELEMENT_BYTES: usize = 4 + 16 + 16 + 8;

fn layered() -> Vec<u8> {
    fixture("hnswlib_12_of_12.hnsw")
}

#[test]
fn hnswlib_needs_room_for_its_elements() {
    let mut bytes = layered();
    // The last one is 0 bytes for 12 elements once the product has wrapped.
    for max_elements in [11u64, 1 << 32, 1 << 63] {
        put(&mut bytes, 8, &max_elements.to_le_bytes());
        refuses(&bytes, "max_elements");
    }
}

#[test]
fn hnswlib_degrees_and_links_stay_in_range() {
    let element = HEADER_BYTES + 5 * ELEMENT_BYTES;
    let mut bytes = layered();
    bytes[element] = 5;
    refuses(&bytes, "node 5, level 0");
    let mut bytes = layered();
    put(&mut bytes, element + 4, &12u32.to_le_bytes());
    refuses(&bytes, "node 5, level 0");
}

#[test]
fn hnswlib_entry_and_levels_agree() {
    let mut bytes = layered();
    put(&mut bytes, 48, &0i32.to_le_bytes());
    refuses(&bytes, "level");
    let mut bytes = layered();
    put(&mut bytes, 52, &12u32.to_le_bytes());
    refuses(&bytes, "enterpoint");
    let mut bytes = layered();
    put(&mut bytes, 48, &(-1i32).to_le_bytes());
    refuses(&bytes, "maxlevel");
    let mut bytes = layered();
    put(&mut bytes, 80, &1e300f64.to_le_bytes());
    refuses(&bytes, "mult");
}

#[test]
fn hnswlib_upper_links_lead_to_nodes_of_that_level() {
    let mut bytes = layered();
    let mut offset = HEADER_BYTES + 12 * ELEMENT_BYTES;
    let mut low = None;
    let mut list = None;
    for node in 0..12u32 {
        let length = i32_at(&bytes, offset);
        if length == 0 {
            low = low.or(Some(node));
        } else {
            list = list.or(Some(offset + 4));
        }
        offset += 4 + usize::try_from(length).unwrap();
    }
    let list = list.unwrap();
    bytes[list] = 1;
    put(&mut bytes, list + 4, &low.unwrap().to_le_bytes());
    refuses(&bytes, "level 1");
    let mut bytes = layered();
    bytes[list] = 3;
    refuses(&bytes, "level 1");
}

#[test]
fn candidate_numbers_beyond_any_use_are_refused() {
    let mut graph = graph();
    put(&mut graph.bytes, graph.entry_point + 12, &i32::MAX.to_le_bytes());
    refuses(&graph.bytes, "efSearch");
    let mut bytes = layered();
    put(&mut bytes, 88, &u64::MAX.to_le_bytes());
    refuses(&bytes, "ef_construction");
}
