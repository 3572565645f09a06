//! Private database servers for tests, on free loopback ports with data folders of their own.
