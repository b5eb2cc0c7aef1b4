//! Verification of indexes of ids: a look-up believes an index that says no row has an id, so all of it is compared.

use super::id_index;
use super::verify::Check;
use crate::error::{ErrorKind, Result};
use crate::stream::StreamRole;

impl Check<'_, '_> {
    /// Compares each index with its ids. What cannot be read has been noted where the blocks were.
    ///
    /// # Errors
    /// Those of `progress`.
    pub(super) fn id_indexes(&mut self) -> Result<()> {
        let reader = self.reader.clone();
        let archive = reader.archive();
        for (number, stream) in archive.streams().iter().enumerate() {
            if stream.role != StreamRole::IDS {
                continue;
            }
            let fault = match id_index::check(&reader, number, &mut || self.beat()) {
                Ok(fault) => fault,
                Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error),
                Err(error) => (!self.has_noted(&stream.name)).then_some(error),
            };
            let keys = archive.stream_index(&id_index::keys_name(&stream.name));
            let rows = keys.and_then(|keys| Some((keys, 0, archive.streams().get(keys)?.row_count)));
            if let Some(fault) = fault {
                self.note(&fault, rows, 0, 0);
            }
        }
        Ok(())
    }

    /// Whether something was found of the ids or of their index.
    fn has_noted(&self, ids: &str) -> bool {
        let concerned =
            |name: &str| name.strip_prefix(ids).is_some_and(|rest| rest.is_empty() || rest.starts_with("//"));
        self.found().any(|damage| damage.stream.as_deref().is_some_and(concerned))
    }
}
