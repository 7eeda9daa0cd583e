//! One admin request, parsed: who asks, for which tenant, with what.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Query, RawPathParams, Request};
use axum::response::{IntoResponse, Response};
use posthouse_model::{Name, NodeId, SetId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::admin::operation::Asks;
use crate::admin::shapes::{
    AccessKeyCreate, BindRequest, ComponentDigest, Decimal, DeleteRequest, MasterKeyChange, PlaceView,
    PublishRequest, QuarantineRequest, ReceiveRequest, RecordRequest, RedriveRequest, SendRequest,
    UnbindRequest, WorldView,
};
use crate::admin::{AdminError, Caller, ListQuery, LogQuery, Operation, PluginPush, Scope};

/// How many items a page has when the request does not say.
pub(crate) const PAGE_ITEMS_USUAL: usize = 100;
/// The most items that a page can have.
pub(crate) const PAGE_ITEMS_MAX: usize = 1_000;

/// One admin request, parsed.
pub(super) struct Call {
    pub(super) scope: Scope,
    parameters: Vec<(String, String)>,
    query: QueryParameters,
    body: Bytes,
}

/// Everything that can stand behind the `?` of some route.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct QueryParameters {
    tenant: Option<Name>,
    search: Option<String>,
    after: Option<String>,
    limit: Option<usize>,
    world: Option<WorldView>,
    platform: Option<bool>,
    digest: Option<ComponentDigest>,
}

// === impl Call ===

impl Call {
    /// Returns the call, if its caller may make it.
    pub(super) fn parse(
        operation: Operation,
        parameters: &RawPathParams,
        mut request: Request,
    ) -> Result<Call, AdminError> {
        let Query(query) = Query::<QueryParameters>::try_from_uri(request.uri())
            .map_err(|error| AdminError::malformed(error.body_text()))?;
        query.check(operation.asks())?;
        let (caller, body) = taken_in(&mut request)?;
        let scope = scope_of(caller, query.tenant.clone())?;
        if operation.is_for_root() && !scope.caller.root {
            return Err(AdminError::forbidden("only a root access key may do that"));
        }
        let parameters = parameters
            .iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        Ok(Call {
            scope,
            parameters,
            query,
            body,
        })
    }

    /// Returns a part of the path as text.
    pub(super) fn text(&self, parameter: &'static str) -> Result<String, AdminError> {
        let found = self.parameters.iter().find(|(name, _)| name == parameter);
        let (_, value) = found.expect("the operation's route has this parameter");
        Ok(value.clone())
    }

    /// Returns a part of the path as a name.
    pub(super) fn name(&self, parameter: &'static str) -> Result<Name, AdminError> {
        let text = self.text(parameter)?;
        Name::parse(&text).map_err(|error| AdminError::malformed(format!("the {parameter} {text:?} {error}")))
    }

    /// Returns the message that the path names.
    pub(super) fn message(&self) -> Result<Decimal, AdminError> {
        self.number("message").map(Decimal)
    }

    /// Returns the set that the path names.
    pub(super) fn set(&self) -> Result<SetId, AdminError> {
        let number = self.number("set")?;
        let set =
            u8::try_from(number).map_err(|_| AdminError::not_found(format!("there is no set {number}")))?;
        Ok(SetId(set))
    }

    /// Returns the node that the path names.
    pub(super) fn node(&self) -> Result<NodeId, AdminError> {
        let number = self.number("node")?;
        let node =
            u16::try_from(number).map_err(|_| AdminError::not_found(format!("there is no node {number}")))?;
        Ok(NodeId(node))
    }

    /// Returns a part of the path as a number.
    pub(super) fn number(&self, parameter: &'static str) -> Result<u64, AdminError> {
        let text = self.text(parameter)?;
        text.parse()
            .map_err(|_| AdminError::malformed(format!("the {parameter} {text:?} is not a whole number")))
    }

    /// Returns the tenant that the path names, if the caller may see it.
    pub(super) fn own_tenant(&self) -> Result<Name, AdminError> {
        let tenant = self.name("name")?;
        let own = tenant.folded() == self.scope.caller.tenant_name.folded();
        if own || self.scope.caller.root {
            return Ok(tenant);
        }
        Err(AdminError::forbidden(
            "only a root access key may see another tenant",
        ))
    }

    /// Returns the body's JSON. An empty body is an empty object.
    pub(super) fn body<T: DeserializeOwned>(&self) -> Result<T, AdminError> {
        let text: &[u8] = if self.body.is_empty() { b"{}" } else { &self.body };
        serde_json::from_slice(text)
            .map_err(|error| AdminError::malformed(format!("the body is not what is wanted: {error}")))
    }

    /// Returns which part of a listing is wanted.
    pub(super) fn list(&self) -> Result<ListQuery, AdminError> {
        Ok(ListQuery {
            search: self.query.search.clone(),
            after: self.query.after.clone(),
            limit: self.limit()?,
        })
    }

    /// Returns which log lines are wanted.
    pub(super) fn logs(&self) -> Result<LogQuery, AdminError> {
        Ok(LogQuery { limit: self.limit()? })
    }

    fn limit(&self) -> Result<usize, AdminError> {
        match self.query.limit {
            None => Ok(PAGE_ITEMS_USUAL),
            Some(limit @ 1..=PAGE_ITEMS_MAX) => Ok(limit),
            Some(limit) => Err(AdminError::malformed(format!(
                "`limit` is {limit}; it must be 1 to {PAGE_ITEMS_MAX}"
            ))),
        }
    }

    pub(super) fn send_request(&self) -> Result<SendRequest, AdminError> {
        let request: SendRequest = self.body()?;
        request.check()?;
        Ok(request)
    }

    pub(super) fn receive_request(&self) -> Result<ReceiveRequest, AdminError> {
        let request: ReceiveRequest = self.body()?;
        request.check()?;
        Ok(request)
    }

    pub(super) fn delete_request(&self) -> Result<DeleteRequest, AdminError> {
        let request: DeleteRequest = self.body()?;
        request.check()?;
        Ok(request)
    }

    pub(super) fn publish_request(&self) -> Result<PublishRequest, AdminError> {
        let request: PublishRequest = self.body()?;
        request.check()?;
        Ok(request)
    }

    pub(super) fn access_key_request(&self) -> Result<AccessKeyCreate, AdminError> {
        let request: AccessKeyCreate = self.body()?;
        if request.root && !self.scope.caller.root {
            return Err(AdminError::forbidden(
                "only a root access key may make a root access key",
            ));
        }
        request.check()?;
        Ok(request)
    }

    pub(super) fn master_key_change(&self) -> Result<MasterKeyChange, AdminError> {
        let change: MasterKeyChange = self.body()?;
        change.check()?;
        Ok(change)
    }

    pub(super) fn plugin_push(&self) -> Result<PluginPush, AdminError> {
        let platform = self.query.platform.unwrap_or(false);
        if platform && !self.scope.caller.root {
            return Err(AdminError::forbidden(
                "only a root access key may push for every tenant",
            ));
        }
        if self.body.is_empty() {
            return Err(AdminError::malformed("the body must be a WebAssembly component"));
        }
        if let Some(named) = self.query.digest {
            let found = ComponentDigest::of(&self.body);
            if found != named {
                return Err(AdminError::malformed(format!(
                    "the component is another one than the push names: its digest is {found}, and not {named}"
                )));
            }
        }
        Ok(PluginPush {
            name: self.name("plugin")?,
            world: self.query.world,
            platform,
            component: self.body.clone(),
        })
    }

    pub(super) fn bind_request(&self) -> Result<BindRequest, AdminError> {
        let request: BindRequest = self.body()?;
        request.check()?;
        self.check_place(&request.place)?;
        Ok(request)
    }

    pub(super) fn unbind_request(&self) -> Result<UnbindRequest, AdminError> {
        let request: UnbindRequest = self.body()?;
        self.check_place(&request.place)?;
        Ok(request)
    }

    pub(super) fn record_request(&self) -> Result<RecordRequest, AdminError> {
        let request: RecordRequest = self.body()?;
        request.check()?;
        self.check_place(&request.place)?;
        Ok(request)
    }

    pub(super) fn redrive_request(&self) -> Result<RedriveRequest, AdminError> {
        let request: RedriveRequest = self.body()?;
        request.check()?;
        if let Some(place) = &request.place {
            self.check_place(place)?;
        }
        Ok(request)
    }

    pub(super) fn quarantine_request(&self) -> Result<QuarantineRequest, AdminError> {
        let request: QuarantineRequest = self.body()?;
        request.check()?;
        self.check_place(&request.place)?;
        Ok(request)
    }

    fn check_place(&self, place: &PlaceView) -> Result<(), AdminError> {
        if place.is_platforms() && !self.scope.caller.root {
            return Err(AdminError::forbidden(
                "only a root access key may bind for every tenant",
            ));
        }
        Ok(())
    }
}

/// Returns what the signature check left with the request.
fn taken_in(request: &mut Request) -> Result<(Caller, Bytes), AdminError> {
    let extensions = request.extensions_mut();
    let caller = extensions.remove::<Caller>();
    let body = extensions.remove::<Bytes>();
    Ok((
        caller.expect("the signature check stands before every operation"),
        body.expect("the signature check reads the body"),
    ))
}

fn scope_of(caller: Caller, tenant: Option<Name>) -> Result<Scope, AdminError> {
    let tenant = match tenant {
        None => caller.tenant_name.clone(),
        Some(tenant) if caller.root || tenant.folded() == caller.tenant_name.folded() => tenant,
        Some(_) => {
            return Err(AdminError::forbidden(
                "only a root access key may act for another tenant",
            ));
        }
    };
    Ok(Scope { caller, tenant })
}

/// Returns the answer as a response.
pub(super) fn answer<T: Serialize>(outcome: Result<T, AdminError>) -> Result<Response, AdminError> {
    Ok(Json(outcome?).into_response())
}

// === impl QueryParameters ===

impl QueryParameters {
    /// Refuses parameters that the operation would pass over.
    fn check(&self, asks: Asks) -> Result<(), AdminError> {
        let (page, limit, push) = match asks {
            Asks::Nothing => (false, false, false),
            Asks::Page => (true, true, false),
            Asks::Limit => (false, true, false),
            Asks::Push => (false, false, true),
        };
        let given = [
            ("search", self.search.is_some(), page),
            ("after", self.after.is_some(), page),
            ("limit", self.limit.is_some(), limit),
            ("world", self.world.is_some(), push),
            ("platform", self.platform.is_some(), push),
            ("digest", self.digest.is_some(), push),
        ];
        for (name, is_given, is_taken) in given {
            if is_given && !is_taken {
                return Err(AdminError::malformed(format!(
                    "this route has no parameter `{name}`"
                )));
            }
        }
        Ok(())
    }
}
