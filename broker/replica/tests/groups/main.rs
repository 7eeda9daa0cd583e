//! Groups over real stores in temporary directories: one replica alone, and three with a network between them.

mod away;
mod kit;
mod lone;
mod mesh;
mod three;
