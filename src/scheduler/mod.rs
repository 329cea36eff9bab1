//! Who gets which server, and when: a value, without sockets, clock or lock.
