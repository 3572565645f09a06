//! Reads a configuration from a URL.

use std::time::Duration;

use chat_core::Namespace;

use crate::config::{RedisConfig, RedisDurability, ReplicaSync, Secret, Tls, Topology};

/// What is wrong with a URL. Says nothing of the password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// It does not start with a scheme that is known.
    #[error(
        "the URL of a Redis store starts with `redis:`, `rediss:`, `redis+cluster:` or \
         `rediss+cluster:`"
    )]
    Scheme,
    /// It names no host, or several for one server.
    #[error("the URL must name {expected}")]
    Hosts {
        /// What would be right.
        expected: &'static str,
    },
    /// A part of the address that cannot be read.
    #[error("the URL's {part} cannot be read")]
    Part {
        /// Which part.
        part: &'static str,
    },
    /// A parameter that does not exist.
    #[error("the parameter `{name}` is not known")]
    Parameter {
        /// Its name.
        name: String,
    },
    /// A value that its parameter cannot take.
    #[error("`{value}` is not a value for `{name}`, which takes {expected}")]
    Value {
        /// The parameter.
        name: String,
        /// The value given.
        value: String,
        /// What would be right.
        expected: &'static str,
    },
}

pub(crate) fn parse(url: &str) -> Result<RedisConfig, ConfigError> {
    let (scheme, rest) = url.split_once(':').ok_or(ConfigError::Scheme)?;
    let (topology, tls) = match scheme {
        "redis" => (Topology::Server, Tls::Off),
        "rediss" => (Topology::Server, Tls::On),
        "redis+cluster" => (Topology::Cluster, Tls::Off),
        "rediss+cluster" => (Topology::Cluster, Tls::On),
        _ => return Err(ConfigError::Scheme),
    };
    let rest = rest.strip_prefix("//").unwrap_or(rest);
    let (address, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, path) = address.split_once('/').unwrap_or((address, ""));
    let (credentials, hosts) = match authority.rsplit_once('@') {
        Some((credentials, hosts)) => (Some(credentials), hosts),
        None => (None, authority),
    };
    let mut config = RedisConfig::cluster(parse_hosts(hosts, topology)?);
    (config.topology, config.tls) = (topology, tls);
    if let Some(credentials) = credentials {
        let (user, password) = match credentials.split_once(':') {
            Some((user, password)) => {
                (decoded(user, "user")?, Some(decoded(password, "password")?))
            }
            None => (decoded(credentials, "user")?, None),
        };
        config.user = Some(user).filter(|user| !user.is_empty());
        config.password = password.map(Secret::new);
    }
    config.database = match (path, topology) {
        ("", _) | ("0", Topology::Cluster) => 0,
        (_, Topology::Cluster) => return Err(ConfigError::Part { part: "database of a cluster" }),
        (number, Topology::Server) => {
            number.parse().map_err(|_| ConfigError::Part { part: "database" })?
        }
    };
    parse_query(&mut config, query)?;
    Ok(config)
}

fn parse_hosts(hosts: &str, topology: Topology) -> Result<Vec<(String, u16)>, ConfigError> {
    let expected = match topology {
        Topology::Server => "one host",
        Topology::Cluster => "hosts of the cluster, with commas between them",
    };
    let mut parsed = Vec::new();
    for host in hosts.split(',') {
        // An IPv6 address stands in brackets.
        let (name, port) = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((name, "")) => (name, None),
            Some((name, port)) => (name, port.strip_prefix(':')),
            None => host.split_once(':').map_or((host, None), |(name, port)| (name, Some(port))),
        };
        if name.is_empty() {
            return Err(ConfigError::Hosts { expected });
        }
        let port = port.map_or(Ok(PORT), str::parse);
        parsed.push((name.to_owned(), port.map_err(|_| ConfigError::Part { part: "port" })?));
    }
    if topology == Topology::Server && parsed.len() > 1 {
        return Err(ConfigError::Hosts { expected });
    }
    Ok(parsed)
}

fn parse_query(config: &mut RedisConfig, query: &str) -> Result<(), ConfigError> {
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let wrong = |expected| ConfigError::Value {
            name: name.to_owned(),
            value: value.to_owned(),
            expected,
        };
        let millis = || {
            let millis = value.parse().map_err(|_| wrong("a number of milliseconds"))?;
            Ok(Duration::from_millis(millis))
        };
        match name {
            "namespace" => {
                let expected = "lower-case letters, digits and `_`, a letter first, 24 at most";
                config.namespace = Namespace::new(value).map_err(|_| wrong(expected))?;
            }
            "partitions" => {
                let parsed = value
                    .parse()
                    .ok()
                    .filter(|n: &std::num::NonZero<u32>| n.get() <= RedisConfig::MAX_PARTITIONS);
                config.partitions = Some(parsed.ok_or_else(|| wrong("a number from 1 to 4096"))?);
            }
            "durability" => {
                let expected = "`server` or `always`";
                config.durability = parse_durability(value).ok_or_else(|| wrong(expected))?;
            }
            "ca_file" => config.ca_file = Some(decoded(value, "ca_file")?.into()),
            "replicas" => {
                config.replicas = value.parse().map_err(|_| wrong("a number of replicas"))?;
            }
            "replica_sync" => {
                config.replica_sync = match value {
                    "memory" => ReplicaSync::Memory,
                    "disk" => ReplicaSync::Disk,
                    _ => return Err(wrong("`memory` or `disk`")),
                };
            }
            "replica_timeout_ms" => config.replica_timeout = millis()?,
            "connect_timeout_ms" => config.connect_timeout = millis()?,
            "timeout_ms" => config.timeout = millis()?,
            "patience_ms" => config.patience = millis()?,
            _ => return Err(ConfigError::Parameter { name: name.to_owned() }),
        }
    }
    Ok(())
}

fn parse_durability(value: &str) -> Option<RedisDurability> {
    match value {
        "server" => Some(RedisDurability::AsTheServer),
        "always" => Some(RedisDurability::FsyncAlways),
        _ => None,
    }
}

fn decoded(text: &str, part: &'static str) -> Result<String, ConfigError> {
    let wrong = || ConfigError::Part { part };
    let mut bytes = Vec::with_capacity(text.len());
    let mut parts = text.split('%');
    bytes.extend_from_slice(parts.next().unwrap_or_default().as_bytes());
    for part in parts {
        let (code, rest) = part.split_at_checked(2).ok_or_else(wrong)?;
        if !code.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        bytes.push(u8::from_str_radix(code, 16).map_err(|_| wrong())?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).map_err(|_| wrong())
}

const PORT: u16 = 6379;

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZero;

    #[test]
    fn a_url_sets_every_field() {
        let url = "rediss://me:p%40ss@db.example:7000/3?namespace=team&partitions=4\
                   &durability=always&ca_file=/a%20b&replicas=2&replica_sync=disk&replica_timeout_ms=4\
                   &connect_timeout_ms=1&timeout_ms=2&patience_ms=3";
        let config = RedisConfig::new("db.example", 7000)
            .with_tls(Tls::On)
            .with_credentials(Some("me".into()), Secret::new("p@ss"))
            .with_database(3)
            .with_namespace(Namespace::new("team").unwrap())
            .with_partitions(NonZero::new(4).unwrap())
            .with_durability(RedisDurability::FsyncAlways)
            .with_ca_file("/a b")
            .with_replicas(2, ReplicaSync::Disk)
            .with_replica_timeout(Duration::from_millis(4))
            .with_connect_timeout(Duration::from_millis(1))
            .with_timeout(Duration::from_millis(2))
            .with_patience(Duration::from_millis(3));
        assert_eq!(RedisConfig::from_url(url), Ok(config));
        let plain = RedisConfig::new("localhost", 6379);
        assert_eq!(RedisConfig::from_url("redis://localhost"), Ok(plain.clone()));
        assert_eq!(RedisConfig::from_url("redis:localhost:6379/"), Ok(plain));
        let six = RedisConfig::new("::1", 6380);
        assert_eq!(RedisConfig::from_url("redis://[::1]:6380"), Ok(six));
        let cluster = RedisConfig::cluster([("a".into(), 1), ("b".into(), 6379)]);
        assert_eq!(RedisConfig::from_url("redis+cluster://a:1,b"), Ok(cluster));
    }

    #[test]
    fn a_wrong_url_is_refused_with_the_part_that_is_wrong() {
        let error = |url: &str| RedisConfig::from_url(url).unwrap_err();
        assert_eq!(error("postgres://x"), ConfigError::Scheme);
        assert_eq!(error("x"), ConfigError::Scheme);
        assert!(matches!(error("redis://"), ConfigError::Hosts { .. }));
        assert!(matches!(error("redis://a,b"), ConfigError::Hosts { .. }));
        assert!(matches!(error("redis+cluster://a,"), ConfigError::Hosts { .. }));
        assert_eq!(error("redis://a:port"), ConfigError::Part { part: "port" });
        assert_eq!(error("redis://a/x"), ConfigError::Part { part: "database" });
        assert_eq!(
            error("redis+cluster://a/1"),
            ConfigError::Part { part: "database of a cluster" }
        );
        assert_eq!(error("redis://:%+2@a"), ConfigError::Part { part: "password" });
        assert_eq!(error("redis://a?sync=1"), ConfigError::Parameter { name: "sync".into() });
        for wrong in [
            "namespace=Team",
            "partitions=0",
            "partitions=4097",
            "durability=off",
            "replicas=-1",
            "replica_sync=all",
            "timeout_ms=-1",
        ] {
            let (wrong_name, wrong_value) = wrong.split_once('=').unwrap();
            match error(&format!("redis://a?{wrong}")) {
                ConfigError::Value { name, value, .. } => {
                    assert_eq!((&*name, &*value), (wrong_name, wrong_value));
                }
                other => panic!("{wrong}: {other}"),
            }
        }
    }

    #[test]
    fn a_password_is_not_shown() {
        let config = RedisConfig::from_url("redis://me:secret@a").unwrap();
        assert!(!format!("{config:?}").contains("secret"), "{config:?}");
    }
}
