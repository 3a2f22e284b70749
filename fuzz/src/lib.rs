//! What the fuzz targets share. Their inputs are text that can be read and written by hand, so that the corpus can be
//! reviewed, and a crash says what it is.

pub mod abbreviation;
pub mod event;
pub mod message;
pub mod mutation;
pub mod reference;
pub mod shape;
pub mod stage;
