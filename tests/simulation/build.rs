//! Has the tests' own `getrandom` be found by whoever looks for one while they run.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-link-arg-tests=-Wl,--export-dynamic-symbol=getrandom");
}
