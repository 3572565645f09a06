//! The backend over real sockets, against a server that says what a test wants.

#[cfg(test)]
mod http;
#[cfg(test)]
mod kit;
#[cfg(test)]
mod server;
