"""A router: a message reaches the subscriptions that ask for one of its tags, and those that ask for none.

The table is made once for a topic's subscriptions and then answers batches, so it is an index: what a message costs
grows with what it reaches, not with the number of subscriptions.
"""

from wit_world.exports import router as contract
from wit_world.exports.router import FilterType, Subscription
from wit_world.imports.types import Envelope


class Table(contract.Table):
    def __init__(self, filter_type: FilterType, subscriptions: list[Subscription]) -> None:
        self.by_tag: dict[str, list[int]] = {}
        self.of_everything: list[int] = []
        for position, subscription in enumerate(subscriptions):
            if not subscription.filter_tags:
                self.of_everything.append(position)
            for tag in subscription.filter_tags:
                self.by_tag.setdefault(tag, []).append(position)

    def match(self, batch: list[Envelope]) -> list[list[int]]:
        return [self.reached(envelope) for envelope in batch]

    def reached(self, envelope: Envelope) -> list[int]:
        reached = set(self.of_everything)
        for tag in envelope.tags:
            reached.update(self.by_tag.get(tag, []))
        return sorted(reached)
