//! The admin listener: health, readiness, metrics, status.
