//! The scripts. Each names the namespace in a comment, so that its digest is the namespace's own:
//! a server that knows the digest was entered for this namespace since it was started (see
//! [`crate::incarnation`]), and a server that does not says so.

use chat_core::Namespace;
use redis::Cmd;

/// A script and its digest.
#[derive(Debug)]
pub(crate) struct Script {
    text: String,
    digest: String,
}

impl Script {
    fn new(text: &str, namespace: &Namespace) -> Self {
        let script = redis::Script::new(&format!("-- {namespace}\n{text}"));
        let digest = script.get_hash().to_owned();
        Self { text: format!("-- {namespace}\n{text}"), digest }
    }

    /// A call of the script that finds it on the server by its digest. Keys come first, then the
    /// other words.
    pub(crate) fn call(&self, keys: usize) -> Cmd {
        let mut command = redis::cmd("EVALSHA");
        command.arg(&self.digest).arg(keys);
        command
    }

    /// A call that brings the script's text along and does not make it known to the server under
    /// the digest that [`call`](Self::call) uses.
    pub(crate) fn bring(&self, keys: usize) -> Cmd {
        let mut command = redis::cmd("EVAL");
        command.arg(format!("{}\n-- brought along", self.text)).arg(keys);
        command
    }

    /// Makes the script known to a server.
    pub(crate) fn load(&self) -> Cmd {
        let mut command = redis::cmd("SCRIPT");
        command.arg("LOAD").arg(&self.text);
        command
    }
}

macro_rules! scripts {
    ($($name:ident),* $(,)?) => {
        /// The scripts of one namespace.
        #[derive(Debug)]
        pub(crate) struct Scripts {
            $(pub(crate) $name: Script,)*
        }

        impl Scripts {
            pub(crate) fn new(namespace: &Namespace) -> Self {
                Self { $($name: Script::new(include_str!(concat!("lua/", stringify!($name), ".lua")), namespace),)* }
            }

            /// Every script that is called by its digest.
            pub(crate) fn all(&self) -> Vec<&Script> {
                vec![$(&self.$name,)*]
            }
        }
    };
}

scripts!(
    append,
    commit_views,
    enter,
    epoch,
    find,
    get_views,
    heads,
    join,
    read_events,
    read_log,
    read_stream,
    renew,
    scan_view,
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scripts_of_two_namespaces_have_digests_of_their_own() {
        let one = Scripts::new(&Namespace::default());
        let two = Scripts::new(&Namespace::new("other").unwrap());
        for (one, two) in one.all().iter().zip(two.all()) {
            assert_ne!(one.digest, two.digest);
            assert_eq!(one.digest.len(), 40);
        }
    }
}
