//! MariaDB for tests.
