//! The admin API over HTTP: signatures checked, requests parsed, and handed to [`Administration`].
//!
//! A request's signature is checked before its body is read, and its body before anything is done.

mod call;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{RawPathParams, Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, on};
use hyper::body::Body as _;
use posthouse_model::TenantId;

use super::auth::{AuthError, Authorization, CONTENT_DIGEST_HEADER, ContentDigest, Signed};
use super::{AdminCode, AdminError, Administration, Caller, Operation, ROOT_PATH, openapi};
use crate::metrics::Metrics;
pub(crate) use call::PAGE_ITEMS_MAX;
use call::{Call, answer};

/// What the routes need: who does the work, and within which bounds they listen.
pub struct Admission<A> {
    /// Does what is asked for.
    pub administration: Arc<A>,
    /// How far a request's time may be from the node's.
    pub clock_skew_max: Duration,
    /// The largest body of a request that pushes no component.
    pub body_bytes_max: usize,
    /// The largest component.
    pub component_bytes_max: usize,
    /// How long a body may take to arrive.
    pub body_read: Duration,
    /// How long a component may take to arrive.
    pub component_read: Duration,
    /// Counts what is answered.
    pub metrics: Metrics,
    /// Returns the seconds since 1970.
    pub now_seconds: fn() -> u64,
}

/// Returns the admin API's routes, all below [`ROOT_PATH`].
pub fn router<A: Administration>(admission: Arc<Admission<A>>) -> Router {
    let mut routes = Router::new();
    for &operation in Operation::ALL {
        let (verb, path, _) = operation.route();
        let handler = move |State(admission): State<Arc<Admission<A>>>,
                            parameters: RawPathParams,
                            request: Request| async move {
            serve(operation, &admission, &parameters, request).await
        };
        routes = routes.route(&format!("{ROOT_PATH}{path}"), on(verb.filter(), handler));
    }
    let description: Bytes = openapi::describe().to_string().into();
    let describe = move || async move { ([(CONTENT_TYPE, "application/json")], description) };
    routes
        .method_not_allowed_fallback(no_route)
        .route_layer(from_fn_with_state(Arc::clone(&admission), authenticate))
        .route(&format!("{ROOT_PATH}/openapi.json"), get(describe))
        .route(&format!("{ROOT_PATH}/{{*rest}}"), any(no_route))
        .with_state(admission)
}

async fn no_route(request: Request) -> AdminError {
    let path = request.uri().path();
    AdminError::new(
        AdminCode::NoRoute,
        format!(
            "no route {} {path}; see {ROOT_PATH}/openapi.json",
            request.method()
        ),
    )
}

/// Finds out who signed, reads the body, and passes both on; or answers why not.
async fn authenticate<A: Administration>(
    State(admission): State<Arc<Admission<A>>>,
    request: Request,
    next: Next,
) -> Response {
    match admit(&admission, request).await {
        Ok(request) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}

async fn admit<A: Administration>(admission: &Admission<A>, request: Request) -> Result<Request, AdminError> {
    let (mut head, body) = request.into_parts();
    let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
    let authorization = header(AUTHORIZATION.as_str()).ok_or(AuthError::Unsigned)?;
    let authorization = Authorization::parse(authorization)?;
    let content = ContentDigest::parse(header(CONTENT_DIGEST_HEADER).unwrap_or_default())?;
    authorization.check_time((admission.now_seconds)(), admission.clock_skew_max)?;
    let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
    let signed = Signed {
        method: head.method.as_str(),
        target,
        content,
    };
    let caller = identify(admission, &authorization, &signed).await?;

    let pushes = head.method == "PUT" && target.starts_with(&format!("{ROOT_PATH}/plugins/"));
    let body = read_body(admission, body, pushes).await?;
    if ContentDigest::of(&body) != content {
        return Err(AuthError::OtherBody.into());
    }
    head.extensions.insert(caller);
    head.extensions.insert(body);
    Ok(Request::from_parts(head, Body::empty()))
}

async fn identify<A: Administration>(
    admission: &Admission<A>,
    authorization: &Authorization,
    signed: &Signed<'_>,
) -> Result<Caller, AdminError> {
    let key = admission.administration.access_key(&authorization.id).await?;
    let Some(key) = key else {
        return Err(AuthError::Wrong.into());
    };
    if !authorization.is_by(&key.secret, signed) {
        return Err(AuthError::Wrong.into());
    }
    if !key.enabled {
        return Err(AuthError::Disabled.into());
    }
    Ok(key.caller)
}

async fn read_body<A>(admission: &Admission<A>, body: Body, pushes: bool) -> Result<Bytes, AdminError> {
    let (limit, patience) = if pushes {
        (admission.component_bytes_max, admission.component_read)
    } else {
        (admission.body_bytes_max, admission.body_read)
    };
    let reading = axum::body::to_bytes(body, limit);
    match tokio::time::timeout(patience, reading).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) => Err(AdminError::new(
            AdminCode::TooLarge,
            format!("the body could not be read, or is over {limit} bytes: {error}"),
        )),
        Err(_) => Err(AdminError::malformed(format!(
            "the body took longer than {} s to arrive",
            patience.as_secs()
        ))),
    }
}

impl From<AuthError> for AdminError {
    fn from(error: AuthError) -> AdminError {
        AdminError::new(AdminCode::Unauthenticated, error.to_string())
    }
}

async fn serve<A: Administration>(
    operation: Operation,
    admission: &Admission<A>,
    parameters: &RawPathParams,
    request: Request,
) -> Response {
    let (tenant, bytes) = brought(&request);
    let outcome = match Call::parse(operation, parameters, request) {
        Ok(call) => perform(operation, &*admission.administration, call).await,
        Err(error) => Err(error),
    };
    let response = outcome.unwrap_or_else(AdminError::into_response);
    let metrics = &admission.metrics;
    metrics.admin_call(operation.name(), response.status().as_u16());
    metrics.bytes_in(tenant, bytes);
    metrics.bytes_out(tenant, response.body().size_hint().lower());
    response
}

/// Returns who brings a request, and how many bytes.
fn brought(request: &Request) -> (TenantId, u64) {
    let caller = request.extensions().get::<Caller>();
    let body = request.extensions().get::<Bytes>();
    let query = request.uri().query().unwrap_or_default();
    let bytes = body.map_or(0, Bytes::len) + query.len();
    let tenant = caller
        .expect("the signature check stands before every operation")
        .tenant;
    (tenant, bytes as u64)
}

async fn perform<A: Administration>(
    operation: Operation,
    does: &A,
    call: Call,
) -> Result<Response, AdminError> {
    let scope = &call.scope;
    match operation {
        Operation::ShowStatus => answer(does.status(scope).await),
        Operation::ShowCluster => answer(does.cluster(scope).await),
        Operation::ScrubCluster => answer(does.scrub_cluster(scope).await),
        Operation::MoveSet => answer(does.move_set(scope, call.set()?, call.body()?).await),
        Operation::DrainNode => answer(does.drain_node(scope, call.node()?).await),
        Operation::RemoveNode => answer(does.remove_node(scope, call.node()?).await),
        Operation::ListQueues => answer(does.queues(scope, call.list()?).await),
        Operation::CreateQueue => answer(does.create_queue(scope, call.body()?).await),
        Operation::ShowQueue => answer(does.queue(scope, call.name("queue")?).await),
        Operation::SetQueue => answer(does.set_queue(scope, call.name("queue")?, call.body()?).await),
        Operation::DeleteQueue => answer(does.delete_queue(scope, call.name("queue")?).await),
        Operation::SealQueue => answer(does.seal_queue(scope, call.name("queue")?, call.body()?).await),
        Operation::CopyQueue => answer(does.copy_queue(scope, call.name("queue")?, call.body()?).await),
        Operation::RewindQueue => answer(does.rewind_queue(scope, call.name("queue")?, call.body()?).await),
        Operation::SendMessages => {
            let request = call.send_request()?;
            answer(does.send_messages(scope, call.name("queue")?, request).await)
        }
        Operation::ReceiveMessages => {
            let request = call.receive_request()?;
            answer(does.receive_messages(scope, call.name("queue")?, request).await)
        }
        Operation::DeleteMessages => {
            let request = call.delete_request()?;
            answer(does.delete_messages(scope, call.name("queue")?, request).await)
        }
        Operation::ListTopics => answer(does.topics(scope, call.list()?).await),
        Operation::CreateTopic => answer(does.create_topic(scope, call.body()?).await),
        Operation::ShowTopic => answer(does.topic(scope, call.name("topic")?).await),
        Operation::SetTopic => answer(does.set_topic(scope, call.name("topic")?, call.body()?).await),
        Operation::DeleteTopic => answer(does.delete_topic(scope, call.name("topic")?).await),
        Operation::SealTopic => answer(does.seal_topic(scope, call.name("topic")?, call.body()?).await),
        Operation::PublishMessages => {
            let request = call.publish_request()?;
            answer(does.publish_messages(scope, call.name("topic")?, request).await)
        }
        Operation::ListSubscriptions => {
            answer(does.subscriptions(scope, call.name("topic")?, call.list()?).await)
        }
        Operation::CreateSubscription => answer(
            does.create_subscription(scope, call.name("topic")?, call.body()?)
                .await,
        ),
        Operation::ShowSubscription => {
            let (topic, subscription) = (call.name("topic")?, call.name("subscription")?);
            answer(does.subscription(scope, topic, subscription).await)
        }
        Operation::SetSubscription => {
            let (topic, subscription) = (call.name("topic")?, call.name("subscription")?);
            answer(
                does.set_subscription(scope, topic, subscription, call.body()?)
                    .await,
            )
        }
        Operation::DeleteSubscription => {
            let (topic, subscription) = (call.name("topic")?, call.name("subscription")?);
            answer(does.delete_subscription(scope, topic, subscription).await)
        }
        Operation::ListTenants => answer(does.tenants(scope, call.list()?).await),
        Operation::CreateTenant => answer(does.create_tenant(scope, call.body()?).await),
        Operation::ShowTenant => answer(does.tenant(scope, call.own_tenant()?).await),
        Operation::SetQuotas => answer(does.set_quotas(scope, call.name("name")?, call.body()?).await),
        Operation::RemoveTenant => answer(does.remove_tenant(scope, call.name("name")?).await),
        Operation::ListAccessKeys => answer(does.access_keys(scope).await),
        Operation::AddAccessKey => answer(does.add_access_key(scope, call.access_key_request()?).await),
        Operation::SetAccessKey => answer(does.set_access_key(scope, call.text("id")?, call.body()?).await),
        Operation::RemoveAccessKey => answer(does.remove_access_key(scope, call.text("id")?).await),
        Operation::ListMasterKeys => answer(does.master_keys(scope).await),
        Operation::CreateMasterKey => answer(does.create_master_key(scope, call.body()?).await),
        Operation::RotateMasterKey => answer(does.rotate_master_key(scope, call.name("key")?).await),
        Operation::SetMasterKey => {
            let change = call.master_key_change()?;
            answer(does.set_master_key(scope, call.name("key")?, change).await)
        }
        Operation::GenerateDataKey => answer(does.generate_data_key(scope, call.name("key")?).await),
        Operation::Decrypt => answer(does.decrypt(scope, call.body()?).await),
        Operation::ListSigningKeys => answer(does.signing_keys(scope).await),
        Operation::CreateSigningKey => answer(does.create_signing_key(scope, call.body()?).await),
        Operation::RotateSigningKey => answer(
            does.rotate_signing_key(scope, call.name("key")?, call.body()?)
                .await,
        ),
        Operation::RetireSigningKey => answer(does.retire_signing_key(scope, call.name("key")?).await),
        Operation::RemoveSigningKey => answer(does.remove_signing_key(scope, call.name("key")?).await),
        Operation::ListPlugins => answer(does.plugins(scope, call.list()?).await),
        Operation::PushPlugin => answer(does.push_plugin(scope, call.plugin_push()?).await),
        Operation::ShowPlugin => answer(does.plugin(scope, call.name("plugin")?).await),
        Operation::ActivatePlugin => answer(
            does.activate_plugin(scope, call.name("plugin")?, call.body()?)
                .await,
        ),
        Operation::RollBackPlugin => answer(does.roll_back_plugin(scope, call.name("plugin")?).await),
        Operation::RemovePluginVersion => {
            let (plugin, version) = (call.name("plugin")?, call.number("version")?);
            answer(does.remove_plugin_version(scope, plugin, version).await)
        }
        Operation::RedrivePlugin => {
            let request = call.redrive_request()?;
            answer(does.redrive_plugin(scope, call.name("plugin")?, request).await)
        }
        Operation::ReadPluginLogs => {
            answer(does.plugin_logs(scope, call.name("plugin")?, call.logs()?).await)
        }
        Operation::ListBindings => answer(does.bindings(scope).await),
        Operation::Bind => answer(does.bind(scope, call.bind_request()?).await),
        Operation::Unbind => answer(does.unbind(scope, call.unbind_request()?).await),
        Operation::ReadKept => answer(does.kept(scope, call.body()?).await),
        Operation::Quarantine => answer(does.quarantine(scope, call.quarantine_request()?).await),
        Operation::Record => answer(does.record(scope, call.record_request()?).await),
        Operation::ReadRecording => answer(does.read_recording(scope, call.unbind_request()?).await),
        Operation::EndRecording => answer(does.end_recording(scope, call.unbind_request()?).await),
        Operation::ListTrials => answer(does.trials(scope).await),
        Operation::BeginTrial => answer(does.begin_trial(scope, call.body()?).await),
        Operation::EndTrial => answer(does.end_trial(scope, call.body()?).await),
        Operation::Explain => answer(does.explain(scope, call.message()?).await),
    }
}
