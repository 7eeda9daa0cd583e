//! Places of bindings: names to what they stand for, among the tenant's own, and back.

use posthouse_model::{BindingRecord, Kind, NameRecord, Place, Refusal, Time};

use super::Acting;
use crate::admin::AdminError;
use crate::admin::shapes::{BindingView, BreakerView, PlaceView};

impl Acting<'_> {
    /// Returns the place that is named.
    pub(super) fn place(&self, view: &PlaceView) -> Result<Place, AdminError> {
        if view.is_platforms() && !self.caller.root {
            return Err(AdminError::forbidden(
                "only a root access key may bind for every tenant",
            ));
        }
        match view {
            PlaceView::Platform => Ok(Place::Platform),
            PlaceView::HttpEndpoints => Ok(Place::HttpEndpoints),
            PlaceView::QueueEndpoints => Ok(Place::QueueEndpoints),
            PlaceView::Tenant => Ok(Place::Tenant(self.tenant)),
            PlaceView::Queue { queue } => {
                let found = self.broker.resolve(self.tenant, Kind::Queue, queue)?;
                Ok(Place::Incarnation(found.incarnation))
            }
            PlaceView::Topic { topic } => {
                let found = self.broker.resolve(self.tenant, Kind::Topic, topic)?;
                Ok(Place::Incarnation(found.incarnation))
            }
            PlaceView::Subscription { topic, subscription } => {
                let found = self.broker.resolve(self.tenant, Kind::Topic, topic)?;
                self.view_topic(topic, |topic| {
                    let known = topic
                        .subscription_named(subscription)
                        .ok_or(Refusal::NoSubscription)?;
                    Ok(Place::Subscription(found.incarnation, known.id()))
                })
            }
        }
    }

    /// Returns how a place is named; none when it is another tenant's, or gone.
    pub(super) fn place_view(&self, place: Place) -> Option<PlaceView> {
        match place {
            Place::Platform => Some(PlaceView::Platform),
            Place::HttpEndpoints => Some(PlaceView::HttpEndpoints),
            Place::QueueEndpoints => Some(PlaceView::QueueEndpoints),
            Place::Tenant(tenant) => (tenant == self.tenant).then_some(PlaceView::Tenant),
            Place::Incarnation(incarnation) => {
                let NameRecord { name, kind, .. } = self.own_record(incarnation)?;
                Some(match kind {
                    Kind::Queue => PlaceView::Queue { queue: name },
                    Kind::Topic => PlaceView::Topic { topic: name },
                })
            }
            Place::Subscription(incarnation, id) => {
                let record = self.own_record(incarnation)?;
                let subscription = self.broker.set(record.set).view(|state| {
                    let subscription = state.topic(incarnation)?.subscription(id)?;
                    Some(subscription.name().clone())
                })?;
                Some(PlaceView::Subscription {
                    topic: record.name,
                    subscription,
                })
            }
        }
    }

    /// Returns a binding as it is told; none when its place is another tenant's, or gone.
    pub(super) fn binding_view(&self, record: &BindingRecord) -> Option<BindingView> {
        let place = self.place_view(record.place)?;
        let plugin = self
            .broker
            .directory
            .view(|directory| directory.plugin(record.version).map(|plugin| plugin.name.clone()))?;
        // How the platform's own are set up is the administrators' to know.
        let configuration = match place.is_platforms() && !self.caller.root {
            true => String::new(),
            false => String::from_utf8_lossy(&record.configuration).into_owned(),
        };
        let (at, world) = (record.place, record.world);
        let breaking = self.broker.breaking(at, world);
        let since = self
            .broker
            .directory
            .view(|directory| directory.out_since(at, world));
        Some(BindingView {
            place,
            world: record.world.into(),
            plugin,
            version: record.version.0,
            previous: record.previous.map(|version| version.0),
            configuration,
            on_failure: record.on_failure.into(),
            quarantined: record.quarantined.clone(),
            quarantined_ms: since.map(Time::millis),
            breaker: BreakerView {
                traps: u32::try_from(breaking.traps).ok(),
                seconds: Some(breaking.within.as_secs()),
            },
        })
    }

    /// Returns what the directory says of an incarnation, if it is the tenant's.
    pub(super) fn own_record(&self, incarnation: posthouse_model::Incarnation) -> Option<NameRecord> {
        let record = self
            .broker
            .directory
            .view(|directory| directory.record(incarnation).cloned());
        record.filter(|record| record.tenant == self.tenant)
    }
}
