//! Who may come in: SCRAM, MD5 and plain passwords as machines without sockets.
