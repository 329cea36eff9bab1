//! Durations and sizes with units: `"5s"`, `"64MB"`.
