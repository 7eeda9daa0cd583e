//! The plugins that come with the broker: components like any other, embedded where they were there to embed.

use posthouse_model::World;

/// A plugin that comes with the broker.
#[derive(Clone, Copy, Debug)]
pub struct Builtin {
    /// Its name.
    pub name: &'static str,
    /// The world that it exports.
    pub world: World,
    /// The component.
    pub component: &'static [u8],
}

include!(concat!(env!("OUT_DIR"), "/builtins.rs"));

/// Returns the plugins that come with this broker. One whose component was not in `plugins/` when the broker was built
/// is not among them: what it would decide is refused, unless another is bound.
pub fn builtins() -> &'static [Builtin] {
    BUILTINS
}
