//! What one client has asked for and is owed. No sockets.
