//! What a component asks for and offers, read from its outermost layer before anything of it is compiled.

use posthouse_model::World;
use wasmparser::{Encoding, Parser, Payload};

use crate::{config::COMPONENT_BYTES_MAX, fault::PushRefusal, text};

/// The contract's package, as its interfaces are named by components.
const PACKAGE: &str = "posthouse:plugin/";
/// The contract's version, without its last number: those that differ in it alone fit each other.
const VERSION: &str = "@0.1.";
/// Every world.
const WORLDS: [World; 4] = [World::Route, World::Filter, World::Deliver, World::Seal];
/// The longest name that is shown in a refusal, in bytes.
const SHOWN_BYTES_MAX: usize = 256;

/// What a component asks for that decides how it is called.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Wants {
    /// A store.
    pub(crate) kv: bool,
}

/// The names at a component's outermost layer.
#[derive(Debug, Default, Eq, PartialEq)]
struct Surface {
    imports: Vec<String>,
    exports: Vec<String>,
}

/// Refuses a component that is too large, is none, asks for what its world is not lent, or does not offer what its
/// world must. Returns what it asks for.
pub(crate) fn inspect(world: World, component: &[u8]) -> Result<Wants, PushRefusal> {
    if component.len() > COMPONENT_BYTES_MAX {
        return Err(PushRefusal::TooLarge {
            bytes: component.len(),
            limit: COMPONENT_BYTES_MAX,
        });
    }
    let surface = Surface::read(component)?;
    for import in &surface.imports {
        if !is_lent(world, import) {
            let import = text::cut(import.clone(), SHOWN_BYTES_MAX);
            return Err(PushRefusal::ImportNotGranted {
                remedy: remedy(&import),
                import,
                world,
            });
        }
    }
    let wanted = exported(world);
    if !surface.exports(wanted) {
        let found = if surface.exports.is_empty() {
            "nothing".to_owned()
        } else {
            text::cut(surface.exports.join(", "), SHOWN_BYTES_MAX)
        };
        return Err(PushRefusal::WrongWorld {
            world,
            missing: format!("{PACKAGE}{wanted}"),
            found,
        });
    }
    let worlds: Vec<&str> = WORLDS
        .into_iter()
        .map(exported)
        .filter(|wanted| surface.exports(wanted))
        .collect();
    if worlds.len() > 1 {
        return Err(PushRefusal::SeveralWorlds {
            found: worlds.join(" and "),
        });
    }
    let kv = surface
        .imports
        .iter()
        .any(|import| interface(import) == Some("kv"));
    Ok(Wants { kv })
}

// === impl Surface ===

impl Surface {
    fn read(component: &[u8]) -> Result<Surface, PushRefusal> {
        let told = |error: wasmparser::BinaryReaderError| PushRefusal::NotAComponent(error.to_string());
        let mut surface = Surface::default();
        let mut depth = 0_u32;
        for payload in Parser::new(0).parse_all(component) {
            match payload.map_err(told)? {
                Payload::Version {
                    encoding: Encoding::Module,
                    ..
                } if depth == 0 => {
                    let text = "a core module; wrap it with `wasm-tools component new`";
                    return Err(PushRefusal::NotAComponent(text.to_owned()));
                }
                Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
                Payload::End(_) => depth = depth.saturating_sub(1),
                Payload::ComponentImportSection(section) if depth == 0 => {
                    for import in section {
                        surface.imports.push(import.map_err(told)?.name.name.to_owned());
                    }
                }
                Payload::ComponentExportSection(section) if depth == 0 => {
                    for export in section {
                        surface.exports.push(export.map_err(told)?.name.name.to_owned());
                    }
                }
                _ => {}
            }
        }
        Ok(surface)
    }

    /// Says whether an interface of the contract is offered.
    fn exports(&self, wanted: &str) -> bool {
        self.exports
            .iter()
            .any(|export| interface(export) == Some(wanted))
    }
}

/// Returns the interface of the contract that a world exports.
fn exported(world: World) -> &'static str {
    match world {
        World::Route => "router",
        World::Filter => "filtering",
        World::Deliver => "delivering",
        World::Seal => "sealing",
    }
}

fn is_lent(world: World, import: &str) -> bool {
    match interface(import) {
        Some("types" | "config" | "log" | "metrics") => true,
        Some("bodies") => world != World::Route,
        Some("kv") => world != World::Seal,
        Some("keyring") => world == World::Seal,
        Some("signer") => world == World::Deliver,
        _ => false,
    }
}

/// Returns the interface of the contract that a full name names.
fn interface(name: &str) -> Option<&str> {
    let (interface, patch) = name.strip_prefix(PACKAGE)?.split_once(VERSION)?;
    (!patch.is_empty() && patch.bytes().all(|byte| byte.is_ascii_digit())).then_some(interface)
}

fn remedy(import: &str) -> String {
    if import.starts_with("wasi:") {
        return "plugins run without WASI: build Rust for wasm32-unknown-unknown, JavaScript with componentize-js's \
                disableFeatures ['stdio', 'random', 'clocks', 'http', 'fetch-event'], Python with componentize-py's \
                --stub-wasi"
            .to_owned();
    }
    if import.starts_with(PACKAGE) {
        return "build it against the `wit/` of this version, for the world that it is pushed as".to_owned();
    }
    "import only what `wit/` offers to its world".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_world_is_lent_its_own_interfaces_and_no_others() {
        assert!(is_lent(World::Route, "posthouse:plugin/config@0.1.0"));
        assert!(is_lent(World::Route, "posthouse:plugin/metrics@0.1.0"));
        assert!(is_lent(World::Seal, "posthouse:plugin/keyring@0.1.7"));
        assert!(is_lent(World::Deliver, "posthouse:plugin/signer@0.1.0"));
        assert!(!is_lent(World::Filter, "posthouse:plugin/signer@0.1.0"));
        assert!(is_lent(World::Deliver, "posthouse:plugin/kv@0.1.0"));
        assert!(!is_lent(World::Seal, "posthouse:plugin/kv@0.1.0"));
        for import in [
            "posthouse:plugin/keyring@0.1.0",
            "posthouse:plugin/bodies@0.1.0",
            "posthouse:plugin/config@0.2.0",
            "posthouse:plugin/config@0.1.",
            "posthouse:plugin/config@0.1.0-rc",
            "posthouse:plugin/config",
            "wasi:cli/environment@0.2.0",
            "config",
            "",
        ] {
            assert!(!is_lent(World::Route, import), "{import}");
        }
    }

    #[test]
    fn what_is_no_component_is_refused() {
        for bytes in [&b""[..], b"garbage", b"\0asm", b"\0asm\x0d\0\x01\0\xff\xff\xff"] {
            assert!(
                matches!(inspect(World::Route, bytes), Err(PushRefusal::NotAComponent(_))),
                "{bytes:?}"
            );
        }
        let module = b"\0asm\x01\0\0\0";
        assert!(
            matches!(inspect(World::Route, module), Err(PushRefusal::NotAComponent(text)) if text.contains("core"))
        );
    }

    #[test]
    fn an_empty_component_exports_nothing() {
        let empty = b"\0asm\x0d\0\x01\0";
        let refusal = inspect(World::Route, empty).expect_err("it exports no router");
        assert!(matches!(refusal, PushRefusal::WrongWorld { found, .. } if found == "nothing"));
    }

    #[test]
    fn a_component_over_the_limit_is_refused_unread() {
        let refusal = inspect(World::Route, &vec![0; COMPONENT_BYTES_MAX + 1]);
        assert!(matches!(refusal, Err(PushRefusal::TooLarge { .. })));
    }
}
