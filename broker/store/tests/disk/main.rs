//! The store on a disk that does what it should not.

mod damage;
mod faults;
mod fixtures;
mod reading;
