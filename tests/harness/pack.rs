//! Tenants whose plugins do everything that they should not, all at once.
//!
//! Each member of the pack is a tenant of its own with a plugin of `tests/plugins` bound to a topic, and publishes without a
//! pause what its plugin misbehaves on. Others push what takes long to compile, or bind one plugin to a great many topics.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, bail};
use tempfile::TempDir;

use crate::misshapen::{growing, slow_to_compile};
use crate::{Client, Node};

/// What a member publishes: its filter misbehaves on it.
const GUILTY_BODY: &str = "guilty";
/// The secret of every member.
const SECRET: &str = "one-of-the-pack-0123456789";
/// The topic of every member.
const TOPIC: &str = "t";
/// The connections over which a member publishes at once.
const CONNECTIONS: usize = 4;

/// How long a connection rests after an answer: what is to weigh on the node is what plugins do, not how often it is asked.
const REST: Duration = Duration::from_millis(50);
/// More traps in a time than there can be: no breaker takes their plugins out of use.
const BREAKER: [&str; 4] = ["--breaker-traps", "1000", "--breaker-seconds", "1"];
/// How often it is looked whether a command has ended.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A plugin that misbehaves, and on what.
struct Member {
    name: &'static str,
    /// The folder of its component.
    folder: &'static str,
    configuration: &'static str,
    tag: &'static str,
}

/// All of them; the first in each line names its tenant.
const MEMBERS: [Member; 14] = [
    member("loops", "loops", "", "loop"),
    member("starts", "loops", "start", "x"),
    member("hoards", "hoards", "", "hoard"),
    member("traps", "traps", "", "trap"),
    member("lies", "lies", "just-past", "x"),
    member("calls", "hostile-filter", "call", "x"),
    member("hoards-more", "hostile-filter", "hoard", "x"),
    member("chatters", "hostile-filter", "chatter", "x"),
    member("recurses", "hostile-filter", "recurse", "x"),
    member("forges", "hostile-filter", "forge", "x"),
    member("returns-giants", "hostile-filter", "giant-output", "x"),
    member("returns-crowds", "hostile-filter", "many-attributes", "x"),
    member("says-much", "hostile-filter", "fail-long", "x"),
    member("counts-badly", "hostile-filter", "count-badly", "x"),
];

/// What members were answered.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Answered {
    /// Publishes that were taken: their plugin was stopped or shrugged at, and its policy or verdict let them through.
    pub taken: u64,
    /// Publishes and pushes that were refused.
    pub refused: u64,
    /// Those that got no answer at all.
    pub unanswered: u64,
}

/// The pack, with everything of it bound and nothing of it asked yet.
pub struct Pack {
    program: PathBuf,
    url: String,
    address: SocketAddr,
    components: TempDir,
    topics: usize,
}

/// The pack, let loose.
pub struct Loose {
    stop: Arc<AtomicBool>,
    members: Vec<(&'static str, JoinHandle<Answered>)>,
}

const fn member(
    name: &'static str,
    folder: &'static str,
    configuration: &'static str,
    tag: &'static str,
) -> Member {
    Member {
        name,
        folder,
        configuration,
        tag,
    }
}

// === impl Pack ===

impl Pack {
    /// Makes the tenants with their plugins and bindings; one of them binds its own to so many topics.
    pub fn gather(program: &Path, node: &Node, topics: usize) -> anyhow::Result<Pack> {
        let pack = Pack {
            program: program.to_owned(),
            url: node.url(),
            address: node.address(),
            components: TempDir::new().context("a folder for components")?,
            topics,
        };
        for member in MEMBERS {
            pack.admit(member.name)?;
            pack.bind(member.name, &committed(member.folder), member.configuration)?;
        }
        let filter = std::fs::read(committed("hostile-filter")).context("components are committed")?;
        let growing = pack.component("growing", &growing(&filter)?)?;
        pack.admit("grows")?;
        pack.bind("grows", &growing, "grow")?;
        pack.component("slow", &slow_to_compile(&filter)?)?;
        pack.admit("compiles")?;
        pack.admit("is-many")?;
        let filter_file = committed("hostile-filter");
        pack.tell("is-many", &["plugin", "push", "own", text(&filter_file)?])?;
        let mut client = pack.client("is-many");
        for number in 0..topics {
            let topic = many(number);
            make_topic(&mut client, &topic)?;
            pack.bind_to("is-many", &topic, "loop")?;
        }
        Ok(pack)
    }

    /// Has all of them begin.
    pub fn unleash(&self) -> Loose {
        let stop = Arc::new(AtomicBool::new(false));
        let mut members = Vec::new();
        let publishers = MEMBERS.map(|member| (member.name, member.tag));
        for (name, tag) in publishers.into_iter().chain([("grows", "x")]) {
            for _ in 0..CONNECTIONS {
                let (client, stop) = (self.client(name), Arc::clone(&stop));
                let publishing = move || publish(client, |_| TOPIC.to_owned(), tag, &stop);
                members.push((name, std::thread::spawn(publishing)));
            }
        }
        for first in 0..CONNECTIONS {
            let (client, stop, topics) = (self.client("is-many"), Arc::clone(&stop), self.topics);
            let topic = move |turn: usize| many((first + turn * CONNECTIONS) % topics.max(1));
            members.push((
                "is-many",
                std::thread::spawn(move || publish(client, topic, "x", &stop)),
            ));
        }
        let pushing = self.pushing(Arc::clone(&stop));
        members.push(("compiles", std::thread::spawn(pushing)));
        Loose { stop, members }
    }

    /// Returns what pushes, again and again, a component that takes longer to compile than it may.
    fn pushing(&self, stop: Arc<AtomicBool>) -> impl FnOnce() -> Answered + Send + 'static {
        let (program, url) = (self.program.clone(), self.url.clone());
        let slow = self.components.path().join("slow.wasm");
        move || {
            let mut answered = Answered::default();
            while !stop.load(Ordering::Relaxed) {
                let mut push = Command::new(&program);
                push.args(["plugin", "push", "slow"]).arg(&slow);
                push.stdout(Stdio::null()).stderr(Stdio::null());
                match as_tenant(&mut push, &url, "compiles")
                    .spawn()
                    .map(|push| wait_or_stop(push, &stop))
                {
                    Ok(Some(true)) => answered.taken += 1,
                    Ok(Some(false)) => answered.refused += 1,
                    Ok(None) | Err(_) => answered.unanswered += 1,
                }
            }
            answered
        }
    }

    fn admit(&self, name: &str) -> anyhow::Result<()> {
        let id = secret_id(name);
        self.run(&["tenant", "create", name], None)?;
        self.run(
            &["tenant", "key", "add", name, "--id", &id, "--secret", SECRET],
            None,
        )
    }

    fn bind(&self, name: &str, component: &Path, configuration: &str) -> anyhow::Result<()> {
        make_topic(&mut self.client(name), TOPIC)?;
        self.tell(name, &["plugin", "push", "own", text(component)?])?;
        self.bind_to(name, TOPIC, configuration)
    }

    fn bind_to(&self, name: &str, topic: &str, configuration: &str) -> anyhow::Result<()> {
        let bind = [
            "plugin",
            "bind",
            "own",
            "--topic",
            topic,
            "--config",
            configuration,
        ];
        self.tell(name, &[&bind[..], &BREAKER].concat())
    }

    fn component(&self, name: &str, bytes: &[u8]) -> anyhow::Result<PathBuf> {
        let path = self.components.path().join(name).with_extension("wasm");
        std::fs::write(&path, bytes)?;
        Ok(path)
    }

    fn client(&self, name: &str) -> Client {
        Client::new(self.address, &secret_id(name), SECRET.as_bytes())
    }

    fn tell(&self, name: &str, arguments: &[&str]) -> anyhow::Result<()> {
        self.run(arguments, Some(name))
    }

    fn run(&self, arguments: &[&str], tenant: Option<&str>) -> anyhow::Result<()> {
        let mut command = Command::new(&self.program);
        command.args(arguments);
        let output = match tenant {
            Some(tenant) => as_tenant(&mut command, &self.url, tenant).output()?,
            None => command.env("POSTHOUSE_URL", &self.url).output()?,
        };
        if !output.status.success() {
            let told = String::from_utf8_lossy(&output.stderr).into_owned();
            bail!("posthouse {}: {told}", arguments.join(" "));
        }
        Ok(())
    }
}

// === impl Loose ===

impl Loose {
    /// Has all of them end, and returns what each was answered.
    pub fn end(self) -> Vec<(&'static str, Answered)> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all: Vec<(&'static str, Answered)> = Vec::new();
        for (name, member) in self.members {
            let answered = member.join().unwrap_or_default();
            match all.iter_mut().find(|(known, _)| *known == name) {
                Some((_, sum)) => {
                    sum.taken += answered.taken;
                    sum.refused += answered.refused;
                    sum.unanswered += answered.unanswered;
                }
                None => all.push((name, answered)),
            }
        }
        all
    }
}

/// Waits for a command to end, and ends it when it is told to stop; returns whether the command did what it was to do.
fn wait_or_stop(mut command: Child, stop: &AtomicBool) -> Option<bool> {
    while !stop.load(Ordering::Relaxed) {
        if let Some(status) = command.try_wait().ok()? {
            return Some(status.success());
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    command.kill().ok()?;
    command.wait().ok()?;
    None
}

/// Publishes until it is told to stop.
fn publish(mut client: Client, topic: impl Fn(usize) -> String, tag: &str, stop: &AtomicBool) -> Answered {
    let mut answered = Answered::default();
    for turn in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let topic = topic(turn);
        let parameters = [
            ("topicName", topic.as_str()),
            ("msgBody", GUILTY_BODY),
            ("msgTag.1", tag),
        ];
        match client
            .ask("PublishMessage", &parameters)
            .map(|answer| answer.code())
        {
            Ok(0) => answered.taken += 1,
            Ok(_) => answered.refused += 1,
            Err(_) => {
                answered.unanswered += 1;
                client.disconnect();
            }
        }
        std::thread::sleep(REST);
    }
    answered
}

/// Makes a topic, and a queue that gets all of it.
fn make_topic(client: &mut Client, topic: &str) -> anyhow::Result<()> {
    let queue = format!("{topic}-queue");
    client.ask("CreateTopic", &[("topicName", topic)])?.success()?;
    client.ask("CreateQueue", &[("queueName", &queue)])?.success()?;
    let subscription = [
        ("topicName", topic),
        ("subscriptionName", "all"),
        ("protocol", "queue"),
        ("endpoint", &queue),
    ];
    client.ask("Subscribe", &subscription)?.success()?;
    Ok(())
}

fn as_tenant<'a>(command: &'a mut Command, url: &str, name: &str) -> &'a mut Command {
    command
        .env("POSTHOUSE_URL", url)
        .env("POSTHOUSE_SECRET_ID", secret_id(name))
        .env("POSTHOUSE_SECRET_KEY", SECRET)
}

fn secret_id(name: &str) -> String {
    format!("AKID{name}")
}

fn many(number: usize) -> String {
    format!("t{number}")
}

/// Returns where a guest of `tests/plugins` is.
fn committed(folder: &str) -> PathBuf {
    let plugins = Path::new(env!("CARGO_MANIFEST_DIR")).join("plugins");
    plugins.join(folder).join("component.wasm")
}

fn text(path: &Path) -> anyhow::Result<&str> {
    path.to_str().context("the path is text")
}
