//! Files as operators may leave them.
