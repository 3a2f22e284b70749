//! What the fuzz targets share. Their inputs are text that people can read and write, so that the corpus can be
//! reviewed, and a crash is readable.

pub mod abbreviation;
pub mod event;
pub mod message;
pub mod mutation;
pub mod reference;
pub mod shape;
pub mod stage;
