//! A TCP relay between a gateway and a server, which a test can break: refuse, hold back, delay.
