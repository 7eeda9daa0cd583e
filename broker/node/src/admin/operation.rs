//! What the admin API can be asked for: one [`Operation`] a route. The routes, their description and their
//! handlers are all made from this list, so that none can be forgotten.

use axum::routing::MethodFilter;

/// Where the admin API begins.
pub const ROOT_PATH: &str = "/admin/v1";

macro_rules! operations {
    ($($name:ident: $verb:ident $path:literal, $summary:literal;)*) => {
        /// What the admin API can be asked for.
        #[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
        pub enum Operation {
            $(#[doc = $summary] $name,)*
        }

        impl Operation {
            /// Every operation.
            pub const ALL: &[Operation] = &[$(Operation::$name),*];

            /// Returns how it is asked for: method, path below [`ROOT_PATH`], and what it does in a line.
            pub fn route(self) -> (Verb, &'static str, &'static str) {
                match self {
                    $(Operation::$name => (Verb::$verb, $path, $summary),)*
                }
            }

            /// Returns its name, as the description and the metrics use it.
            pub fn name(self) -> &'static str {
                match self {
                    $(Operation::$name => stringify!($name),)*
                }
            }
        }
    };
}

operations! {
    ShowStatus: Get "/status", "Says how the answering node is";
    ShowCluster: Get "/cluster", "Says how all nodes of the cluster are. Needs a root access key";
    ScrubCluster: Post "/cluster/scrub", "Has all nodes read everything durable again, to find damage. Needs a root access key";
    MoveSet: Post "/cluster/sets/{set}/move", "Gives a set a replica on one node in place of that on another";
    DrainNode: Post "/cluster/nodes/{node}/drain", "Moves a node's replicas of sets to other nodes, and gives it none any more";
    RemoveNode: Delete "/cluster/nodes/{node}", "Lets a node go that was drained";
    ListQueues: Get "/queues", "Lists queues";
    CreateQueue: Post "/queues", "Creates a queue";
    ShowQueue: Get "/queues/{queue}", "Shows a queue";
    SetQueue: Patch "/queues/{queue}", "Changes a queue's settings";
    DeleteQueue: Delete "/queues/{queue}", "Removes a queue with its messages";
    SealQueue: Put "/queues/{queue}/seal", "Seals what is put into a queue, or no longer";
    RewindQueue: Post "/queues/{queue}/rewind", "Starts a queue again from a time";
    CopyQueue: Post "/queues/{queue}/copy", "Copies what a queue keeps into another one, and leaves it as it is";
    SendMessages: Post "/queues/{queue}/messages", "Puts messages into a queue";
    ReceiveMessages: Post "/queues/{queue}/receive", "Receives messages from a queue";
    DeleteMessages: Post "/queues/{queue}/delete", "Deletes received messages";
    ListTopics: Get "/topics", "Lists topics";
    CreateTopic: Post "/topics", "Creates a topic";
    ShowTopic: Get "/topics/{topic}", "Shows a topic";
    SetTopic: Patch "/topics/{topic}", "Changes a topic's settings";
    DeleteTopic: Delete "/topics/{topic}", "Removes a topic that has no subscriptions";
    SealTopic: Put "/topics/{topic}/seal", "Seals what is published to a topic, or no longer";
    PublishMessages: Post "/topics/{topic}/messages", "Publishes messages to a topic";
    ListSubscriptions: Get "/topics/{topic}/subscriptions", "Lists a topic's subscriptions";
    CreateSubscription: Post "/topics/{topic}/subscriptions", "Adds a subscription to a topic";
    ShowSubscription: Get "/topics/{topic}/subscriptions/{subscription}", "Shows a subscription";
    SetSubscription: Patch "/topics/{topic}/subscriptions/{subscription}", "Changes a subscription's settings";
    DeleteSubscription: Delete "/topics/{topic}/subscriptions/{subscription}", "Removes a subscription with its backlog";
    ListTenants: Get "/tenants", "Lists tenants";
    CreateTenant: Post "/tenants", "Adds a tenant";
    ShowTenant: Get "/tenants/{name}", "Shows a tenant";
    SetQuotas: Patch "/tenants/{name}/quotas", "Changes what a tenant may use";
    RemoveTenant: Delete "/tenants/{name}", "Removes a tenant that has no queues and no topics";
    ListAccessKeys: Get "/access-keys", "Lists a tenant's access keys";
    AddAccessKey: Post "/access-keys", "Adds an access key to a tenant";
    SetAccessKey: Patch "/access-keys/{id}", "Enables or disables an access key";
    RemoveAccessKey: Delete "/access-keys/{id}", "Removes an access key";
    ListMasterKeys: Get "/master-keys", "Lists a tenant's master keys";
    CreateMasterKey: Post "/master-keys", "Makes a master key";
    RotateMasterKey: Post "/master-keys/{key}/rotate", "Adds a version to a master key";
    SetMasterKey: Put "/master-keys/{key}/state", "Changes what a master key may be used for";
    GenerateDataKey: Post "/master-keys/{key}/data-keys", "Makes a data key, to seal on your side";
    Decrypt: Post "/decrypt", "Tells a data key that was wrapped";
    ListSigningKeys: Get "/signing-keys", "Lists a tenant's signing keys, with their public keys";
    CreateSigningKey: Post "/signing-keys", "Makes a signing key";
    RotateSigningKey: Post "/signing-keys/{key}/rotate", "Adds a version to a signing key, which signs beside the older one";
    RetireSigningKey: Post "/signing-keys/{key}/retire", "Takes the older of a signing key's two versions out of use";
    RemoveSigningKey: Delete "/signing-keys/{key}", "Removes a signing key";
    ListPlugins: Get "/plugins", "Lists plugins";
    PushPlugin: Put "/plugins/{plugin}", "Records a version of a plugin";
    ShowPlugin: Get "/plugins/{plugin}", "Shows a plugin";
    ActivatePlugin: Post "/plugins/{plugin}/activate", "Makes a plugin's bindings use a version";
    RollBackPlugin: Post "/plugins/{plugin}/roll-back", "Puts a plugin's bindings back to the version before";
    RemovePluginVersion: Delete "/plugins/{plugin}/versions/{version}", "Removes a version of a plugin that nothing is bound to";
    RedrivePlugin: Post "/plugins/{plugin}/redrive", "Sends messages on their way again that were parked because a plugin failed on them";
    ReadPluginLogs: Get "/plugins/{plugin}/logs", "Returns what a plugin wrote, newest last";
    ListBindings: Get "/bindings", "Lists bindings";
    Bind: Post "/bindings", "Binds a plugin to a place";
    Unbind: Post "/bindings/unbind", "Unbinds what is bound to a place";
    ReadKept: Post "/bindings/kept", "Tells what a binding's plugin keeps";
    Quarantine: Post "/bindings/quarantine", "Takes a binding out of use, or puts it back";
    Record: Post "/bindings/record", "Has all nodes keep the calls of a binding's plugin that fail, for a while";
    ReadRecording: Post "/bindings/recorded", "Returns what was recorded of a binding";
    EndRecording: Post "/bindings/record/end", "Ends a recording, and forgets what was recorded";
    ListTrials: Get "/trials", "Lists versions that are tried beside those in use, with what came of it";
    BeginTrial: Post "/trials", "Tries a version of a bound plugin beside the one in use";
    EndTrial: Post "/trials/end", "Ends a trial: the version is put in use, or not";
    Explain: Get "/messages/{message}", "Says what became of a message";
}

/// An HTTP method that the admin API uses.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verb {
    /// Reads.
    Get,
    /// Makes, or does something.
    Post,
    /// Puts in place.
    Put,
    /// Changes.
    Patch,
    /// Removes.
    Delete,
}

/// Query parameters that an operation takes beside `tenant`, which all but a few take.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Asks {
    /// None.
    Nothing,
    /// `search`, `after`, `limit`.
    Page,
    /// `limit`.
    Limit,
    /// `world`, `platform`, `digest`.
    Push,
}

// === impl Operation ===

impl Operation {
    /// Returns the query parameters that it takes beside `tenant`.
    pub fn asks(self) -> Asks {
        match self {
            Operation::ListQueues
            | Operation::ListTopics
            | Operation::ListSubscriptions
            | Operation::ListTenants
            | Operation::ListPlugins => Asks::Page,
            Operation::ReadPluginLogs => Asks::Limit,
            Operation::PushPlugin => Asks::Push,
            _ => Asks::Nothing,
        }
    }

    /// Returns whether only root keys may ask for it.
    pub fn is_for_root(self) -> bool {
        matches!(
            self,
            Operation::ListTenants
                | Operation::CreateTenant
                | Operation::SetQuotas
                | Operation::RemoveTenant
                | Operation::MoveSet
                | Operation::DrainNode
                | Operation::RemoveNode
        )
    }
}

// === impl Verb ===

impl Verb {
    /// Returns the method as requests spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Verb::Get => "GET",
            Verb::Post => "POST",
            Verb::Put => "PUT",
            Verb::Patch => "PATCH",
            Verb::Delete => "DELETE",
        }
    }

    pub(super) fn filter(self) -> MethodFilter {
        match self {
            Verb::Get => MethodFilter::GET,
            Verb::Post => MethodFilter::POST,
            Verb::Put => MethodFilter::PUT,
            Verb::Patch => MethodFilter::PATCH,
            Verb::Delete => MethodFilter::DELETE,
        }
    }
}
