//! Sockets: acceptor, workers, TLS, protocol detection, limits and drain.
