//! The file as written: serde structures, one for each section.
