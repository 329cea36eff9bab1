//! Why anything ended.
