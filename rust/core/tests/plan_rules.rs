//! Every rule of split plans (spec 8.1), broken one at a time.
#![expect(clippy::unwrap_used, reason = "tests")]

use serde_json::{Value, json};
use vark_core::error::{Error, ErrorKind, Layer, Result};
use vark_core::limits;
use vark_core::plan::compile::{StreamShape, StreamTable, check_plan, compile};
use vark_core::plan::{Member, Plan, Run};

fn table() -> StreamTable {
    let mut table = StreamTable::default();
    table.push("bytes", StreamShape { row_bytes: 1, chunk_rows: 64, row_count: 100 });
    table.push("words", StreamShape { row_bytes: 6, chunk_rows: 7, row_count: 30 });
    table.push("huge", StreamShape { row_bytes: 1 << 28, chunk_rows: 1, row_count: u64::MAX });
    table
}

fn plan(value: Value) -> std::result::Result<Plan, serde_json::Error> {
    serde_json::from_value(value)
}

fn compiled(run: &Value, bytes: u64) -> Result<()> {
    let runs = vec![serde_json::from_value::<Run>(run.clone()).map_err(|error| shape(&error))?];
    let (name, layout) = ("m".to_owned(), "x".to_owned());
    let member = Member { name, bytes, layout, facts: serde_json::Map::new(), warning: None, blake3: None, runs };
    compile(&member, &table()).map(|_| ())
}

/// What `read_plan` makes of JSON of another shape.
fn shape(error: &serde_json::Error) -> Error {
    Error::damaged(Layer::Plan, "shape", error.to_string())
}

/// `run` is good; with `value` at `pointer` it is not.
fn breaks(run: &Value, pointer: &str, value: Value) {
    compiled(run, 1_000).unwrap();
    let mut broken = run.clone();
    *broken.pointer_mut(pointer).unwrap() = value.clone();
    let error = compiled(&broken, 1_000).unwrap_err();
    assert_eq!((error.kind(), error.layer()), (ErrorKind::Damaged, Some(Layer::Plan)), "{pointer} = {value}");
}

#[test]
fn numbers_of_rows_are_checked() {
    let rows = json!({"kind": "rows", "stream": "bytes", "first": 90, "rows": 10});
    let cases = [("/first", json!(91)), ("/first", json!(u64::MAX)), ("/first", json!(-1)), ("/rows", json!(11))];
    for (pointer, value) in cases {
        breaks(&rows, pointer, value);
    }
    for (pointer, value) in [
        ("/rows", json!(u64::MAX)),
        ("/rows", json!(1.5)),
        ("/rows", json!("10")),
        ("/rows", json!(null)),
        ("/stream", json!("none")),
        ("/kind", json!("copy")),
    ] {
        breaks(&rows, pointer, value);
    }
}

#[test]
fn numbers_of_groups_are_checked() {
    let fixed = json!({"kind": "groups", "groups": 10, "fields": [
        {"stream": "bytes", "first": 0, "rows": 10}, {"stream": "words", "first": 0, "rows": 3}]});
    for (pointer, value) in [
        ("/groups", json!(11)),
        ("/groups", json!(u64::MAX)),
        ("/groups", json!(1u64 << 63)),
        ("/fields", json!([])),
        ("/fields", json!(vec![json!({"stream": "bytes", "first": 0, "rows": 1}); 9])),
        ("/fields/0/rows", json!(0)),
        ("/fields/0/rows", json!(11)),
        ("/fields/0/rows", json!(1u64 << 32)),
        ("/fields/0/rows", json!("all")),
        ("/fields/0/rows", json!("counted")),
        ("/fields/1/first", json!(1)),
        ("/fields/1/first", json!(u64::MAX)),
        ("/fields/1/stream", json!("")),
    ] {
        breaks(&fixed, pointer, value);
    }
    let mut unused = fixed;
    unused["counts"] = json!({"stream": "bytes", "first": 0, "offset": 0, "bytes": 1, "subtract": 0, "divide": 1});
    assert_eq!(compiled(&unused, 1_000).unwrap_err().layer(), Some(Layer::Plan));
}

#[test]
fn numbers_of_counts_and_tables_are_checked() {
    let counts = json!({"stream": "words", "first": 20, "offset": 2, "bytes": 4, "subtract": 0, "divide": 1});
    let field = json!({"stream": "bytes", "first": 0, "rows": "counted"});
    let counted = json!({"kind": "groups", "groups": 10, "fields": [field], "counts": counts});
    let table: Vec<u64> = (0..1_024).collect();
    let derived = json!({"kind": "derived", "rule": "running-offsets", "groups": 10, "counts": counts, "table": table});
    for (pointer, value) in [
        ("/counts/stream", json!("none")),
        ("/counts/first", json!(21)),
        ("/counts/first", json!(u64::MAX)),
        ("/counts/offset", json!(3)),
        ("/counts/offset", json!(u32::MAX)),
        ("/counts/bytes", json!(3)),
        ("/counts/bytes", json!(0)),
        ("/counts/bytes", json!(8)),
        ("/counts/divide", json!(0)),
        ("/counts/subtract", json!(-1)),
        ("/groups", json!(11)),
        ("/groups", json!(u64::MAX)),
        ("/counts", json!(null)),
    ] {
        breaks(&counted, pointer, value.clone());
        breaks(&derived, pointer, value);
    }
    breaks(&derived, "/table", json!(vec![0; 1_025]));
    breaks(&derived, "/table", json!([-1]));
    breaks(&derived, "/rule", json!("falling-offsets"));
}

#[test]
fn products_that_wrap_are_refused() {
    let run = json!({"kind": "groups", "groups": 1u64 << 62, "fields": [{"stream": "huge", "first": 0, "rows": 4}]});
    assert_eq!(compiled(&run, u64::MAX).unwrap_err().layer(), Some(Layer::Plan));
}

#[test]
fn all_groups_of_a_member_are_paid_for_by_its_bytes() {
    let counts = json!({"stream": "bytes", "first": 0, "offset": 0, "bytes": 1, "subtract": 0, "divide": 1});
    let field = json!({"stream": "words", "first": 0, "rows": "counted"});
    let run = json!({"kind": "groups", "groups": 10, "fields": [field], "counts": counts});
    let run: Run = serde_json::from_value(run).unwrap();
    let member = |bytes| Member {
        name: "m".to_owned(),
        bytes,
        layout: "x".to_owned(),
        facts: serde_json::Map::new(),
        warning: None,
        blake3: None,
        runs: vec![run.clone(), run.clone()],
    };
    compile(&member(20), &table()).unwrap();
    assert_eq!(compile(&member(19), &table()).unwrap_err().layer(), Some(Layer::Plan));
}

fn member(name: &str) -> Value {
    json!({"name": name, "bytes": 0, "layout": "x", "runs": []})
}

#[test]
fn names_and_digests_are_checked() {
    let good = json!({"version": 1, "members": [member("a/b"), member("a.b"), member("c")], "folders": ["a/e", "d/e"]});
    check_plan(&plan(good).unwrap()).unwrap();
    for (members, folders) in [
        (vec!["a", "a"], vec![]),
        (vec!["a"], vec!["a"]),
        (vec!["a", "a/b"], vec![]),
        (vec!["a/b/c", "a-", "a!", "a"], vec![]),
        (vec!["a"], vec!["a/b"]),
        (vec![], vec!["a", "a"]),
        (vec![".."], vec![]),
        (vec!["/a"], vec![]),
        (vec!["a//b"], vec![]),
        (vec!["nul"], vec![]),
        (vec![], vec![""]),
    ] {
        let members: Vec<Value> = members.into_iter().map(member).collect();
        let bad = plan(json!({"version": 1, "members": members, "folders": folders})).unwrap();
        assert_eq!(check_plan(&bad).unwrap_err().layer(), Some(Layer::Plan), "{bad:?}");
    }
    let long = "x/".repeat(limits::NAME_BYTES_MAX / 2) + "x";
    check_plan(&plan(json!({"version": 1, "members": [member(&long)]})).unwrap()).unwrap_err();
    for digest in ["", "0", &"0".repeat(63), &"0".repeat(65), &"A".repeat(64), &"g".repeat(64)] {
        let mut with_digest = member("a");
        with_digest["blake3"] = json!(digest);
        check_plan(&plan(json!({"version": 1, "members": [with_digest]})).unwrap()).unwrap_err();
    }
    check_plan(&plan(json!({"version": 2, "members": []})).unwrap()).unwrap_err();
}

#[test]
fn a_plan_at_its_limits_is_checked_quickly_and_beyond_them_refused() {
    let started = std::time::Instant::now();
    let mut large = plan(json!({"version": 1, "members": []})).unwrap();
    let one: Member = serde_json::from_value(member("a")).unwrap();
    // Deep names that share all folders but the last.
    let deep = "d/".repeat(1_900);
    large.members = (0..4_000).map(|number| Member { name: format!("{deep}{number}"), ..one.clone() }).collect();
    check_plan(&large).unwrap();
    large.members = (0..limits::MEMBERS_MAX).map(|number| Member { name: number.to_string(), ..one.clone() }).collect();
    check_plan(&large).unwrap();
    large.members.push(Member { name: "more".to_owned(), ..one.clone() });
    assert_eq!(check_plan(&large).unwrap_err().layer(), Some(Layer::Plan));

    let run = Run::Rows { stream: "bytes".to_owned(), first: 0, rows: 0 };
    large.members = vec![Member { runs: vec![run.clone(); limits::RUNS_MAX], ..one }];
    check_plan(&large).unwrap();
    large.members[0].runs.push(run);
    assert_eq!(check_plan(&large).unwrap_err().layer(), Some(Layer::Plan));
    assert!(started.elapsed().as_secs() < 20);
}
