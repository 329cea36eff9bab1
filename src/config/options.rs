//! Every option as data: name, type, default, unit, live or not, text.
