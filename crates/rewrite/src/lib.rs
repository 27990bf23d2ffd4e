//! What the request means: path, query, redirect, fixed response.
