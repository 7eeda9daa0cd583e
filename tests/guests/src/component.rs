//! From a core module, as the compiler leaves it, to a component.

use anyhow::Result;
use wit_component::ComponentEncoder;

/// Returns the component that a core module describes in the section that `wit-bindgen` put there.
pub(crate) fn encode(module: &[u8]) -> Result<Vec<u8>> {
    ComponentEncoder::default()
        .module(module)?
        .validate(true)
        .encode()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use wit_component::DecodedWasm;

    use crate::guest::Repository;

    /// The one guest that asks for more than the contract names.
    const GRABS: &str = "grabs-clock";

    #[test]
    fn a_kept_component_imports_only_what_the_contract_names() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let repository = Repository::open(&root).expect("this repository");
        for guest in repository.guests().expect("guests") {
            let component = fs::read(guest.folder.join("component.wasm")).expect("a component");
            let imports = imports(&component);
            let strange = imports
                .iter()
                .any(|import| !import.starts_with("posthouse:plugin/"));
            assert_eq!(strange, guest.to_string() == GRABS, "{guest} imports {imports:?}");
        }
    }

    fn imports(component: &[u8]) -> Vec<String> {
        let decoded = wit_component::decode(component).expect("a component");
        let DecodedWasm::Component(resolve, world) = decoded else {
            panic!("a package is no component");
        };
        let imports = resolve.worlds[world].imports.keys();
        imports.map(|key| resolve.name_world_key(key)).collect()
    }
}
