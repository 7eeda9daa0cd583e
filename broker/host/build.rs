//! Embeds the built-in plugins' components, those that are there.

use std::{env, error::Error, fmt::Write as _, fs, path::Path};

/// The built-ins and their worlds.
const BUILTINS: [(&str, &str); 4] = [
    ("topic-router", "Route"),
    ("http-push", "Deliver"),
    ("queue-push", "Deliver"),
    ("kms-envelope", "Seal"),
];

fn main() -> Result<(), Box<dyn Error>> {
    let plugins = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("../../plugins");
    let out = Path::new(&env::var("OUT_DIR")?).join("builtins.rs");
    println!("cargo:rerun-if-changed=build.rs");
    let mut code = "static BUILTINS: &[Builtin] = &[\n".to_owned();
    for (name, world) in BUILTINS {
        let component = plugins.join(name).join("component.wasm");
        watch(&component);
        if !component.exists() {
            continue;
        }
        let component = component.canonicalize()?;
        writeln!(
            code,
            "    Builtin {{ name: {name:?}, world: World::{world}, component: include_bytes!({component:?}) }},"
        )?;
    }
    code.push_str("];\n");
    fs::write(out, code)?;
    Ok(())
}

/// Has the script run again when a file changes or comes to be. Cargo takes a file that is missing for one that always
/// changes, so what is watched is the nearest folder that is there.
fn watch(file: &Path) {
    if let Some(there) = file.ancestors().find(|path| path.exists()) {
        println!("cargo:rerun-if-changed={}", there.display());
    }
}
