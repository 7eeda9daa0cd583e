//! Groups over real stores in temporary directories: one replica alone, and three with a network between them, in memory
//! or over TCP.

mod away;
mod damaged;
mod kit;
mod lone;
mod members;
mod mesh;
mod replica;
mod three;
mod wired;
