//! From the file to a [`Config`](super::Config): inheritance, defaults, credentials.
