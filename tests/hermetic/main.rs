//! Tests that need no service.

mod pipeline;
