//! The posthouse process. 
fn main() {}
