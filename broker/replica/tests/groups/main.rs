//! Groups over real stores in temporary directories: one replica alone, and three with a network between them, in memory
//! or over TCP.

mod kit;
mod lone;
mod replica;
mod three;
mod wired;
