//! The admin API described for machines: an OpenAPI 3.1 document, made from the operations and their shapes.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::auth::{CONTENT_DIGEST_HEADER, SCHEME};
use super::operation::Asks;
use super::shapes::{
    AccessKeyChange, AccessKeyCreate, AccessKeyCreated, AccessKeyView, ActivateRequest, ActiveVersion,
    BindRequest, BindingView, ClusterScrub, ClusterStatus, CopiedMessages, CopyRequest, DataKeyView,
    DecryptRequest, DecryptedKey, DeleteRequest, DeletedMessages, Done, Explanation, KeptPage, KeptRequest,
    MasterKeyChange, MasterKeyCreate, MasterKeyView, NameView, NodeStatus, Page, PluginLogs, PluginPushed,
    PluginView, PublishRequest, QuarantineRequest, QueueCreate, QueueSettings, QueueView, QuotaSettings,
    ReceiveRequest, ReceivedMessages, RecordRequest, RecordingView, RedriveRequest, RedrivenView,
    RewindRequest, SealRequest, SendRequest, SentMessages, SetMove, SigningKeyCreate, SigningKeyMade,
    SigningKeyRotate, SigningKeyView, SubscriptionCreate, SubscriptionSettings, SubscriptionView,
    TenantCreate, TenantView, TopicCreate, TopicSettings, TopicView, TrialEndRequest, TrialRequest,
    TrialView, UnbindRequest,
};
use super::{AdminError, Operation, ROOT_PATH};

/// What a request carries.
enum Carries {
    /// Nothing.
    Nothing,
    /// JSON of this schema.
    Json(Schema),
    /// A WebAssembly component.
    Component,
}

/// Returns the description.
pub fn describe() -> Value {
    let mut settings = SchemaSettings::draft2020_12();
    settings.definitions_path = "/components/schemas".into();
    settings.meta_schema = None;
    let mut generator = settings.into_generator();
    let error = generator.subschema_for::<AdminError>();
    let mut paths: Map<String, Value> = Map::new();
    for &operation in Operation::ALL {
        let (verb, path, _) = operation.route();
        let entry = paths
            .entry(format!("{ROOT_PATH}{path}"))
            .or_insert_with(|| json!({}));
        entry[verb.as_str().to_ascii_lowercase()] = describe_one(operation, &error, &mut generator);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Posthouse admin API",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Administers queues, topics, tenants, keys and plugins. An access key acts for its \
                            own tenant; a root key for any, with `tenant`.",
        },
        "paths": paths,
        "security": [{ "signature": [] }],
        "components": {
            "securitySchemes": { "signature": describe_signature() },
            "schemas": generator.take_definitions(true),
        },
    })
}

fn describe_signature() -> Value {
    json!({
        "type": "apiKey",
        "in": "header",
        "name": "Authorization",
        "description": format!(
            "`{SCHEME} id=ID,timestamp=SECONDS,signature=HEX`: HMAC-SHA256 with the secret, in hexadecimal, over \
             the lines `{SCHEME}`, SECONDS since 1970, the method, path and query as sent, and the SHA-256 of \
             the body in hexadecimal, joined by line feeds. The last also goes in `{CONTENT_DIGEST_HEADER}`."
        ),
    })
}

fn describe_one(operation: Operation, error: &Schema, generator: &mut SchemaGenerator) -> Value {
    let (_, path, summary) = operation.route();
    let (request, response) = bodies(operation, generator);
    let mut parameters = path_parameters(path);
    parameters.extend(query_parameters(operation));
    let mut described = json!({
        "operationId": operation.name(),
        "summary": summary,
        "tags": [path.split('/').nth(1).unwrap_or_default()],
        "parameters": parameters,
        "responses": {
            "200": {
                "description": "Done.",
                "content": { "application/json": { "schema": response } },
            },
            "default": {
                "description": "Not done, or perhaps: the code says.",
                "content": { "application/json": { "schema": error } },
            },
        },
    });
    match request {
        Carries::Nothing => {}
        Carries::Json(schema) => {
            described["requestBody"] = json!({ "content": { "application/json": { "schema": schema } } });
        }
        Carries::Component => {
            described["requestBody"] = json!({ "required": true, "content": { "application/wasm": {} } });
        }
    }
    if operation.is_for_root() {
        described["description"] = json!("For root access keys.");
    }
    described
}

fn path_parameters(path: &str) -> Vec<Value> {
    let mut parameters = Vec::new();
    for part in path.split('/') {
        if let Some(name) = part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
            parameters.push(json!({
                "name": name,
                "in": "path",
                "required": true,
                "schema": { "type": "string" },
            }));
        }
    }
    parameters
}

fn query_parameters(operation: Operation) -> Vec<Value> {
    let text = json!({ "type": "string" });
    let count = json!({ "type": "integer", "minimum": 1, "maximum": 1_000, "default": 100 });
    let limit = ("limit", count, "The most items.");
    let mut parameters = vec![(
        "tenant",
        text.clone(),
        "The tenant to act for; the key's own when absent.",
    )];
    match operation.asks() {
        Asks::Nothing => {}
        Asks::Limit => parameters.push(limit),
        Asks::Page => {
            parameters.push(("search", text.clone(), "Only names that contain this."));
            parameters.push((
                "after",
                text,
                "Only what comes after this: `next` of the page before.",
            ));
            parameters.push(limit);
        }
        Asks::Push => {
            let worlds = json!({ "type": "string", "enum": ["route", "filter", "deliver", "seal"] });
            parameters.push(("world", worlds, "The world it must export."));
            let platform = "Whether it is for every tenant. For root access keys.";
            parameters.push(("platform", json!({ "type": "boolean" }), platform));
            let digest = "The digest that the component must have, `sha256:` and 64 hexadecimal digits; any other is refused.";
            parameters.push(("digest", json!({ "type": "string" }), digest));
        }
    }
    let described = parameters.into_iter().map(|(name, schema, description)| {
        json!({ "name": name, "in": "query", "schema": schema, "description": description })
    });
    described.collect()
}

fn bodies(operation: Operation, generator: &mut SchemaGenerator) -> (Carries, Schema) {
    match operation {
        Operation::ShowStatus => none::<NodeStatus>(generator),
        Operation::ShowCluster => none::<ClusterStatus>(generator),
        Operation::ScrubCluster => none::<ClusterScrub>(generator),
        Operation::MoveSet => json::<SetMove, Done>(generator),
        Operation::ListQueues | Operation::ListTopics => none::<Page<NameView>>(generator),
        Operation::CreateQueue => json::<QueueCreate, QueueView>(generator),
        Operation::ShowQueue => none::<QueueView>(generator),
        Operation::SetQueue => json::<QueueSettings, QueueView>(generator),
        Operation::SealQueue | Operation::SealTopic => json::<SealRequest, Done>(generator),
        Operation::RewindQueue => json::<RewindRequest, Done>(generator),
        Operation::CopyQueue => json::<CopyRequest, CopiedMessages>(generator),
        Operation::SendMessages => json::<SendRequest, SentMessages>(generator),
        Operation::ReceiveMessages => json::<ReceiveRequest, ReceivedMessages>(generator),
        Operation::DeleteMessages => json::<DeleteRequest, DeletedMessages>(generator),
        Operation::CreateTopic => json::<TopicCreate, TopicView>(generator),
        Operation::ShowTopic => none::<TopicView>(generator),
        Operation::SetTopic => json::<TopicSettings, TopicView>(generator),
        Operation::PublishMessages => json::<PublishRequest, SentMessages>(generator),
        Operation::ListSubscriptions => none::<Page<SubscriptionView>>(generator),
        Operation::CreateSubscription => json::<SubscriptionCreate, SubscriptionView>(generator),
        Operation::ShowSubscription => none::<SubscriptionView>(generator),
        Operation::SetSubscription => json::<SubscriptionSettings, SubscriptionView>(generator),
        Operation::ListTenants => none::<Page<TenantView>>(generator),
        Operation::CreateTenant => json::<TenantCreate, TenantView>(generator),
        Operation::ShowTenant => none::<TenantView>(generator),
        Operation::SetQuotas => json::<QuotaSettings, TenantView>(generator),
        Operation::ListAccessKeys => none::<Page<AccessKeyView>>(generator),
        Operation::AddAccessKey => json::<AccessKeyCreate, AccessKeyCreated>(generator),
        Operation::SetAccessKey => json::<AccessKeyChange, AccessKeyView>(generator),
        Operation::ListMasterKeys => none::<Page<MasterKeyView>>(generator),
        Operation::CreateMasterKey => json::<MasterKeyCreate, MasterKeyView>(generator),
        Operation::RotateMasterKey => none::<MasterKeyView>(generator),
        Operation::SetMasterKey => json::<MasterKeyChange, MasterKeyView>(generator),
        Operation::GenerateDataKey => none::<DataKeyView>(generator),
        Operation::Decrypt => json::<DecryptRequest, DecryptedKey>(generator),
        Operation::ListSigningKeys => none::<Page<SigningKeyView>>(generator),
        Operation::CreateSigningKey => json::<SigningKeyCreate, SigningKeyMade>(generator),
        Operation::RotateSigningKey => json::<SigningKeyRotate, SigningKeyMade>(generator),
        Operation::RetireSigningKey => none::<SigningKeyView>(generator),
        Operation::ListPlugins => none::<Page<PluginView>>(generator),
        Operation::PushPlugin => (Carries::Component, generator.subschema_for::<PluginPushed>()),
        Operation::ShowPlugin => none::<PluginView>(generator),
        Operation::ActivatePlugin => json::<ActivateRequest, ActiveVersion>(generator),
        Operation::RollBackPlugin => none::<ActiveVersion>(generator),
        Operation::RedrivePlugin => json::<RedriveRequest, RedrivenView>(generator),
        Operation::ReadPluginLogs => none::<PluginLogs>(generator),
        Operation::ListBindings => none::<Page<BindingView>>(generator),
        Operation::Bind => json::<BindRequest, BindingView>(generator),
        Operation::Unbind => json::<UnbindRequest, Done>(generator),
        Operation::ReadKept => json::<KeptRequest, KeptPage>(generator),
        Operation::Record => json::<RecordRequest, RecordingView>(generator),
        Operation::ReadRecording | Operation::EndRecording => json::<UnbindRequest, RecordingView>(generator),
        Operation::Quarantine => json::<QuarantineRequest, BindingView>(generator),
        Operation::ListTrials => none::<Page<TrialView>>(generator),
        Operation::BeginTrial => json::<TrialRequest, Done>(generator),
        Operation::EndTrial => json::<TrialEndRequest, Done>(generator),
        Operation::Explain => none::<Explanation>(generator),
        Operation::DeleteQueue
        | Operation::DeleteTopic
        | Operation::DeleteSubscription
        | Operation::RemovePluginVersion
        | Operation::RemoveTenant
        | Operation::DrainNode
        | Operation::RemoveNode
        | Operation::RemoveSigningKey
        | Operation::RemoveAccessKey => none::<Done>(generator),
    }
}

fn none<A: JsonSchema>(generator: &mut SchemaGenerator) -> (Carries, Schema) {
    (Carries::Nothing, generator.subschema_for::<A>())
}

fn json<Q: JsonSchema, A: JsonSchema>(generator: &mut SchemaGenerator) -> (Carries, Schema) {
    (
        Carries::Json(generator.subschema_for::<Q>()),
        generator.subschema_for::<A>(),
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_operation_is_described_once_under_its_route() {
        let document = describe();
        let mut ids = BTreeSet::new();
        for &operation in Operation::ALL {
            let (verb, path, summary) = operation.route();
            let described =
                &document["paths"][format!("{ROOT_PATH}{path}")][verb.as_str().to_ascii_lowercase()];
            assert_eq!(described["summary"], summary, "{operation:?}");
            assert_eq!(described["operationId"], format!("{operation:?}"));
            assert!(
                ids.insert(format!("{operation:?}")),
                "{operation:?} is listed twice"
            );
        }
        let paths = document["paths"].as_object().expect("an object");
        let described: usize = paths
            .values()
            .map(|path| path.as_object().expect("verbs").len())
            .sum();
        assert_eq!(described, Operation::ALL.len());
    }

    #[test]
    fn every_reference_leads_somewhere_and_every_shape_says_what_it_is() {
        let document = describe();
        let mut references = Vec::new();
        collect_references(&document, &mut references);
        assert!(references.len() > Operation::ALL.len());
        for reference in references {
            let pointer = reference
                .strip_prefix('#')
                .expect("a reference within the document");
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
        let schemas = document["components"]["schemas"].as_object().expect("an object");
        for (name, schema) in schemas {
            assert!(schema["description"].is_string(), "{name}");
        }
    }

    fn collect_references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Object(entries) => {
                for (key, value) in entries {
                    match (key.as_str(), value) {
                        ("$ref", Value::String(reference)) => found.push(reference),
                        _ => collect_references(value, found),
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|item| collect_references(item, found)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
}
