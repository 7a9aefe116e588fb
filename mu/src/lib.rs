//! mu
