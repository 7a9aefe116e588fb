//! cu
