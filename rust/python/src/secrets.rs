//! Secrets out of Python: copied once, into memory that is wiped. Their text is in no message.

use crate::errors::{invalid, to_py};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};
use vark_core::archive::Sealing;
use vark_core::seal::{Identity, KmsFields, Recipient, RecoveryCode, Secret, Secrets, Suite, Ways};

/// Slot id, slot secret, and of a new slot provider, key and wrapped secret.
type KmsArgument<'py> = ([u8; 16], Bound<'py, PyBytes>, String, String, String);

/// Passphrase; recipients or contents of identity files; recovery code; slots of a KMS.
pub type SecretsArgument<'py> =
    (Option<Bound<'py, PyBytes>>, Vec<Bound<'py, PyBytes>>, Option<Bound<'py, PyString>>, Vec<KmsArgument<'py>>);

/// What opens an archive.
pub fn secrets_of((passphrase, identities, code, kms): &SecretsArgument<'_>) -> PyResult<Secrets> {
    let mut secrets = Secrets { recovery: code.as_ref().map(code_of).transpose()?, ..Secrets::default() };
    secrets.passphrase = passphrase.as_ref().map(|passphrase| passphrase.as_bytes().to_vec().into());
    for identity in identities {
        secrets.identities.extend(Identity::parse_file(identity.as_bytes()).map_err(|error| to_py(&error))?);
    }
    for (slot, secret, ..) in kms {
        secrets.kms.push((*slot, slot_secret(secret)?));
    }
    Ok(secrets)
}

fn slot_secret(bytes: &Bound<'_, PyBytes>) -> PyResult<Secret> {
    let secret: Result<[u8; 32], _> = bytes.as_bytes().try_into();
    let mut secret = secret.map_err(|_| invalid("KMS", "gave back what is no secret of 32 bytes"))?;
    Ok(Secret::take(&mut secret))
}

/// A slot for each.
pub fn ways_of((passphrase, recipients, code, kms): &SecretsArgument<'_>) -> PyResult<Ways> {
    let parse = |text: &Bound<'_, PyBytes>| {
        let text = std::str::from_utf8(text.as_bytes()).map_err(|_| invalid("recipient", "is not UTF-8"))?;
        Recipient::parse(text).map_err(|error| to_py(&error))
    };
    Ok(Ways {
        passphrase: passphrase.as_ref().map(|passphrase| passphrase.as_bytes().to_vec().into()),
        recipients: recipients.iter().map(parse).collect::<PyResult<Vec<_>>>()?,
        recovery: code.as_ref().map(code_of).transpose()?,
        kms: kms.iter().map(kms_of).collect::<PyResult<Vec<_>>>()?,
    })
}

fn kms_of((slot, secret, provider, key, wrapped): &KmsArgument<'_>) -> PyResult<([u8; 16], Secret, KmsFields)> {
    let fields = KmsFields { key: key.clone(), provider: provider.clone(), wrapped: wrapped.clone() };
    Ok((*slot, slot_secret(secret)?, fields))
}

/// What seals a new single archive. Deriving a key from a passphrase takes a second.
pub fn sealing_of(py: Python<'_>, secrets: &SecretsArgument<'_>) -> PyResult<Sealing> {
    let given = ways_of(secrets)?;
    py.detach(|| Sealing::single(Suite::Aes256Gcm, given.kinds())).map_err(|error| to_py(&error))
}

fn code_of(text: &Bound<'_, PyString>) -> PyResult<RecoveryCode> {
    RecoveryCode::parse(text.to_str()?).map_err(|error| to_py(&error))
}

/// A random recovery code, as it is shown.
#[pyfunction]
pub fn new_recovery_code(py: Python<'_>) -> PyResult<Bound<'_, PyString>> {
    let code = RecoveryCode::random().map_err(|error| to_py(&error))?;
    Ok(PyString::new(py, &code.reveal()))
}
