//! One event in, many subscribers out.
