//! The mover: carries messages out of outboxes to the queues they are meant for.
//!
//! A dead letter, and what a subscription hands to a queue, wait in the outbox of where they come from. The mover
//! reads them, deposits them in the target's set, and when that has answered takes them out of the outbox. Each step
//! can be repeated: the target knows the numbers that it has taken. So a message arrives exactly once, whether
//! source and target share a set or not.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use posthouse_model::{
    Incarnation, Message, Origin, Outgoing, Parcel, Refusal, Set, SetCommand, SetId, SetReply,
};
use tokio::sync::watch;

use super::reach::senseless;
use super::{Broker, BrokerError};

/// How many messages the mover looks at in one round.
const ROUND_MAX: usize = 256;
/// How many bytes of bodies one deposit carries.
const DEPOSIT_BYTES_MAX: usize = 1_048_576;
/// How long a target that is full or missing is left alone.
const PAUSE: Duration = Duration::from_secs(1);

/// Where a parcel comes from and goes to.
type Route = (Incarnation, Incarnation);

impl Broker {
    /// Moves what is in a set's outboxes, whenever there is something, until the broker stops.
    pub(super) async fn move_outgoing(self, set: SetId, mut news: watch::Receiver<u64>) {
        let stop = self.stop.clone();
        loop {
            news.borrow_and_update();
            let left = match self.set(set).is_leader() {
                true => self.move_round(set).await,
                false => Left::Nothing,
            };
            let pause = async {
                match left {
                    Left::More => {}
                    Left::Waiting => tokio::time::sleep(PAUSE).await,
                    Left::Nothing => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                changed = news.changed() => if changed.is_err() { return },
                () = pause => {}
            }
        }
    }

    async fn move_round(&self, set: SetId) -> Left {
        let outgoing = self.set(set).view(|state: &Set| state.outgoing(ROUND_MAX));
        if outgoing.is_empty() {
            return Left::Nothing;
        }
        let full_round = outgoing.len() == ROUND_MAX;
        let mut routes: BTreeMap<Route, Vec<Outgoing>> = BTreeMap::new();
        for one in outgoing {
            routes.entry((one.source, one.target)).or_default().push(one);
        }
        let mut stuck = BTreeSet::new();
        for (route, parcels) in routes {
            if let Err(error) = self.move_route(set, route, parcels).await {
                tracing::debug!(source = %route.0, target = %route.1, %error, "outbox waits");
                stuck.insert(route);
            }
        }
        match (stuck.is_empty(), full_round) {
            (true, true) => Left::More,
            (true, false) => Left::Nothing,
            (false, _) => Left::Waiting,
        }
    }

    async fn move_route(
        &self,
        set: SetId,
        (source, target): Route,
        outgoing: Vec<Outgoing>,
    ) -> Result<(), BrokerError> {
        let found = self
            .resolve_incarnation(target)
            .ok_or(BrokerError::queue(Refusal::NoIncarnation(target)))?;
        let mut rest = outgoing.into_iter().peekable();
        while rest.peek().is_some() {
            let mut parcels = Vec::new();
            let mut lost = Vec::new();
            let mut bytes = 0;
            while let Some(one) = rest.next_if(|_| bytes < DEPOSIT_BYTES_MAX) {
                match self
                    .parcel(set, &one, found.sealed_under.as_ref(), &found)
                    .await?
                {
                    Some(parcel) => {
                        bytes += parcel.message.weight();
                        parcels.push(parcel);
                    }
                    None => lost.push(one.number),
                }
            }
            let numbers = self.deposit(found.set, source, target, parcels).await?;
            let numbers = numbers.into_iter().chain(lost).collect();
            let shipped = SetCommand::Shipped {
                source,
                target,
                numbers,
            };
            if let Err(refusal) = self.set(set).propose(shipped).await? {
                return Err(BrokerError::queue(refusal));
            }
        }
        Ok(())
    }

    async fn deposit(
        &self,
        set: SetId,
        source: Incarnation,
        target: Incarnation,
        parcels: Vec<Parcel>,
    ) -> Result<Vec<u64>, BrokerError> {
        if parcels.is_empty() {
            return Ok(Vec::new());
        }
        let command = SetCommand::Deposit {
            target,
            source,
            parcels,
        };
        match self.command(set, command).await? {
            Ok(SetReply::Deposited(numbers)) => Ok(numbers),
            Ok(other) => Err(senseless(&other)),
            Err(refusal) => Err(BrokerError::queue(refusal)),
        }
    }

    /// Reads one message for its way; none when its retention ended meanwhile.
    async fn parcel(
        &self,
        set: SetId,
        outgoing: &Outgoing,
        key: Option<&posthouse_model::Name>,
        target: &super::names::Resolved,
    ) -> Result<Option<Parcel>, BrokerError> {
        let Some(stored) = self.read(set, outgoing.body)? else {
            return Ok(None);
        };
        let origin = Origin {
            incarnation: outgoing.source,
            produced: stored.produced,
            receive_count: outgoing.receive_count,
            cause: outgoing.cause.clone(),
        };
        let mut message = Message {
            origin: Some(origin),
            ..stored.message
        };
        if let Some(key) = key {
            let decided_at = self.decided_at();
            self.seal(
                target.tenant,
                target.incarnation,
                key,
                decided_at,
                vec![&mut message],
            )
            .await?;
        }
        Ok(Some(Parcel {
            number: outgoing.number,
            message,
        }))
    }
}

/// What a round left behind.
enum Left {
    /// Nothing: wait for news.
    Nothing,
    /// There may be more: go on at once.
    More,
    /// Something that a target would not take: try again later.
    Waiting,
}
