//! The scripts. Each names the namespace and the database in a comment, as all databases of a server
//! share what it knows of scripts, so that its digest is the namespace's own: a server that knows the
//! digest was entered for this namespace since it was started (see [`crate::incarnation`]), and a
//! server that does not says so.

use chat_core::Namespace;
use redis::Cmd;

/// A script and its digest.
#[derive(Debug)]
pub(crate) struct Script {
    text: String,
    digest: String,
}

impl Script {
    fn new(text: &str, namespace: &Namespace, database: u16) -> Self {
        let text = format!("-- {namespace} {database}\n{text}");
        let digest = redis::Script::new(&text).get_hash().to_owned();
        Self { text, digest }
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
            pub(crate) fn new(namespace: &Namespace, database: u16) -> Self {
                Self {
                    $($name: Script::new(
                        include_str!(concat!("lua/", stringify!($name), ".lua")),
                        namespace,
                        database,
                    ),)*
                }
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
    fn the_scripts_of_two_namespaces_or_databases_have_digests_of_their_own() {
        let one = Scripts::new(&Namespace::default(), 0);
        let others = [
            Scripts::new(&Namespace::new("other").unwrap(), 0),
            Scripts::new(&Namespace::default(), 1),
        ];
        for other in &others {
            for (one, other) in one.all().iter().zip(other.all()) {
                assert_ne!(one.digest, other.digest);
                assert_eq!(one.digest.len(), 40);
            }
        }
    }
}
