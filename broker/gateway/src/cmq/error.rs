//! Every error that a client can be answered: CMQ's table, and what of the model's words falls under which row.
//!
//! Texts are spelled as CMQ published them, its slips included, because clients compare them. What the broker
//! knows beyond the row follows after a colon.

use posthouse_model::{DirectoryRefusal, Kind, Refusal};

/// An error as a client sees it.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("({module}){text}")]
pub struct CmqError {
    /// The code that SDKs tell errors apart by.
    pub code: u32,
    /// The finer code, shown before the text.
    pub module: u32,
    /// The text, without the module code.
    pub text: String,
    /// Whether what was asked may have been done all the same; the text says so too.
    pub in_doubt: bool,
}

macro_rules! rows {
    ($($name:ident $(($parameter:ident))? = $code:literal / $module:literal, $text:literal;)*) => {
        /// One constructor for each row of CMQ's table.
        impl CmqError {
            $(
                #[doc = concat!("`", $code, "/", $module, "`: ", $text, ".")]
                pub fn $name($($parameter: &str)?) -> CmqError {
                    CmqError { code: $code, module: $module, text: format!($text), in_doubt: false }
                }
            )*

            /// Returns every row, with `%s` for what is named in it.
            #[cfg(test)]
            fn rows() -> Vec<CmqError> {
                vec![$(CmqError::$name($(rows!(@shown $parameter))?)),*]
            }
        }
    };
    (@shown $parameter:ident) => { "%s" };
}

rows! {
    invalid_request = 4000 / 10000, "invalid request parameters";
    lacked_parameters = 4000 / 10010, "lacked of required parameters";
    queue_name_format = 4000 / 10020, "queue name format error";
    request_parameters_error = 4000 / 10110, "request parameters error";
    empty_body = 4000 / 10120, "message body can't be empty";
    no_action = 4000 / 10280, "action is not existed";
    key_format(parameter) = 4000 / 10310, "error: parameter {parameter} key format error";
    no_such_parameter(parameter) = 4000 / 10320, "no such parameter {parameter}";
    not_repeatable(parameter) = 4000 / 10330, "parameter {parameter} is NOT a repeatable parameter";
    out_of_range(parameter) = 4000 / 10350, "parameter {parameter} value or length is out of range";
    wrong_type(parameter) = 4000 / 10360, "parameter {parameter} error type";
    batch_size(parameter) = 4000 / 10370, "{parameter} parameter batch size is out of range";
    not_consequent(parameter) = 4000 / 10380, "{parameter} parameter is not consequent";
    lacked(parameter) = 4000 / 10390, "lacked of required parameter {parameter}";
    not_in_uri(parameter) = 4000 / 10400, "cannot find parameter {parameter} in uri";
    unexpected_method(method) = 4000 / 10410, "unexpected http {method} only GET or POST is supported";
    cannot_parse(what) = 4000 / 10420, "cannot parse {what}, or request size is more than 1MB";
    unknown_action(action) = 4000 / 10430, "action name {action} is not existed";
    illegal_account = 4000 / 10440, "account illegal, it may be an assistant account";
    secret_id_prefix = 4000 / 10450, "secret id dosen't begin with AKID";
    no_cam_authentication = 4000 / 10461, "no cam authentication";
    malformed_handle = 4000 / 10470, "receiptHandle error";
    filter_tags_over_limit = 4000 / 10490, "number of filterTag exceed limit";
    endpoint_format = 4000 / 10500, "endpoint format error";
    unknown_protocol = 4000 / 10510, "undefined protocol";
    unknown_strategy = 4000 / 10520, "undefined notify retry stragety";
    unknown_format = 4000 / 10530, "undefined notify content format";
    topic_has_subscriptions = 4000 / 10540, "there exists subscriptions under this topic, please unsubscribe all of them before DeleteTopic";
    no_subscription = 4000 / 10560, "subscription is not existed";
    subscription_name_format = 4000 / 10580, "subscription name format error";
    topic_name_format = 4000 / 10590, "topic name format error";
    illegal_endpoint = 4000 / 10630, "illegal endpoint";
    queue_format_not_simplified = 4000 / 10640, "notifyContentFormat of protocol queue must be SIMPLIFIED";
    too_many_filter_tags = 4000 / 10670, "too many filterTag";
    too_many_binding_keys = 4000 / 10680, "too many bindingKey";
    invalid_rewind_time = 4000 / 10680, "invalid rewind time, you can get the vaild range of that via GetQueueAttributes";
    too_many_words = 4000 / 10691, "too many delimeters";
    delay_out_of_range = 4000 / 10692, "delay seconds is out of range";
    lacked_routing_key = 4000 / 10700, "parameters lack of routingKey";
    rewind_above_retention = 4000 / 10700, "rewindSeconds cannot be greater than msgRetentionSeconds";
    lacked_binding_key = 4000 / 10710, "parameters lack of bindingKey";
    too_many_message_tags = 4000 / 10720, "too many msgTag";
    no_dead_letter_queue = 4000 / 10730, "deadLetter queue not exist";
    authentication_failed = 4100 / 10030, "authentication failed";
    secret_id_status = 4100 / 10080, "secret id status error";
    no_secret_id = 4100 / 10270, "secret id is not existed";
    charge_overdue = 4300 / 10040, "charge overdue";
    body_too_large = 4400 / 10230, "exceed maximum message size";
    queue_full = 4410 / 10240, "reach maximum retention number of message";
    throttled = 4420 / 10250, "qps throttling";
    invalid_handle = 4430 / 10260, "receipt handle is invalid";
    no_queue = 4440 / 10100, "queue is not existed, or deleted";
    no_topic = 4440 / 10600, "topic is not existed, or deleted";
    too_many_queues = 4450 / 10220, "number of queues has reached the limit";
    too_many_topics = 4450 / 10610, "number of topics has reached the limit";
    queue_exists = 4460 / 10210, "queue is already existed,case insensitive";
    topic_exists = 4460 / 10550, "topic is already existed";
    batch_too_large = 4470 / 10300, "total message size exceed 1MB";
    control_throttled = 4480 / 10460, "exceed interface frequency limit, please slow down";
    subscription_exists = 4490 / 10470, "subscribtion is already existed";
    invalid_message_id = 4490 / 10770, "message id is invalid";
    message_operation_not_allowed = 4490 / 10780, "message operation is not allowed";
    no_transactions = 4490 / 10790, "transaction message is not supported";
    too_many_subscriptions = 4500 / 10480, "number of subscription has reached the limit";
    blank_in_url = 4510 / 10570, "url connot contain any blank characters";
    internal = 6000 / 10050, "server internal error";
    send_failed = 6000 / 10090, "send message failed";
    receive_failed = 6000 / 10130, "recieve message failed";
    delete_failed = 6000 / 10140, "delete message failed";
    get_queue_attributes_failed = 6000 / 10160, "get queue attributes failed";
    set_queue_attributes_failed = 6000 / 10170, "set queue attributes failed";
    delete_queue_failed = 6000 / 10180, "delete queue failed";
    list_queue_failed = 6000 / 10190, "list queue failed";
    batch_delete_partly_failed = 6010 / 10150, "delete message partially failed";
    batch_delete_failed = 6020 / 10290, "batch delete message failed";
    no_subscriptions = 6030 / 10650, "topic has no subscription, please create a subscription before publishing message";
    no_match = 6030 / 10730, "no bindingKey or filterTag matches the routingKey or msgTag";
    queue_still_releasing = 6040 / 10660, "it will take some time to release resources of previous queue before you create a new one with the same name, please try later";
    topic_still_releasing = 6040 / 10660, "it will take some time to release resources of previous topic before you create a new one with the same name, please try later";
    confirmation_failed = 6040 / 10750, "transaction confirmation failed";
    confirmation_partly_failed = 6040 / 10760, "transaction confirmation partially failed";
    cannot_rewind = 6050 / 10670, "your queue cannot be rewinded";
    too_many_filters = 6050 / 10740, "too many filterTag or bindingKey";
    too_many_unacknowledged = 6070 / 10690, "too many unacked(inactive) messages or delayed messages";
    no_message = 7000 / 10200, "no message";
}

// === impl CmqError ===

impl CmqError {
    /// Returns the message of the reply: the module code in parentheses, then the text.
    pub fn message(&self) -> String {
        self.to_string()
    }

    /// Returns this error with what is known beyond its row.
    pub fn because(mut self, detail: &str) -> CmqError {
        self.text.push_str(": ");
        self.text.push_str(detail);
        self
    }

    /// Returns the error for a call that certainly had no effect and may be made again.
    pub fn not_done(reason: &str) -> CmqError {
        CmqError::internal().because(&format!("not done, try again ({reason})"))
    }

    /// Returns the error for a call that may have had its effect, or may yet have it.
    pub fn may_have_been_done(reason: &str) -> CmqError {
        CmqError {
            in_doubt: true,
            ..CmqError::internal().because(&format!("may have been done ({reason})"))
        }
    }

    /// Returns the error for a name that resolves to nothing.
    pub fn missing(kind: Kind) -> CmqError {
        match kind {
            Kind::Queue => CmqError::no_queue(),
            Kind::Topic => CmqError::no_topic(),
        }
    }

    /// Returns the error for what a set refused, when a queue or a topic was asked for.
    pub fn of_refusal(refusal: &Refusal, asked: Kind) -> CmqError {
        match refusal {
            Refusal::NoIncarnation(_) | Refusal::WrongKind(_) => CmqError::missing(asked),
            Refusal::OutOfRange { attribute } => CmqError::out_of_range(attribute),
            Refusal::RewindAboveRetention => CmqError::rewind_above_retention(),
            Refusal::BodyTooLarge { .. } => CmqError::body_too_large(),
            Refusal::Full { .. } => CmqError::queue_full(),
            Refusal::TooManyLeased { .. } | Refusal::TooManyDelayed { .. } => {
                CmqError::too_many_unacknowledged()
            }
            Refusal::BadHandle(_) => CmqError::invalid_handle(),
            Refusal::NotRewindable => CmqError::cannot_rewind(),
            Refusal::RewindOutOfRange => CmqError::invalid_rewind_time(),
            Refusal::SubscriptionExists => CmqError::subscription_exists(),
            Refusal::NoSubscription => CmqError::no_subscription(),
            Refusal::TooManySubscriptions { .. } => CmqError::too_many_subscriptions(),
            Refusal::HasSubscriptions => CmqError::topic_has_subscriptions(),
            Refusal::EndpointFixed => CmqError::illegal_endpoint().because(&refusal.to_string()),
            Refusal::SessionForgotten => CmqError::may_have_been_done(&refusal.to_string()),
            // The set turned these away untouched. A client can do nothing about them but try again.
            Refusal::DecidedTooEarly { .. }
            | Refusal::StaleTerm
            | Refusal::OutboxFull { .. }
            | Refusal::StaleRead
            | Refusal::KvFull
            | Refusal::Malformed(_) => CmqError::not_done(&refusal.to_string()),
        }
    }

    /// Returns the error for what the directory refused, when a queue or a topic was asked for.
    pub fn of_directory_refusal(refusal: &DirectoryRefusal, asked: Kind) -> CmqError {
        match refusal {
            DirectoryRefusal::Exists(_) => match asked {
                Kind::Queue => CmqError::queue_exists(),
                Kind::Topic => CmqError::topic_exists(),
            },
            DirectoryRefusal::StillReleasing(_) => match asked {
                Kind::Queue => CmqError::queue_still_releasing(),
                Kind::Topic => CmqError::topic_still_releasing(),
            },
            DirectoryRefusal::Limit { .. } => match asked {
                Kind::Queue => CmqError::too_many_queues(),
                Kind::Topic => CmqError::too_many_topics(),
            },
            DirectoryRefusal::NoIncarnation(_) => CmqError::missing(asked),
            // A tenant takes its keys along when it goes.
            DirectoryRefusal::NoTenant | DirectoryRefusal::NoAccessKey => CmqError::no_secret_id(),
            DirectoryRefusal::Malformed(_) => {
                CmqError::request_parameters_error().because(&refusal.to_string())
            }
            DirectoryRefusal::NoMasterKey(_) => CmqError::internal().because(&refusal.to_string()),
            // No action of this API leads to these but through a cluster that is being set up or taken down.
            DirectoryRefusal::Founded
            | DirectoryRefusal::NotFounded
            | DirectoryRefusal::TenantInUse
            | DirectoryRefusal::AccessKeyExists
            | DirectoryRefusal::NoPlugin
            | DirectoryRefusal::NotYours
            | DirectoryRefusal::OtherWorld
            | DirectoryRefusal::WrongPlace
            | DirectoryRefusal::NotBound
            | DirectoryRefusal::NoEarlierVersion
            | DirectoryRefusal::PluginInUse
            | DirectoryRefusal::PluginSeals
            | DirectoryRefusal::NodesKnown
            | DirectoryRefusal::NoNode(_)
            | DirectoryRefusal::NodeNotActive(_)
            | DirectoryRefusal::NodeHasReplica(_)
            | DirectoryRefusal::NodeHoldsReplicas(_)
            | DirectoryRefusal::TooFewNodes
            | DirectoryRefusal::NoReplica
            | DirectoryRefusal::ReplicaWanted
            | DirectoryRefusal::NoSigningKey(_)
            | DirectoryRefusal::SigningKeyRotating(_)
            | DirectoryRefusal::NoTrial
            | DirectoryRefusal::NotTried(_)
            | DirectoryRefusal::OtherPlugin
            | DirectoryRefusal::VersionInUse
            | DirectoryRefusal::SigningKeyNotRotating(_)
            | DirectoryRefusal::MasterKeyInUse => CmqError::not_done(&refusal.to_string()),
        }
    }
}

#[cfg(test)]
mod tests;
