//! stub
/// stub
#[derive(Debug)] pub struct Directory;
