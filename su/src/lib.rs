//! su
