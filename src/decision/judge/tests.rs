//! What the judge makes of numbers.
