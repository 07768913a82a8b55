//! memcached for tests.
