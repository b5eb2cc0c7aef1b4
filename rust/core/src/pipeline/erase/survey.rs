//! What an archive holds of the wanted ids, and what has to become of its streams.

use super::faiss;
use super::graph::Form;
use super::hnswlib::Layered;
use super::rewrite::Rewrite;
use super::wanted::{HASH_BYTES, Wanted};
use crate::error::{Error, ErrorKind, Result, to_usize};
use crate::pipeline::id_index::key_of;
use crate::pipeline::rows::{ReadState, RowReader};
use crate::pipeline::view::read_plan_text;
use crate::plan::{Member, Plan, Run};
use crate::seal::hex;
use crate::stream::{ElementType, StreamRole};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const WINDOW_BYTES: u64 = 1 << 20;

/// What a survey says.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Survey {
    pub members: Vec<MemberSurvey>,
    /// Number of the list and hash of every wanted id that is there.
    pub found: Vec<(usize, String)>,
    /// Members that have no ids, or whose ids cannot be seen: what they hold of anybody is not known.
    pub unknown: Vec<UnknownMember>,
}

#[derive(Debug, Clone, Serialize)]
pub struct UnknownMember {
    pub name: String,
    pub reason: String,
}

/// A member with rows of wanted ids.
#[derive(Debug, Clone, Serialize)]
pub struct MemberSurvey {
    pub name: String,
    pub layout: String,
    /// Row i of the member is at place i of its payload.
    pub rows: Vec<u64>,
    pub row_count: u64,
    /// Rows are left out, else they become tombstones.
    pub removes: bool,
    /// Why the rows cannot be erased.
    pub fault: Option<String>,
}

/// Rows of an archive, some at a time.
pub struct Rows<'a> {
    reader: &'a Arc<RowReader>,
    state: ReadState,
}

impl<'a> Rows<'a> {
    pub fn new(reader: &'a Arc<RowReader>) -> Self {
        Self { reader, state: ReadState::default() }
    }

    pub fn number(&self, stream: &str) -> Option<usize> {
        self.reader.archive().stream_index(stream)
    }

    pub fn row_bytes(&self, stream: usize) -> u64 {
        self.reader.archive().streams().get(stream).map_or(1, |stream| u64::from(stream.row_bytes))
    }

    pub fn row_count(&self, stream: usize) -> u64 {
        self.reader.archive().streams().get(stream).map_or(0, |stream| stream.row_count)
    }

    pub fn element_type(&self, stream: usize) -> Option<ElementType> {
        self.reader.archive().streams().get(stream).map(|stream| stream.element_type)
    }

    pub fn role(&self, stream: usize) -> Option<StreamRole> {
        self.reader.archive().streams().get(stream).map(|stream| stream.role)
    }

    /// Calls `visit` with the first row and the bytes of windows of rows.
    pub fn visit(
        &mut self,
        stream: usize,
        first: u64,
        rows: u64,
        visit: &mut dyn FnMut(u64, &[u8]) -> Result<()>,
    ) -> Result<()> {
        let row_bytes = self.row_bytes(stream);
        let step = (WINDOW_BYTES / row_bytes).max(1);
        let (mut row, end) = (first, first.saturating_add(rows));
        let mut window = Vec::new();
        while row < end {
            let here = step.min(end - row);
            window.resize(size(here * row_bytes)?, 0);
            self.reader.read_rows(&mut self.state, stream, row, &mut window)?;
            visit(row, &window)?;
            row += here;
        }
        Ok(())
    }

    /// Some rows, one after another.
    pub fn gather(&mut self, stream: usize, rows: &[u64]) -> Result<Vec<u8>> {
        let row_bytes = size(self.row_bytes(stream))?;
        self.reader.gather_rows(&mut self.state, stream, rows, row_bytes)
    }

    /// Some rows as lists of links.
    pub fn lists(&mut self, stream: usize, rows: &[u64], form: Form) -> Result<Vec<Vec<u32>>> {
        let row_bytes = size(self.row_bytes(stream))?;
        Ok(self.gather(stream, rows)?.chunks_exact(row_bytes).map(|list| form.links(list)).collect())
    }
}

pub fn size(number: u64) -> Result<usize> {
    to_usize(number, "rows")
}

pub fn little_endian(bytes: &[u8]) -> u64 {
    crate::pipeline::member::little_endian(bytes)
}

pub fn unsupported(member: &str, detail: String) -> Error {
    Error::new(ErrorKind::Unsupported, member, detail)
}

/// What becomes of the streams of an archive.
#[derive(Default)]
pub struct Changes {
    pub streams: BTreeMap<usize, Rewrite>,
}

impl Changes {
    pub fn of(&mut self, stream: usize) -> &mut Rewrite {
        self.streams.entry(stream).or_default()
    }
}

/// A search of the member begins elsewhere.
pub fn move_entry(member: &mut Member, entry: u64, level: u8) {
    for (fact, value) in [("entry_point", entry), ("max_level", u64::from(level))] {
        member.facts.entry(fact).and_modify(|old| *old = value.into());
    }
}

/// How a member is taken apart.
enum Way {
    Layered(Layered),
    Faiss(faiss::Way),
    /// It has ids that nobody can take out of it.
    None,
}

/// The plan with its facts; `None` for an archive without members.
pub fn plan_of(reader: &RowReader) -> Result<Option<Plan>> {
    let Some((mut plan, text)) = read_plan_text(reader)? else { return Ok(None) };
    let mut value: serde_json::Value =
        serde_json::from_str(&text).map_err(|error| Error::malformed("plan", error.to_string()))?;
    for (number, member) in plan.members.iter_mut().enumerate() {
        if let Some(serde_json::Value::Object(facts)) = value.pointer_mut(&format!("/members/{number}/facts")) {
            member.facts = std::mem::take(facts);
        }
    }
    Ok(Some(plan))
}

/// Looks for the wanted ids; `erase`: also says what is to become of the streams, and changes the plan.
///
/// # Errors
/// Those of reading. A member whose rows cannot be erased is an error only with `erase`.
pub fn survey(reader: &Arc<RowReader>, wanted: &Wanted, erase: Option<(&mut Plan, &mut Changes)>) -> Result<Survey> {
    let mut rows = Rows::new(reader);
    let mut found = BTreeSet::new();
    let mut survey = Survey::default();
    let mut own;
    let (plan, mut changes) = match erase {
        Some((plan, changes)) => (plan, Some(changes)),
        None => match plan_of(reader)? {
            Some(plan) => {
                own = plan;
                (&mut own, None)
            }
            None => return Ok(survey),
        },
    };
    for member in &mut plan.members {
        let (ids, way) = match ids_of(&mut rows, member)? {
            Ok(found) => found,
            Err(reason) => {
                survey.unknown.push(UnknownMember { name: member.name.clone(), reason });
                continue;
            }
        };
        let mut hits = Vec::new();
        for ids in &ids {
            hits.extend(hits_of(&mut rows, ids, wanted, &mut found)?);
        }
        if hits.is_empty() {
            continue;
        }
        let row_count = ids.first().map_or(0, |ids| ids.rows);
        let removes = matches!(&way, Way::Faiss(way) if way.removes());
        let erased = match changes.as_deref_mut() {
            Some(changes) => {
                member.blake3 = None;
                erase_rows(&mut rows, &way, &hits, member, changes)
            }
            None => erase_rows(&mut rows, &way, &hits, &mut member.clone(), &mut Changes::default()),
        };
        let fault = match erased {
            Ok(()) => None,
            Err(error) if error.kind() == ErrorKind::Unsupported && changes.is_none() => Some(error.to_string()),
            Err(error) => return Err(error),
        };
        let (name, layout) = (member.name.clone(), member.layout.clone());
        survey.members.push(MemberSurvey { name, layout, rows: hits, row_count, removes, fault });
    }
    if let Some(changes) = changes {
        check_alone(&rows, plan, changes)?;
    }
    survey.found = found.into_iter().map(|(list, hash)| (list, hex(&hash))).collect();
    Ok(survey)
}

/// Rows that change must stand in one place of one member: parsers put them so, and only then is the plan true afterwards.
fn check_alone(rows: &Rows<'_>, plan: &Plan, changes: &Changes) -> Result<()> {
    let streams = plan.members.iter().flat_map(|member| &member.runs).flat_map(|run| match run {
        Run::Rows { stream, .. } => vec![stream],
        Run::Groups { fields, .. } => fields.iter().map(|field| &field.stream).collect(),
        Run::Derived { .. } => Vec::new(),
    });
    let mut uses: BTreeMap<usize, usize> = BTreeMap::new();
    for number in streams.filter_map(|name| rows.number(name)) {
        *uses.entry(number).or_default() += 1;
    }
    let is_shared = |number: &usize| uses.get(number) != Some(&1) && rows.role(*number) != Some(StreamRole::LITERAL);
    match changes.streams.keys().find(|number| is_shared(number)) {
        None => Ok(()),
        Some(number) => {
            let detail = "its rows stand in several places of the plan; no vark has written it so".to_owned();
            Err(unsupported(&format!("stream number {number}"), detail))
        }
    }
}

fn erase_rows(rows: &mut Rows<'_>, way: &Way, hits: &[u64], member: &mut Member, changes: &mut Changes) -> Result<()> {
    match way {
        Way::Layered(layered) => layered.erase(rows, hits, member, changes),
        Way::Faiss(faiss) => faiss.erase(rows, hits, member, changes),
        Way::None => {
            let detail = format!(
                "rows of {} cannot be erased one by one; forget the snapshots that hold it, or back up the index in a \
                 layout that can (hnswlib, or faiss with inverted lists or an id map over a graph or flat vectors)",
                member.layout
            );
            Err(unsupported(&member.name, detail))
        }
    }
}

/// The ids of a member: rows of a stream.
pub struct Ids {
    pub stream: usize,
    pub first: u64,
    pub rows: u64,
}

/// Where the ids of a member are, and how it is taken apart; or why they are not known.
fn ids_of(rows: &mut Rows<'_>, member: &Member) -> Result<std::result::Result<(Vec<Ids>, Way), String>> {
    if member.layout == "hnswlib"
        && let Some(layered) = Layered::of(rows, member)
    {
        let (stream, first) = layered.labels;
        let ids = Ids { stream, first, rows: layered.node_count() };
        return Ok(Ok((vec![ids], Way::Layered(layered))));
    }
    if member.layout.starts_with("faiss/")
        && let Some((ids, way)) = faiss::Way::of(rows, member)?
    {
        return Ok(Ok((vec![ids], Way::Faiss(way))));
    }
    let streams = member.runs.iter().flat_map(|run| match run {
        Run::Rows { stream, .. } => vec![stream],
        Run::Groups { fields, .. } => fields.iter().map(|field| &field.stream).collect(),
        Run::Derived { .. } => Vec::new(),
    });
    let numbers = streams.filter_map(|name| rows.number(name));
    let is_ids = |number: &usize| rows.role(*number) == Some(StreamRole::IDS) && rows.row_bytes(*number) <= 8;
    let numbers: BTreeSet<usize> = numbers.filter(is_ids).collect();
    if numbers.is_empty() {
        let reason = match member.layout.as_str() {
            "opaque" => "is kept as plain bytes: nobody can tell what is in it",
            _ => "has rows without ids",
        };
        return Ok(Err(reason.to_owned()));
    }
    // Which of them its library shows is not asked: an id in any of them is found.
    let all = numbers.into_iter().map(|stream| Ids { stream, first: 0, rows: rows.row_count(stream) });
    Ok(Ok((all.collect(), Way::None)))
}

/// Rows (from the member's first on) whose ids are wanted.
fn hits_of(
    rows: &mut Rows<'_>,
    ids: &Ids,
    wanted: &Wanted,
    found: &mut BTreeSet<(usize, [u8; HASH_BYTES])>,
) -> Result<Vec<u64>> {
    let Some(element_type) = rows.element_type(ids.stream) else { return Ok(Vec::new()) };
    let width = size(rows.row_bytes(ids.stream))?;
    let mut hits = Vec::new();
    rows.visit(ids.stream, ids.first, ids.rows, &mut |first, window| {
        for (row, id) in (first..).zip(window.chunks_exact(width)) {
            if let Some(hash) = wanted.find(key_of(element_type, id)) {
                hits.push(row - ids.first);
                found.insert(hash);
            }
        }
        Ok(())
    })?;
    Ok(hits)
}
