//! A case of a seal plugin. What it makes of a body is another each time, so a case says that it seals, and what becomes
//! of what was sealed when it is opened: as it is, in another place, or altered.

use bytes::Bytes;
use posthouse_host::{Binding, GuestFault, Sealed, ToOpen, ToSeal};
use posthouse_model::{Incarnation, MessageId, Name, SealContext};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{BodyText, body_value, told};
use crate::cli::plugin::difference::Difference;
use crate::cli::plugin::trial::Trial;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SealCase {
    #[serde(default)]
    pub(super) config: String,
    /// It is there, and the tenant's.
    pub(super) master_key: Name,
    #[serde(default)]
    context: ContextText,
    #[serde(default)]
    body: BodyText,
    #[serde(default = "sealed")]
    expect: Value,
    /// Each by itself.
    #[serde(default)]
    open: Vec<OpenText>,
}

/// What a body is bound to, beside its tenant.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ContextText {
    incarnation: u64,
    message_id: u64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OpenText {
    /// As it was sealed, when absent.
    context: Option<ContextText>,
    alter: Option<Altered>,
    expect: Value,
}

/// Of which the last bit is another one.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Altered {
    Header,
    Body,
}

// === impl SealCase ===

impl SealCase {
    pub(super) async fn differences(&self, trial: &Trial, binding: &Binding) -> Vec<Difference> {
        let sealed = self.seal(trial, binding).await;
        let (answered, note) = told(sealed.clone(), |sealed| {
            json!({
                "sealed": { "header_bytes": sealed.header.len(), "body_bytes": sealed.ciphertext.len() }
            })
        });
        let sealing = Difference::of("what was sealed", &self.expect, answered, note);
        let mut differences: Vec<Difference> = sealing.into_iter().collect();
        for (number, open) in (1..).zip(&self.open) {
            let at = format!("opening {number}");
            let Ok(sealed) = sealed.clone() else {
                let nothing = json!(null);
                differences.extend(Difference::of(at, &open.expect, nothing, None));
                continue;
            };
            let opened = trial
                .host
                .open_sealed(binding, self.to_open(open, sealed, binding));
            let (answered, note) = told(opened.await, |body| body_value(&body));
            differences.extend(Difference::of(at, &open.expect, answered, note));
        }
        differences
    }

    /// Seals, and opens what was sealed.
    pub(super) async fn ask(&self, trial: &Trial, binding: &Binding) {
        let Ok(sealed) = self.seal(trial, binding).await else {
            return;
        };
        let as_it_is = OpenText {
            context: None,
            alter: None,
            expect: Value::Null,
        };
        let item = self.to_open(&as_it_is, sealed, binding);
        drop(trial.host.open_sealed(binding, item).await);
    }

    async fn seal(&self, trial: &Trial, binding: &Binding) -> Result<Sealed, GuestFault> {
        let item = ToSeal {
            context: self.context.of(binding),
            plain: self.body.bytes(),
        };
        trial.host.seal(binding, &self.master_key, item).await
    }

    fn to_open(&self, open: &OpenText, sealed: Sealed, binding: &Binding) -> ToOpen {
        let Sealed {
            mut header,
            mut ciphertext,
            key: _,
        } = sealed;
        match open.alter {
            Some(Altered::Header) => header = altered(&header),
            Some(Altered::Body) => ciphertext = altered(&ciphertext),
            None => {}
        }
        ToOpen {
            context: open.context.unwrap_or(self.context).of(binding),
            header,
            ciphertext,
        }
    }
}

// === impl ContextText ===

impl ContextText {
    fn of(self, binding: &Binding) -> SealContext {
        SealContext {
            tenant: binding.tenant,
            incarnation: Incarnation(self.incarnation),
            message: MessageId(self.message_id),
        }
    }
}

impl Default for ContextText {
    fn default() -> Self {
        ContextText {
            incarnation: 1,
            message_id: 1,
        }
    }
}

fn altered(bytes: &[u8]) -> Bytes {
    let mut altered = bytes.to_vec();
    if let Some(last) = altered.last_mut() {
        *last ^= 1;
    }
    Bytes::from(altered)
}

/// What a body that was sealed is compared with when a case says nothing: it was.
fn sealed() -> Value {
    json!({ "sealed": {} })
}
