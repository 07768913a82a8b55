//! The only room that knows TOML.
