//! What the criterion benches and their tests share: one request, walked by the fixed pipeline and by a chain of plugins.

pub mod chain;
pub mod scene;
pub mod walk;
