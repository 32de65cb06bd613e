//! The machine, held against every input in every phase.
