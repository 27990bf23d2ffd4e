//! Which origins may call, and the answer to their preflight.
