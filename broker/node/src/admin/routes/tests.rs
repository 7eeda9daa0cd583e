//! Every operation over real HTTP: who may do what, and what is refused.

use reqwest::{Method, StatusCode};

use super::*;
use crate::admin::fake::{BODY_BYTES_MAX, COMPONENT_BYTES_MAX, NOW_SECONDS, serve};

/// A request to the fake, and how it is signed.
struct Asked {
    method: &'static str,
    target: String,
    body: Vec<u8>,
    id: &'static str,
    at_seconds: u64,
}

fn asked(method: &'static str, path: &str) -> Asked {
    Asked {
        method,
        target: format!("{ROOT_PATH}{path}"),
        body: Vec::new(),
        id: "root",
        at_seconds: NOW_SECONDS,
    }
}

// === impl Asked ===

impl Asked {
    fn with(self, body: &str) -> Asked {
        Asked {
            body: body.as_bytes().to_vec(),
            ..self
        }
    }

    fn by(self, id: &'static str) -> Asked {
        Asked { id, ..self }
    }

    fn signed(&self, url: &reqwest::Url) -> reqwest::RequestBuilder {
        let content = ContentDigest::of(&self.body);
        let signed = Signed {
            method: self.method,
            target: &self.target,
            content,
        };
        let authorization = Authorization::sign(self.id, self.id.as_bytes(), self.at_seconds, &signed);
        let address = format!("{}{}", url.as_str().trim_end_matches('/'), self.target);
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        client
            .request(
                Method::from_bytes(self.method.as_bytes()).expect("a method"),
                address,
            )
            .header(AUTHORIZATION, authorization.to_string())
            .header(CONTENT_DIGEST_HEADER, content.to_string())
            .body(self.body.clone())
    }

    async fn send(&self, url: &reqwest::Url) -> (StatusCode, String) {
        outcome(self.signed(url)).await
    }

    /// Returns the code and message of the error that is answered.
    async fn refused(&self, url: &reqwest::Url) -> (AdminCode, String) {
        let (status, body) = self.send(url).await;
        let error: AdminError = serde_json::from_str(&body).expect(&body);
        assert_eq!(status, error.code.status(), "{body}");
        (error.code, error.message)
    }
}

async fn outcome(request: reqwest::RequestBuilder) -> (StatusCode, String) {
    let response = request.send().await.expect("an answer");
    (response.status(), response.text().await.expect("text"))
}

fn now() -> u64 {
    NOW_SECONDS
}

/// Returns a body that the operation takes.
fn body_for(operation: Operation) -> &'static str {
    match operation {
        Operation::CreateQueue
        | Operation::CreateTopic
        | Operation::CreateTenant
        | Operation::CreateMasterKey
        | Operation::CreateSigningKey => r#"{"name":"a-name"}"#,
        Operation::CreateSubscription => r#"{"name":"a-name","endpoint":{"queue":"orders"}}"#,
        Operation::MoveSet => r#"{"from":1,"to":4}"#,
        Operation::SealQueue | Operation::SealTopic => r#"{"master_key":"main"}"#,
        Operation::RewindQueue => r#"{"to_ms":5}"#,
        Operation::CopyQueue => r#"{"into":"scratch","since_ms":5}"#,
        Operation::SendMessages | Operation::PublishMessages => r#"{"messages":[{"body":"x"}]}"#,
        Operation::DeleteMessages => r#"{"receipt_handles":["7"]}"#,
        Operation::SetAccessKey => r#"{"status":"disabled"}"#,
        Operation::SetMasterKey => r#"{"to":"deletion","after_seconds":3600}"#,
        Operation::Decrypt => r#"{"wrapped_base64":"AAAA"}"#,
        Operation::PushPlugin => "component",
        Operation::Bind => r#"{"place":{"at":"platform"},"plugin":"p"}"#,
        Operation::BeginTrial => r#"{"place":{"at":"topic","topic":"t"},"plugin":"p"}"#,
        Operation::EndTrial => r#"{"place":{"at":"topic","topic":"t"},"world":"route","end":"stop"}"#,
        Operation::Unbind
        | Operation::Quarantine
        | Operation::ReadKept
        | Operation::Record
        | Operation::ReadRecording
        | Operation::EndRecording => r#"{"place":{"at":"topic","topic":"t"},"world":"route"}"#,
        _ => "",
    }
}

/// Returns the method of [`Administration`] that is to be reached.
fn method_for(operation: Operation) -> String {
    let name = match operation {
        Operation::ListTopics => "topics",
        Operation::ListQueues => "queues",
        Operation::ListSubscriptions => "subscriptions",
        Operation::ListTenants => "tenants",
        Operation::ListAccessKeys => "access_keys",
        Operation::ListMasterKeys => "master_keys",
        Operation::ListSigningKeys => "signing_keys",
        Operation::ListPlugins => "plugins",
        Operation::ListBindings => "bindings",
        Operation::ListTrials => "trials",
        Operation::ReadPluginLogs => "plugin_logs",
        Operation::ReadKept => "kept",
        other => other.name(),
    };
    let mut snake = String::new();
    for letter in name.strip_prefix("Show").unwrap_or(name).chars() {
        if letter.is_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

#[tokio::test]
async fn every_operation_reaches_its_method_with_what_its_path_names() {
    let url = serve(now).await;
    for &operation in Operation::ALL {
        let (verb, template, _) = operation.route();
        let numbered = ["message", "version", "set", "node"]
            .iter()
            .fold(template.to_owned(), |path, parameter| {
                path.replace(&format!("{{{parameter}}}"), "42")
            });
        let path = numbered.replace(['{', '}'], "");
        let asked = asked(verb.as_str(), &format!("{path}?tenant=elsewhere")).with(body_for(operation));
        let (code, message) = asked.refused(&url).await;
        assert_eq!(code, AdminCode::Conflict, "{operation:?}: {message}");
        let expected = format!("{} for elsewhere ", method_for(operation));
        assert!(message.starts_with(&expected), "{operation:?}: {message}");
        for part in template.split('{').skip(1) {
            let parameter = match part.split('}').next().expect("a name") {
                "message" | "version" | "set" | "node" => "42",
                name => name,
            };
            assert!(message.contains(parameter), "{operation:?}: {message}");
        }
    }
}

#[tokio::test]
async fn the_description_needs_no_signature_and_unknown_routes_are_told() {
    let url = serve(now).await;
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let (status, body) = outcome(client.get(format!("{url}admin/v1/openapi.json"))).await;
    assert_eq!(status, StatusCode::OK);
    let document: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(document["openapi"], "3.1.0");

    for (method, path) in [("GET", "/nothing"), ("DELETE", "/queues")] {
        let (code, message) = asked(method, path).refused(&url).await;
        assert_eq!(code, AdminCode::NoRoute, "{message}");
    }
}

#[tokio::test]
async fn only_what_was_signed_by_an_enabled_key_and_in_time_is_served() {
    let url = serve(now).await;
    let get = || asked("GET", "/status");
    assert_eq!(get().refused(&url).await.0, AdminCode::Conflict);

    let late = Asked {
        at_seconds: NOW_SECONDS + 61,
        ..get()
    };
    for refused in [get().by("nobody"), get().by("off"), late] {
        assert_eq!(refused.refused(&url).await.0, AdminCode::Unauthenticated);
    }

    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let (status, _) = outcome(client.get(format!("{url}admin/v1/status"))).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);

    let post = asked("POST", "/queues").with(r#"{"name":"a"}"#);
    let swapped = post.signed(&url).body(r#"{"name":"b"}"#);
    let (status, body) = outcome(swapped).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED, "{body}");
    let moved = Asked {
        target: format!("{ROOT_PATH}/queues?tenant=other"),
        ..asked("GET", "/queues")
    };
    let request = asked("GET", "/queues").signed(&url).build().expect("a request");
    let authorization = request.headers()[AUTHORIZATION].clone();
    let replaced = client
        .get(format!("{}{}", url.as_str().trim_end_matches('/'), moved.target))
        .header(AUTHORIZATION, authorization)
        .header(CONTENT_DIGEST_HEADER, ContentDigest::of(b"").to_string());
    assert_eq!(outcome(replaced).await.0, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_key_that_is_not_root_acts_for_its_own_tenant_only() {
    let url = serve(now).await;
    let by_shop = |method, path: &str| asked(method, path).by("shop");
    assert_eq!(
        by_shop("GET", "/queues?tenant=SHOP").refused(&url).await.0,
        AdminCode::Conflict
    );
    assert_eq!(
        by_shop("GET", "/tenants/shop").refused(&url).await.0,
        AdminCode::Conflict
    );
    for forbidden in [
        by_shop("GET", "/queues?tenant=other"),
        by_shop("GET", "/tenants"),
        by_shop("GET", "/tenants/other"),
        by_shop("POST", "/tenants").with(r#"{"name":"a"}"#),
        by_shop("PATCH", "/tenants/shop/quotas").with(r#"{"queues":5}"#),
        by_shop("DELETE", "/tenants/shop"),
        by_shop("POST", "/cluster/sets/1/move").with(r#"{"from":1,"to":4}"#),
        by_shop("POST", "/cluster/nodes/1/drain"),
        by_shop("DELETE", "/cluster/nodes/1"),
        by_shop("POST", "/access-keys").with(r#"{"root":true}"#),
        by_shop("PUT", "/plugins/p?platform=true").with("component"),
        by_shop("POST", "/bindings").with(r#"{"place":{"at":"http_endpoints"},"plugin":"p"}"#),
        by_shop("POST", "/bindings/unbind").with(r#"{"place":{"at":"platform"},"world":"route"}"#),
        by_shop("POST", "/bindings/quarantine")
            .with(r#"{"place":{"at":"queue_endpoints"},"world":"deliver"}"#),
    ] {
        let (code, message) = forbidden.refused(&url).await;
        assert_eq!(code, AdminCode::Forbidden, "{}: {message}", forbidden.target);
    }
}

#[tokio::test]
async fn what_is_malformed_is_refused_with_its_field() {
    let url = serve(now).await;
    for (method, path, body, field) in [
        ("POST", "/queues", r#"{"name":"1a"}"#, "letter"),
        ("POST", "/queues", r#"{"name":"a","colour":1}"#, "colour"),
        ("POST", "/queues", "not JSON", "line 1"),
        ("GET", "/queues/1a", "", "queue"),
        ("GET", "/queues?limit=1001", "", "limit"),
        ("GET", "/queues?colour=red", "", "colour"),
        ("GET", "/status?limit=5", "", "limit"),
        ("GET", "/status?digest=00", "", "digest"),
        (
            "PUT",
            "/plugins/p?digest=md5:00",
            "component",
            "64 hexadecimal digits",
        ),
        ("POST", "/queues/a/messages", r#"{"messages":[]}"#, "messages"),
        (
            "POST",
            "/queues/a/messages",
            r#"{"messages":[{"body":"x"}],"token":""}"#,
            "token",
        ),
        ("POST", "/queues/a/receive", r#"{"max":17}"#, "max"),
        (
            "POST",
            "/queues/a/receive",
            r#"{"wait_seconds":31}"#,
            "wait_seconds",
        ),
        (
            "POST",
            "/queues/a/delete",
            r#"{"receipt_handles":["x"]}"#,
            "whole number",
        ),
        (
            "POST",
            "/topics/a/messages",
            r#"{"messages":[{"body":"x"}],"tags":["a","b","c","d","e","f"]}"#,
            "tags",
        ),
        ("POST", "/access-keys", r#"{"id":"a,b"}"#, "id"),
        (
            "PUT",
            "/master-keys/a/state",
            r#"{"to":"deletion","after_seconds":1}"#,
            "after_seconds",
        ),
        ("PUT", "/plugins/a", "", "component"),
        ("GET", "/messages/x", "", "whole number"),
    ] {
        let (code, message) = asked(method, path).with(body).refused(&url).await;
        assert_eq!(code, AdminCode::Malformed, "{path} {body}: {message}");
        assert!(message.contains(field), "{path} {body}: {message}");
    }
}

#[tokio::test]
async fn bodies_have_a_bound_and_components_a_higher_one() {
    let url = serve(now).await;
    let long = "x".repeat(BODY_BYTES_MAX + 1);
    let refused = asked("POST", "/queues").with(&long).refused(&url).await;
    assert_eq!(refused.0, AdminCode::TooLarge, "{}", refused.1);
    assert_eq!(
        asked("PUT", "/plugins/p").with(&long).refused(&url).await.0,
        AdminCode::Conflict
    );
    let longer = "x".repeat(COMPONENT_BYTES_MAX + 1);
    assert_eq!(
        asked("PUT", "/plugins/p").with(&longer).refused(&url).await.0,
        AdminCode::TooLarge
    );
}
