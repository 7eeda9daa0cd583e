//! stub
/// stub
#[derive(Debug)] pub struct Set;
