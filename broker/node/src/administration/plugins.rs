//! Plugins and bindings.

use std::time::Duration;

use bytes::Bytes;
use posthouse_model::{
    BindingRecord, BreakerRecord, DirectoryRefusal, KvEntry, KvId, Name, Place, PluginRecord, PluginVersion,
    ReplicaId, Sequence, SetId, Span, Time, World,
};

use super::{Acting, listing};
use crate::admin::shapes::{
    ActivateRequest, ActiveVersion, BindRequest, BindingView, Decimal, Done, KeptEntry, KeptPage,
    KeptRequest, Page, PlaceView, PluginLogLine, PluginLogs, PluginPushed, PluginVersionView, PluginView,
    QuarantineRequest, RecordRequest, RecordedCallView, RecordingView, RedriveRequest, RedrivenView,
    StayedView, UnbindRequest, WorldView, hexadecimal,
};
use crate::admin::{AdminError, ListQuery, LogQuery, PluginPush};
use crate::broker::{
    KeptWanted, LinesOf, LinesWanted, PluginOf, REDRIVE_MAX, Recorded, RecordedOn, RecordingBounds,
    RedriveWish, WrittenLevel, WrittenLine,
};

/// The most that is told at once of what a plugin keeps.
const KEPT_PAGE_MAX: usize = 1_000;
/// How long calls are recorded when the request does not say, in seconds, and how many.
const RECORDING_SECONDS_USUAL: u64 = 600;
const RECORDED_CALLS_USUAL: u32 = 20;

pub(super) async fn list(acting: &Acting<'_>, query: &ListQuery) -> Result<Page<PluginView>, AdminError> {
    let plugins = acting.broker.plugins(acting.tenant).await?;
    let page = listing::page(plugins, query, |plugin| &plugin.name);
    Ok(page.map(|plugin| view(acting, &plugin)))
}

pub(super) fn show(acting: &Acting<'_>, plugin: &Name) -> Result<PluginView, AdminError> {
    Ok(view(acting, &acting.plugin(plugin)?))
}

pub(super) async fn push(acting: &Acting<'_>, push: PluginPush) -> Result<PluginPushed, AdminError> {
    let world = match push.world {
        Some(world) => World::from(world),
        None => acting.broker.world_of(&push.component).await?,
    };
    let owner = (!push.platform).then_some(acting.tenant);
    let version = acting
        .broker
        .push_plugin(owner, push.name, world, push.component)
        .await?;
    let record = acting
        .broker
        .directory
        .view(|directory| directory.plugin(version).cloned());
    let record = record.ok_or(DirectoryRefusal::NoPlugin)?;
    Ok(PluginPushed {
        digest: hexadecimal(&record.digest),
        name: record.name,
        world: world.into(),
        version: version.0,
    })
}

pub(super) async fn activate(
    acting: &Acting<'_>,
    plugin: &Name,
    request: ActivateRequest,
) -> Result<ActiveVersion, AdminError> {
    let plugin = acting.plugin_to_change(plugin)?;
    let version = version_of(&plugin, request.version)?;
    acting.broker.activate(version).await?;
    Ok(ActiveVersion { version: version.0 })
}

pub(super) async fn roll_back(acting: &Acting<'_>, plugin: &Name) -> Result<ActiveVersion, AdminError> {
    let plugin = acting.plugin_to_change(plugin)?;
    let version = acting.broker.roll_back(&plugin).await?;
    Ok(ActiveVersion { version: version.0 })
}

pub(super) async fn remove_version(
    acting: &Acting<'_>,
    plugin: &Name,
    version: u64,
) -> Result<Done, AdminError> {
    let plugin = acting.plugin_to_change(plugin)?;
    acting
        .broker
        .remove_plugin(version_of(&plugin, Some(version))?)
        .await?;
    Ok(Done {})
}

pub(super) async fn record(
    acting: &Acting<'_>,
    request: &RecordRequest,
) -> Result<RecordingView, AdminError> {
    let what = recorded(acting, &request.place, request.world)?;
    let bounds = RecordingBounds {
        span: Duration::from_secs(request.seconds.unwrap_or(RECORDING_SECONDS_USUAL)),
        calls: request.calls.unwrap_or(RECORDED_CALLS_USUAL),
    };
    let (told, silent) = acting.broker.record(what, Some(bounds)).await?;
    Ok(recording_view(told, &silent))
}

pub(super) async fn read_recording(
    acting: &Acting<'_>,
    request: &UnbindRequest,
) -> Result<RecordingView, AdminError> {
    let what = recorded(acting, &request.place, request.world)?;
    let (told, silent) = acting.broker.recorded(what).await;
    Ok(recording_view(told, &silent))
}

pub(super) async fn end_recording(
    acting: &Acting<'_>,
    request: &UnbindRequest,
) -> Result<RecordingView, AdminError> {
    let what = recorded(acting, &request.place, request.world)?;
    let (told, silent) = acting.broker.record(what, None).await?;
    Ok(recording_view(told, &silent))
}

fn recorded(acting: &Acting<'_>, place: &PlaceView, world: WorldView) -> Result<Recorded, AdminError> {
    Ok(Recorded {
        tenant: acting.tenant,
        place: acting.place(place)?,
        world: world.into(),
    })
}

fn recording_view(told: Vec<RecordedOn>, silent: &[ReplicaId]) -> RecordingView {
    let mut view = RecordingView {
        silent: silent.iter().map(|replica| replica.0).collect(),
        ..RecordingView::default()
    };
    for RecordedOn {
        node,
        on,
        calls,
        missed,
    } in told
    {
        let calls = (1..).zip(calls).map(|(number, call)| RecordedCallView {
            at_ms: call.at.millis(),
            node: node.clone(),
            number,
            version: call.version.0,
            case: call.case,
        });
        view.calls.extend(calls);
        view.missed += missed;
        view.recording.extend(on.then_some(node));
    }
    view.calls.sort_by_key(|call| call.at_ms);
    view
}

pub(super) async fn redrive(
    acting: &Acting<'_>,
    plugin: &Name,
    request: RedriveRequest,
) -> Result<RedrivenView, AdminError> {
    let plugin = acting.plugin(plugin)?;
    let through = request.version.map(|asked| version_of(&plugin, Some(asked)));
    let from = request.place.as_ref().map(|place| acting.place(place));
    let wish = RedriveWish {
        versions: plugin.versions.iter().map(|record| record.version).collect(),
        from: from.transpose()?,
        through: through.transpose()?,
        after: Sequence(request.after.map_or(0, |after| after.0)),
        max: request.max.unwrap_or(REDRIVE_MAX),
    };
    let redriven = acting.broker.redrive(acting.tenant, wish).await?;
    let stayed = redriven.stayed.into_iter();
    Ok(RedrivenView {
        sent: redriven.sent,
        stayed: stayed
            .map(|(message, reason)| StayedView {
                message_id: message.into(),
                reason,
            })
            .collect(),
        next: redriven.next.map(|next| Decimal(next.0)),
        parked: redriven.parked,
        leased: redriven.leased,
        uncertain: redriven.is_uncertain,
    })
}

pub(super) async fn logs(
    acting: &Acting<'_>,
    plugin: &Name,
    query: LogQuery,
) -> Result<PluginLogs, AdminError> {
    let plugin = acting.plugin(plugin)?;
    let wanted = LinesWanted {
        tenant: acting.tenant,
        versions: plugin.versions.iter().map(|record| record.version).collect(),
        max: query.limit,
    };
    let (told, silent) = acting.broker.plugin_lines(&wanted).await;
    let mut lines: Vec<PluginLogLine> = Vec::new();
    for LinesOf { node, lines: written } in told {
        lines.extend(written.into_iter().map(|line| log_line(&node, line)));
    }
    // Stable: lines of one node and one moment stay in order.
    lines.sort_by_key(|line| line.at_ms);
    lines.drain(..lines.len().saturating_sub(query.limit));
    Ok(PluginLogs {
        lines,
        silent: silent.iter().map(|replica| replica.0).collect(),
    })
}

pub(super) fn bindings(acting: &Acting<'_>) -> Page<BindingView> {
    let records: Vec<BindingRecord> = acting
        .broker
        .directory
        .view(|directory| directory.bindings().cloned().collect());
    listing::whole(
        records
            .iter()
            .filter_map(|record| acting.binding_view(record))
            .collect(),
    )
}

pub(super) async fn bind(acting: &Acting<'_>, request: BindRequest) -> Result<BindingView, AdminError> {
    let place = acting.place(&request.place)?;
    let plugin = acting.plugin(&request.plugin)?;
    let version = version_of(&plugin, request.version)?;
    let configuration = Bytes::from(request.configuration);
    let breaker = BreakerRecord {
        traps: request.breaker.traps,
        within: request.breaker.seconds.map(Span::from_seconds),
    };
    let on_failure = request.on_failure.into();
    acting
        .broker
        .bind(place, version, configuration, on_failure, breaker)
        .await?;
    bound(acting, place, plugin.world)
}

pub(super) async fn unbind(acting: &Acting<'_>, request: &UnbindRequest) -> Result<Done, AdminError> {
    let place = acting.place(&request.place)?;
    acting.broker.unbind(place, request.world.into()).await?;
    Ok(Done {})
}

pub(super) async fn quarantine(
    acting: &Acting<'_>,
    request: QuarantineRequest,
) -> Result<BindingView, AdminError> {
    let place = acting.place(&request.place)?;
    let world = World::from(request.world);
    acting.broker.quarantine(place, world, request.reason).await?;
    bound(acting, place, world)
}

pub(super) async fn kept(acting: &Acting<'_>, request: KeptRequest) -> Result<KeptPage, AdminError> {
    let store = KvId {
        place: acting.place(&request.place)?,
        world: request.world.into(),
        tenant: acting.tenant,
    };
    bound(acting, store.place, store.world)?;
    let (first, after) = match request.after {
        Some(after) => (SetId(after.set), after.key),
        None => (SetId(0), String::new()),
    };
    let mut page = KeptPage::default();
    for set in acting.broker.sets_of(store.place) {
        let room = KEPT_PAGE_MAX - page.entries.len();
        if set < first || room == 0 {
            continue;
        }
        let wanted = KeptWanted {
            set,
            store,
            key: request.key.clone(),
            after: if set == first {
                after.clone()
            } else {
                String::new()
            },
            max: room,
        };
        let entries = acting.broker.kept(&wanted).await?.into_iter();
        page.entries
            .extend(entries.map(|(key, entry)| kept_entry(set, key, &entry)));
    }
    page.more = page.entries.len() == KEPT_PAGE_MAX;
    Ok(page)
}

fn kept_entry(set: SetId, key: String, entry: &KvEntry) -> KeptEntry {
    KeptEntry {
        set: set.0,
        key,
        text: std::str::from_utf8(&entry.value).ok().map(str::to_owned),
        hexadecimal: hexadecimal(&entry.value),
        version: entry.version.0,
        expires_ms: entry.until.map(Time::millis),
    }
}

fn bound(acting: &Acting<'_>, place: Place, world: World) -> Result<BindingView, AdminError> {
    let record = acting
        .broker
        .directory
        .view(|directory| directory.binding(place, world).cloned());
    let view = record.and_then(|record| acting.binding_view(&record));
    Ok(view.ok_or(DirectoryRefusal::NotBound)?)
}

fn view(acting: &Acting<'_>, plugin: &PluginOf) -> PluginView {
    let records: Vec<BindingRecord> = acting.broker.directory.view(|directory| {
        let uses = |version: PluginVersion| plugin.versions.iter().any(|record| record.version == version);
        directory
            .bindings()
            .filter(|binding| uses(binding.version))
            .cloned()
            .collect()
    });
    // Where others have bound what is everybody's is not this tenant's to know.
    let bindings: Vec<BindingView> = records
        .iter()
        .filter_map(|record| acting.binding_view(record))
        .collect();
    PluginView {
        name: plugin.name.clone(),
        tenant: plugin.tenant.map(|_| acting.tenant_name()),
        world: plugin.world.into(),
        versions: plugin.versions.iter().map(PluginVersionView::from).collect(),
        bindings: bindings.len() as u64,
        quarantined: bindings
            .into_iter()
            .filter(|binding| binding.quarantined.is_some())
            .collect(),
    }
}

/// Returns the version that is asked for, or the newest.
pub(super) fn version_of(plugin: &PluginOf, asked: Option<u64>) -> Result<PluginVersion, AdminError> {
    let mut versions = plugin.versions.iter().map(|record: &PluginRecord| record.version);
    let found = match asked {
        Some(asked) => versions.find(|version| version.0 == asked),
        None => versions.next_back(),
    };
    let asked = asked.unwrap_or_default();
    found.ok_or_else(|| AdminError::not_found(format!("plugin {} has no version {asked}", plugin.name)))
}

fn log_line(node: &str, line: WrittenLine) -> PluginLogLine {
    let level = match line.level {
        WrittenLevel::Debug => "debug",
        WrittenLevel::Info => "info",
        WrittenLevel::Warn => "warn",
        WrittenLevel::Error => "error",
        WrittenLevel::Trap => "trap",
    };
    PluginLogLine {
        at_ms: line.at.millis(),
        node: node.to_owned(),
        version: line.version.0,
        level: level.to_owned(),
        text: line.text,
    }
}

// === impl Acting ===

impl Acting<'_> {
    pub(super) fn plugin(&self, name: &Name) -> Result<PluginOf, AdminError> {
        let found = self.broker.plugin(self.tenant, name);
        found.ok_or_else(|| AdminError::not_found(format!("no plugin {name}")))
    }

    /// Returns a plugin that the caller may change.
    fn plugin_to_change(&self, name: &Name) -> Result<PluginOf, AdminError> {
        let plugin = self.plugin(name)?;
        if plugin.tenant.is_none() && !self.caller.root {
            return Err(AdminError::forbidden(format!(
                "plugin {name} is everybody's: only a root access key may change it"
            )));
        }
        Ok(plugin)
    }
}
