"""A filter: keeps out what carries a tag, and takes the blanks around a body away.

The tag is the binding's configuration (`posthouse plugin bind --config draft`); it is `test` when none is given. What
is raised as `Err` is a failure of the plugin: the binding's failure policy decides what becomes of the message.
"""

from wit_world.exports import Filtering as World
from wit_world.exports.filtering import Replacement, Verdict, Verdict_Drop, Verdict_Pass, Verdict_Replace
from wit_world.imports import config, log
from wit_world.imports.bodies import Body
from wit_world.imports.types import Envelope


class Filtering(World):
    def filter(self, envelope: Envelope, body: Body) -> Verdict:
        unwanted = config.get() or "test"
        if unwanted in envelope.tags:
            log.write(log.Level.INFO, f"{envelope.id} is tagged {unwanted}")
            return Verdict_Drop()
        content = body.read(0, body.len())
        trimmed = content.strip()
        # No body may be empty: one that is nothing but blanks keeps them.
        if trimmed in (content, b""):
            return Verdict_Pass()
        return Verdict_Replace(Replacement(trimmed, envelope.attributes))
